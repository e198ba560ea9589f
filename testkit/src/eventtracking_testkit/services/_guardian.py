"""Run one server as a child, and see to it that nothing of it outlives its owner.

A script of its own, started by `_process.py` with nothing but the standard library. It becomes the
parent of whatever the server leaves behind (RabbitMQ's `epmd` makes itself a daemon), and ends all
of it when the server ends, when it is told to (SIGTERM), or when the owner is gone, however that
happened.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_AGAIN_S = 0.05


class _StopError(Exception):
    """Somebody asked the guardian to end its server."""


def main() -> int:
    """Start the server, tell its process id on standard output, and watch."""
    options = _parse()
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        with options.log.open("ab") as log:
            server = _start(options.command, log.fileno())
        sys.stdout.write(f"{server.pid}\n")
        sys.stdout.flush()
        owned = _watch(server, options.owner, options.owner_start)
    except _StopError:
        owned = True
        _ask_to_end(server, options.grace_s)
    _end_all()
    if not owned:
        shutil.rmtree(options.folder, ignore_errors=True)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--owner", type=int, required=True, help="process id of the owner")
    parser.add_argument(
        "--owner-start", required=True, help="when the owner started, as /proc says"
    )
    parser.add_argument(
        "--grace-s", type=float, required=True, help="seconds between SIGTERM and SIGKILL"
    )
    parser.add_argument("--log", type=Path, required=True, help="file for what the server prints")
    parser.add_argument(
        "--folder", type=Path, required=True, help="folder to remove when the owner is gone"
    )
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _StopError


def _start(command: list[str], log: int) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that a Ctrl-C in the terminal reaches only the
    tests.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - safe here: this process has one thread
    )


def _die_with_parent() -> None:
    """Have the kernel end the server when even the guardian is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(server: subprocess.Popen[bytes], owner: int, owner_start: str) -> bool:
    """Wait until the server ended (true) or its owner did (false)."""
    while server.poll() is None:
        if start_time(owner) != owner_start:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


def _ask_to_end(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """Give the server its time for an orderly end."""
    server.terminate()
    try:
        server.wait(grace_s)
    except subprocess.TimeoutExpired:
        server.kill()


def _end_all() -> None:
    """Kill every descendant until none is left; new ones may appear while it goes on."""
    while left := descendants(os.getpid()):
        for pid in left:
            send(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.01)


def _reap() -> None:
    """Collect the children that ended: a zombie would count as left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """List the processes below one, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(children.get(pid, []))
    for below in found:  # grows while it is walked
        found += children.get(below, [])
    return found


def start_time(pid: int) -> str:
    """Say when a process started; empty if it is not there or only a zombie.

    Tells a reused id from the first.
    """
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def _stat(pid: int) -> list[str]:
    """Read /proc/PID/stat from the state on: state, parent, and so on; empty if the process is
    gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


if __name__ == "__main__":
    raise SystemExit(main())
