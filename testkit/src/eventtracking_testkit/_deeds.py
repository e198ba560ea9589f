"""What code does outside itself, as Python's audit events tell it.

As a program: what the first instance of a plugin does.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import socket
import sys
import threading
import traceback
from typing import Any, Final

from eventtracking.config.node import Node
from eventtracking.config.reading import build, read_options

__all__ = ["NOT_THERE", "watch_connections", "watch_deeds", "watch_paths"]

NOT_THERE: Final = 44
"""The exit status of the program if no import leads to the class."""

_DEEDS: Final = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "sqlite3.connect",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.utime",
        "os.fork",
        "subprocess.Popen",
        "_thread.start_new_thread",
        "_thread.start_joinable_thread",
    }
)
"""Audit events of what a constructor must not do."""

_ON_PATHS: Final = frozenset(
    {"open", "os.mkdir", "os.rename", "os.link", "os.symlink", "sqlite3.connect"}
)


def watch_deeds() -> list[str]:
    """Note from now on, until the end of the process, what it does outside itself; not what imports
    do on the way.
    """
    deeds: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (event in _DEEDS or writes or _makes_a_socket(event, args)) and not _is_importing():
            deeds.append(event if event != "open" else f"open {args[0]!r} to write")

    sys.addaudithook(hook)
    return deeds


def _makes_a_socket(event: str, args: tuple[Any, ...]) -> bool:
    """Whether a new socket is made; wrapping a descriptor that is there comes with the
    family -1.
    """
    return event == "socket.__new__" and args[1] != -1


def _is_importing() -> bool:
    frames = traceback.walk_stack(None)
    return any(frame.f_code.co_filename == "<frozen importlib._bootstrap>" for frame, _ in frames)


def watch_connections() -> list[str]:
    """Note from now on, until the end of the process, each connection to anything but a Unix
    socket.
    """
    connections: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect" and args[0].family != socket.AF_UNIX:
            connections.append(str(args[1]))

    sys.addaudithook(hook)
    return connections


def watch_paths() -> list[str]:
    """Note from now on, until the end of the process, each path that is opened or made."""
    paths: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in _ON_PATHS and isinstance(args[0], str | bytes | os.PathLike):
            paths.append(os.path.join(os.getcwd(), os.fsdecode(args[0])))  # noqa: PTH109, PTH118 - a `Path` drops dots

    sys.addaudithook(hook)
    return paths


def _main() -> None:
    """Build the plugin that is told on the standard input, and fail if that did anything
    outside.
    """
    module, qualified_name, plugin, options = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the contract's own test
    try:
        plugin_class = functools.reduce(
            getattr, qualified_name.split("."), importlib.import_module(module)
        )
    except (ImportError, AttributeError):
        sys.exit(NOT_THERE)
    node = Node(options, options, "it")
    converted, problems = read_options(plugin_class, node, plugin)  # type: ignore[arg-type]  # a class
    deeds, before = watch_deeds(), threading.active_count()
    _, more = build(plugin_class, converted, node)  # type: ignore[arg-type]  # a class
    if threading.active_count() != before:  # Python 3.11 and older have no audit event for it
        deeds.append("start a thread")
    if deeds or problems or more:
        sys.exit(f"the first instance did: {deeds} {problems or more or ''}")


if __name__ == "__main__":
    _main()
