"""The interactive `top`: a screen that is drawn anew every few seconds."""

from __future__ import annotations

import curses
import time
from collections.abc import Callable
from typing import Any, Final

import attrs

from eventtracking_cli.output import printable
from eventtracking_live.client import Picture
from eventtracking_live.table import SORTS, head, render, rows_of

__all__ = ["run"]

_HELP: Final = (
    "q      quit",
    "p      pause, or go on",
    "s      sort by the next column",
    "/      show only the routes whose path has a text; Enter ends it",
    "arrows scroll",
    "?      this help",
)


@attrs.define
class _Screen:
    window: Any
    take: Callable[[], Picture]
    interval_s: float
    picture: Picture = attrs.field(factory=Picture)
    before: Picture | None = None
    elapsed_s: float = 0.0
    taken_at: float = float("-inf")
    sort: int = 0
    search: str = ""
    typing: bool = False
    paused: bool = False
    helping: bool = False
    top: int = 0

    def refresh(self) -> None:
        """Take a picture, if it is time."""
        now = time.monotonic()
        if self.paused or now - self.taken_at < self.interval_s:
            return
        first = self.taken_at == float("-inf")
        self.before = None if first else self.picture
        self.elapsed_s = 0.0 if first else now - self.taken_at
        self.picture, self.taken_at = self.take(), now

    def draw(self) -> None:
        """Draw all lines that fit."""
        height, width = self.window.getmaxyx()
        state = " paused" if self.paused else ""
        search = f" /{self.search}" if self.search or self.typing else ""
        title = f"eventtracking top: {head(self.picture)}, sort: {SORTS[self.sort]}{state}{search}"
        rows = rows_of(self.picture, self.before, self.elapsed_s, SORTS[self.sort], self.search)
        lines = list(_HELP) if self.helping else render(rows)
        self.top = max(min(self.top, len(lines) - 2), 0)
        self.window.erase()
        for index, line in enumerate([f"{title}   (? help)", *lines[self.top :]][:height]):
            style = curses.A_BOLD if index == 0 else curses.A_NORMAL
            self.window.addnstr(index, 0, printable(line), max(width - 1, 1), style)
        self.window.refresh()

    def press(self, key: int) -> bool:
        """React to a key. Return whether to go on."""
        if self.typing:
            self._type(key)
        elif key == ord("q"):
            return False
        elif key == ord("p"):
            self.paused = not self.paused
        elif key == ord("s"):
            self.sort = (self.sort + 1) % len(SORTS)
        elif key == ord("?"):
            self.helping = not self.helping
        elif key == ord("/"):
            self.typing, self.search = True, ""
        elif key in (curses.KEY_DOWN, curses.KEY_UP):
            self.top += 1 if key == curses.KEY_DOWN else -1
        return True

    def _type(self, key: int) -> None:
        if key in (10, 13, 27, curses.KEY_ENTER):
            self.typing = False
        elif key in (8, 127, curses.KEY_BACKSPACE):
            self.search = self.search[:-1]
        elif 32 <= key < 127:
            self.search += chr(key)


def run(take: Callable[[], Picture], interval_s: float) -> None:
    """Show pictures until `q` or Ctrl-C."""

    def loop(window: Any) -> None:
        curses.curs_set(0)
        window.timeout(200)
        screen = _Screen(window, take, interval_s)
        key = -1
        while screen.press(key) if key != -1 else True:
            fresh = screen.taken_at
            screen.refresh()
            if key != -1 or screen.taken_at != fresh:
                screen.draw()
            key = window.getch()

    try:
        curses.wrapper(loop)
    except KeyboardInterrupt:
        return
