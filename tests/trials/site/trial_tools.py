"""What the trials share: programs that are killed, and waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["SITE", "disk_buffer", "kill", "program", "wait_for"]

SITE = Path(__file__).parent


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait until something holds, which has a name."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


@contextmanager
def program(
    arguments: Sequence[str | Path], log: Path, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program in a process group of its own, which is killed at the end if it still
    runs.

    Args:
        arguments: For the interpreter.
        log: Where what it prints is added.
        variables: For its environment.
    """
    environ = {**os.environ, "PYTHONPATH": str(SITE), **variables}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environ,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 a program and its children at one moment."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def disk_buffer(folder: Path, backends: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A node with a buffer on disk."""
    return {
        "plugin": "buffer",
        "storage": "disk",
        "path": str(folder),
        "backends": backends,
        **options,
    }
