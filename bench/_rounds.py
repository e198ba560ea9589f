"""Rounds: workers take turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["ROUNDS", "ROUNDS_QUICK", "Worker", "best_of_rounds"]

ROUNDS = 200
ROUNDS_QUICK = 40
_ROUND_S = 0.004
"""How long one turn takes about: shorter than what a busy machine gives a program at a time, so
that many turns are undisturbed.
"""
_END_S = 10


class Worker:
    """A program that does one thing as often as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.count = 1

    def start(self) -> None:
        """Wait until it is ready, and find out how often it does its thing in one turn; that warms
        it up, too.
        """
        if self._answer() != "ready":
            raise RuntimeError(f"the worker {self._process.args!r} did not start")
        while (elapsed_s := self.turn()) < _ROUND_S / 2:
            self.count = max(
                self.count + 1, int(self.count * min(10.0, _ROUND_S / max(elapsed_s, 1e-9)))
            )

    def turn(self) -> float:
        """Take one turn; its seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self.count}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(
                f"the worker {self._process.args!r} ended with status {self._process.wait()}"
            )
        return line


@contextmanager
def _running(command: Sequence[str | Path]) -> Iterator[Worker]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    with process:
        try:
            yield Worker(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def best_of_rounds(commands: Mapping[str, Sequence[str | Path]], quick: bool) -> dict[str, float]:
    """Let the workers take turns, and return the best turn of each, in seconds for doing its thing
    once.

    The best, because noise only ever adds. The collector of garbage runs as it does in an
    application.
    """
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(_running(command)) for name, command in commands.items()
        }
        for worker in workers.values():
            worker.start()
        best = dict.fromkeys(workers, float("inf"))
        for _ in range(ROUNDS_QUICK if quick else ROUNDS):
            for name, worker in workers.items():
                best[name] = min(best[name], worker.turn() / worker.count)
        return best
