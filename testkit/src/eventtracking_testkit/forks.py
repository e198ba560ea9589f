"""Run a function in a forked child, and bring back how it ended."""

from __future__ import annotations

import os
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable

__all__ = ["run_in_fork"]


def run_in_fork(
    function: Callable[[], object],
    timeout_s: float = 60.0,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Fork, call the function in the child, and wait for its end.

    The child leaves without the exit functions of its parent (`os._exit`), as the workers of
    preforking servers may.

    Args:
        function: What the child does. What it returns is thrown away.
        timeout_s: How long the child may take. Then it is killed.
        meanwhile: What the parent does beside it.

    Raises:
        AssertionError: If the function raised (with the child's traceback), the child was killed,
            or took too long.
    """
    read_end, write_end = os.pipe()
    child = _fork()
    if child == 0:
        os.close(read_end)
        _run(function, write_end)
    os.close(write_end)
    try:
        if meanwhile is not None:
            meanwhile()
        report, in_time = _read_all(read_end, time.monotonic() + timeout_s)
    finally:
        os.close(read_end)
        _end(child)
    if not in_time:
        raise AssertionError(f"the forked child hung for {timeout_s:g} s, and was killed")
    if report != "done":
        raise AssertionError(f"the forked child failed:\n{report or 'it died without a word'}")


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of forks beside threads: which is just what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _run(function: Callable[[], object], write_end: int) -> None:
    report = "done"
    try:
        function()
    except BaseException:  # noqa: BLE001 - the child must not go on as a second test runner, whatever happens
        report = traceback.format_exc()
    finally:
        try:
            os.write(write_end, report.encode(errors="replace")[-60_000:])
        finally:
            os._exit(0)


def _read_all(read_end: int, deadline: float) -> tuple[str, bool]:
    parts: list[bytes] = []
    while select.select([read_end], [], [], max(deadline - time.monotonic(), 0.0))[0]:
        part = os.read(read_end, 65_536)
        if not part:
            return b"".join(parts).decode(errors="replace"), True
        parts.append(part)
        if b"".join(parts) == b"done":  # a grandchild may hold the pipe open
            return "done", True
    return "", False


def _end(child: int) -> None:
    """Give the child a moment to be gone, then kill it."""
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
