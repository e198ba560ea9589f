"""The events that a test's code emits through the default tracker."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from eventtracking import Event, Outcome, Problem, Tracker, config, tracker
from eventtracking._data.snapshot import snapshot

__all__ = ["CAPTURING", "CapturedEvents", "CapturingBackend", "capture"]

CAPTURING: Final = "testkit_capturing"
_keys = itertools.count()


class CapturedEvents(list[Event]):
    """Events in the order of their emission."""

    @property
    def names(self) -> list[str]:
        """Their names, in order."""
        return [event.name for event in self]

    def named(self, name: str) -> CapturedEvents:
        """Return those of one name."""
        return CapturedEvents(event for event in self if event.name == name)

    def demand_declarations(self, *files: str) -> None:
        """Fail the test if an event is not declared, or does not conform to its declaration.

        Args:
            files: Declaration files, beside what is imported or installed.
        """
        self._demanded = (*(self._demanded or ()), *files)

    _demanded: tuple[str, ...] | None = None

    def complaints(self) -> list[str]:
        """Return the problems of the events, where declarations are demanded."""
        if self._demanded is None:
            return []
        try:
            from eventtracking_catalog.testing import complaints
        except ImportError:
            return ["declarations are demanded; pip install eventtracking-testkit[catalog]"]
        return complaints(self, self._demanded)


@attrs.define(eq=False)
class CapturingBackend:
    """Append each event to the list of its key."""

    key: str = attrs.field(metadata={"help": "Whose list."})

    captured: ClassVar[dict[str, CapturedEvents]] = {}

    def send(self, events: Sequence[Event]) -> None:
        """Append the events, but for eventtracking's own, such as records of event types."""
        own = [event for event in events if not event.name.startswith("eventtracking.")]
        self.captured[self.key].extend(own)


@contextmanager
def capture(folder: Path) -> Iterator[CapturedEvents]:
    """Let the default tracker capture: the same object, and whichever takes its place in the
    meantime.

    Args:
        folder: Where the distribution with the backend is.
    """
    key = str(next(_keys))
    captured = CapturingBackend.captured[key] = CapturedEvents()
    capturing = _Capturing(folder, key)
    names = tracker._trackers  # no public way tells that a tracker is registered
    capturing.begin(tracker.get_tracker())
    tracker._trackers = _Names(names, capturing)
    try:
        yield captured
    finally:
        names.clear()
        names.update(tracker._trackers)
        tracker._trackers = names
        capturing.end()
        del CapturingBackend.captured[key]


class _Capturing:
    """Makes trackers capture, and go on with it when the code under test configures them."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._node = {"plugin": CAPTURING, "key": key}
        self._ours: list[Tracker] = []
        self._lent: dict[Tracker, dict[str, Any]] = {}

    def begin(self, default: Tracker) -> None:
        """Let the default tracker capture; events look as they do in production.

        The config that it had stays open; `Watch` puts it back after the test.
        """
        self._capture(default, dict(vars(default)))
        self._keep(default)

    def register(self, one: Tracker) -> None:
        """Let a tracker capture that takes the place of the default one.

        Its contexts are as they were, its config stays open.

        One that drops everything on purpose, as where tracking is disabled, goes on with that.
        """
        if one in self._ours:
            return
        former = self._lent[one] = dict(vars(one))
        refusal = former["_refusal"]
        if refusal is None or refusal[0] is not Outcome.FILTERED:
            self._capture(one, former)
        self._keep(one)

    def _capture(self, one: Tracker, former: Mapping[str, Any]) -> None:
        Tracker.__init__(one)
        self._configure(one, {"strict": former["_strict"]})
        vars(one).update({name: former[name] for name in ("_key", "_base", "_values")})

    def _keep(self, one: Tracker) -> None:
        self._ours.append(one)
        one.configure = partial(self.configure, one)  # type: ignore[method-assign]  # until `end`

    def configure(
        self, one: Tracker, mapping: Mapping[str, Any], *, partly: bool = False
    ) -> list[Problem]:
        """Check a config as ever, take `context`, `strict` and `values` from it, and go on
        capturing.

        Raises:
            ConfigError: With every problem of the config; the tracker stays as it is.
        """
        spec = config.parse(mapping, partly=partly)
        self._configure(one, {"strict": spec.strict})
        one._values = spec.values
        one._base = dict(snapshot(spec.context, spec.values).value)
        return list(spec.problems)

    def _configure(self, one: Tracker, kept: Mapping[str, Any]) -> None:
        sys.path.insert(0, str(self._folder))
        try:
            Tracker.configure(one, {**kept, "backends": {"captured": self._node}})
        finally:
            sys.path.remove(str(self._folder))

    def end(self) -> None:
        """Give the trackers that were registered their configs back."""
        for one in self._ours:
            del one.configure
        for one, former in self._lent.items():
            vars(one).clear()
            vars(one).update(former)


class _Names(dict[str, Tracker]):
    """The trackers by name, where the one that is registered as the default captures."""

    def __init__(self, names: Mapping[str, Tracker], capturing: _Capturing) -> None:
        super().__init__(names)
        self._capturing = capturing

    def __setitem__(self, name: str, one: Tracker) -> None:
        if name == tracker.DEFAULT_NAME:
            self._capturing.register(one)
        super().__setitem__(name, one)
