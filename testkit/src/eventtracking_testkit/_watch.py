"""One test's trackers: those that it makes, and the default one, which is as new for each test."""

from __future__ import annotations

import time
import weakref
from typing import Any, Final

import importlib_metadata  # noqa: F401 - it takes the place of Python's own finder, so not inside a test that puts the finders back, as pytester does

from eventtracking import Tracker, tracker
from eventtracking._pipeline import context
from eventtracking._tree.tree import Tree
from eventtracking_testkit.law import broken_laws, wait_for_the_law

__all__ = ["Watch"]

_CLOSE_S: Final = 10.0
_excused: weakref.WeakSet[Tracker] = weakref.WeakSet()
"""Trackers that were found wanting in an earlier test: reported once."""


class _Lent(Tree, frozen=True, eq=False):
    """The tree of a config from outside of the tests: a test that configures or closes the default
    tracker leaves it open.
    """

    @classmethod
    def of(cls, tree: Tree) -> _Lent:
        return cls(tree.root, tree.routes, tree.downstreams)

    def close(self, timeout_s: float) -> None:
        self.flush(time.monotonic() + timeout_s)


class Watch:
    """From the set-up to the end of one test.

    The trackers of the test are kept alive until its end, so that none escapes the check by being
    collected.
    """

    def __init__(self) -> None:
        self.passed = False
        self._is_excused = False
        self._made: list[Tracker] = []
        self._named: dict[str, Tracker] = {}
        self._outer: dict[str, Any] | None = None
        self._lent: Tree | None = None

    def begin(self) -> None:
        """Reset the default tracker, unless it was configured outside of the tests, and watch what
        is made from now on.
        """
        self._frames = context.frames.get()
        self._named = dict(tracker._trackers)  # no public way lists the names
        self._default = tracker.get_tracker()
        if self._default._refusal is not None and list(self._default.stats()) == [""]:
            # without a config
            Tracker.__init__(self._default)
        else:
            self._outer = dict(vars(self._default))
            self._default._tree = self._lent = _Lent.of(self._default._tree)
        self._plain_init = Tracker.__init__
        made = self._made
        plain_init = self._plain_init

        def init(self: Tracker, *args: Any, **kwargs: Any) -> None:
            plain_init(self, *args, **kwargs)
            made.append(self)

        Tracker.__init__ = init  # type: ignore[method-assign]  # until `end`

    def excuse(self) -> None:
        """Leave the trackers of this test unchecked."""
        self._is_excused = True

    def broken_laws(self) -> list[str]:
        """Return what is wrong with the books of the trackers in use, once their threads have had a
        moment.
        """
        if self._is_excused:
            return []
        return wait_for_the_law(one for one in tracker.live_trackers() if one not in _excused)

    def end(self) -> None:
        """Put the default tracker back as it was, closing what the test gave it."""
        Tracker.__init__ = self._plain_init  # type: ignore[method-assign]  # back to what it was
        _excused.update(
            one for one in tracker.live_trackers() if not self.passed and broken_laws(one)
        )
        _excused.update(self._made if self._is_excused else ())
        self._restore_default()
        context.frames.set(self._frames)  # without the contexts that the test has not left
        tracker._trackers.clear()
        tracker._trackers.update(self._named)
        self._made.clear()

    def _restore_default(self) -> None:
        tree = self._default._tree
        if self._outer is None:
            tree.close(_CLOSE_S)
            Tracker.__init__(self._default)
        else:
            if tree is not self._lent:
                tree.close(_CLOSE_S)
            vars(self._default).clear()
            vars(self._default).update(self._outer)
