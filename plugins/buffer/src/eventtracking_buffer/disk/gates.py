"""What a fork has to wait for: moments in which a child would inherit something half done, or a
lock that nobody releases.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["Gate", "files"]

_FORK_WAIT_S: Final = 10.0


class Gate:
    """A lock for the whole process that a fork waits for, up to ten seconds.

    Enter it with `with gate.lock:`. That is one step of the interpreter, where `__enter__` in
    Python would leave the lock taken if a signal handler raised in it.

    Args:
        before: Called before a fork, with whether no call of any thread is inside.
        in_child: Called in the child, with the same.
    """

    def __init__(
        self, before: Callable[[bool], object] = bool, in_child: Callable[[bool], object] = bool
    ) -> None:
        self.lock = threading.RLock()
        self._before = before
        self._in_child = in_child
        self._forking: dict[int, tuple[bool, bool]] = {}
        """By the thread that forks: whether it holds the lock, and whether nothing is inside."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._close, after_in_parent=self._open, after_in_child=self._open_in_child
            )

    def _close(self) -> None:
        mine = self.lock._is_owned()  # type: ignore[attr-defined]  # what Condition asks of it
        held = self.lock.acquire(timeout=_FORK_WAIT_S)
        still = held and not mine  # else a signal handler forks in the middle of a call
        self._forking[threading.get_ident()] = held, still
        self._before(still)

    def _open(self) -> None:
        held, _ = self._forking.pop(threading.get_ident())
        if held:
            self.lock.release()

    def _open_in_child(self) -> None:
        held, still = self._forking.pop(
            threading.get_ident(), (False, False)
        )  # none: forked without Python's knowledge
        self._forking.clear()
        if held or self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock = threading.RLock()
        self._in_child(still)


files: Final = Gate()
"""Held while a descriptor is opened, locked and put in its place, or the reverse: a child that
inherits one which it does not know of would hold a lock for ever.
"""
