"""A crew of Celery workers, of which one is killed now and then, and another one takes
its place.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
from trial_tools import program

from eventtracking import Counts

__all__ = ["Crew"]

_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")


@attrs.define(eq=False)
class Crew:
    """Works while the block lasts.

    Args:
        config: The file that the workers read.
        folder: Where their counts and their log go.
        kill_every_s: How long about each kill waits for the next.
        size: How many work at a time.
    """

    config: Path
    folder: Path
    kill_every_s: float
    size: int = 2
    hired: int = 0
    killed: int = 0
    _spared: threading.Event = attrs.field(factory=threading.Event)

    def _hire(self) -> ExitStack:
        self.hired += 1
        own_name = f"--hostname=trial{self.hired}@%h"  # RabbitMQ lets only one worker of a name in
        command = (
            "-m",
            "celery",
            "-A",
            "trial_worker",
            "worker",
            "--concurrency=1",
            own_name,
            *_QUIET,
        )
        variables = {"EVENTTRACKING_CONFIG": str(self.config), "TRIAL_COUNTS": str(self.folder)}
        member = ExitStack()
        member.enter_context(
            program(command, self.folder / "workers.log", PYTHONWARNINGS="ignore", **variables)
        )
        return member

    def _kill_now_and_then(self, members: list[ExitStack]) -> None:
        dice = random.Random(1)
        while not self._spared.wait(dice.uniform(0.5, 1.5) * self.kill_every_s):
            victim = dice.randrange(self.size)
            members[victim].close()
            members[victim] = self._hire()
            self.killed += 1

    @contextmanager
    def at_work(self) -> Iterator[Crew]:
        """Let them work until the end of the block; then all are killed."""
        members = [self._hire() for _ in range(self.size)]
        killer = threading.Thread(target=self._kill_now_and_then, args=(members,))
        killer.start()
        try:
            yield self
        finally:
            self.spare()
            killer.join()
            for member in members:
                member.close()

    def spare(self) -> None:
        """Kill none of them from now on."""
        self._spared.set()

    def counts(self, path: str) -> list[Counts]:
        """The counts of a route in each process that has finished a task."""
        return [
            Counts(**json.loads(file.read_text())[path]) for file in self.folder.glob("counts.*")
        ]
