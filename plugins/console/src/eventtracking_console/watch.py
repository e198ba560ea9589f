"""The watcher: takes pictures while there are viewers, and gives all viewers the same text."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from eventtracking import Tracker
from eventtracking_live.client import Picture, take_picture
from eventtracking_live.state import Numbers

__all__ = ["Flow", "Watcher"]

INTERVAL_S: Final = 2.0
_KEPT: Final = 60
"""Points of a sparkline."""
_STALE_S: Final = 10.0
"""After such a gap without viewers, rates begin anew."""


@attrs.frozen
class Flow:
    """How fast events come to a route and leave it."""

    incoming: float
    out: float


@attrs.define(eq=False)
class Watcher:
    """Looks at the processes and stores of one config."""

    folder: Path
    tracker: Tracker
    picture: Picture = attrs.field(factory=Picture)
    flows: dict[str, deque[Flow]] = attrs.field(factory=dict)
    taken_at: float = float("-inf")
    version: int = 0
    """Grows with each picture."""
    viewers: int = 0
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _rendered: tuple[int, bytes] = (-1, b"")

    def look(self) -> None:
        """Take a picture, unless one is fresh. Blocks: call it in a thread."""
        now = time.monotonic()
        if now - self.taken_at < INTERVAL_S / 2:
            return
        before, elapsed_s = self.picture, now - self.taken_at
        self.picture, self.taken_at = take_picture(self.folder, self.tracker), now
        self.version += 1
        if elapsed_s > _STALE_S:
            self.flows.clear()
            return
        for path, numbers in self.picture.counts.items():
            old = before.counts.get(path, Numbers())
            flow = Flow(
                max(numbers.received - old.received, 0) / elapsed_s,
                max(numbers.delivered - old.delivered, 0) / elapsed_s,
            )
            self.flows.setdefault(path, deque(maxlen=_KEPT)).append(flow)

    def start(self) -> None:
        """Look again and again, for as long as there are viewers."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self.viewers:
            await asyncio.to_thread(self.look)
            news, self._news = self._news, asyncio.Event()
            news.set()
            await asyncio.sleep(INTERVAL_S)

    async def next(self) -> None:
        """Wait for the next picture."""
        await self._news.wait()

    def rendered(self, render: Callable[[], str]) -> bytes:
        """Return the current picture as `render` shows it, made once for all viewers."""
        if self._rendered[0] != self.version:
            self._rendered = (self.version, as_event(render()))
        return self._rendered[1]


def as_event(text: str) -> bytes:
    """Make a server-sent event of a text."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"{lines}\n".encode()
