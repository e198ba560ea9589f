"""What a fork has to wait for: moments in which a child would inherit something half done, or a
lock that nobody releases.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from eventtracking.errors import DeliveryError

__all__ = ["Gate", "files", "is_inside", "refuse_inside"]

_FORK_WAIT_S: Final = 10.0


_gates: Final[list[Gate]] = []


def is_inside() -> bool:
    """Whether a signal handler or a destructor has interrupted this very thread inside a gate.

    It must not wait for another lock then: whoever holds that one may wait for the gate.
    """
    return any(gate.is_mine for gate in _gates)


def refuse_inside() -> None:
    """Raise where `is_inside`.

    Raises:
        DeliveryError: Then.
    """
    if is_inside():
        raise DeliveryError(
            "the buffer was interrupted in the middle of a call: ask again outside of the signal"
            " handler"
        )


class Gate:
    """A lock for the whole process that a fork waits for, up to ten seconds.

    A signal handler may enter it again.

    Args:
        before: Called before a fork, with whether no call of any thread is inside.
        in_child: Called in the child, with the same.
    """

    def __init__(self, before: Callable[[bool], None], in_child: Callable[[bool], None]) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._before = before
        self._in_child = in_child
        self._forking: dict[int, tuple[bool, bool]] = {}
        """By the thread that forks: whether it holds the lock, and whether nothing is inside."""
        _gates.append(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._close, after_in_parent=self._open, after_in_child=self._open_in_child
            )

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        self._lock.release()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is inside."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what Condition asks of it; an owner noted here would come too late

    def _close(self) -> None:
        held = self._lock.acquire(timeout=_FORK_WAIT_S)
        still = (
            held and not self._depth
        )  # else a signal handler forks in the middle of a call of this very thread
        self._forking[threading.get_ident()] = held, still
        self._before(still)

    def _open(self) -> None:
        held, _ = self._forking.pop(threading.get_ident())
        if held:
            self._lock.release()

    def _open_in_child(self) -> None:
        held, still = self._forking.pop(
            threading.get_ident(), (False, False)
        )  # none: forked without Python's knowledge
        self._forking.clear()
        if held or self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock, self._depth = threading.RLock(), 0
        self._in_child(still)


def _nothing(_still: bool) -> None:
    """Leave everything as it is."""


files: Final = Gate(_nothing, _nothing)
"""Held while a descriptor is opened, locked and put in its place, or the reverse: a child that
inherits one which it does not
know of would hold a lock for ever."""
