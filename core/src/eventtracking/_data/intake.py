"""The intake: a caller's name and data become an event, mended where they have to be.

`capture` makes most events; those that it refuses come here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Final

from uuid_utils import uuid7

from eventtracking._data.capture import MAX_NAME_CHARS
from eventtracking._data.copy import genuine_datetime
from eventtracking._data.declared import data_of, name_of
from eventtracking._data.shape import MARK, bare
from eventtracking._data.snapshot import Values, clean, snapshot, valid_text
from eventtracking.counts import Ledger, Outcome
from eventtracking.errors import DataError, describe_error, locate
from eventtracking.event import Event

__all__ = ["Intake", "as_mapping", "as_name", "warn"]

_FAILED: Final = Outcome.FAILED  # looking a member up in its enum costs as much as a line


class Intake:
    """The part of a tracker that makes events; each mend is a reason in the root's counts."""

    _values: Values
    """The plain forms that plugins have registered."""
    _strict: bool

    def _ledger(self) -> Ledger:
        """Return the counts of the root."""
        raise NotImplementedError

    def _current(self) -> dict[str, Any]:
        """Return the merged contexts."""
        raise NotImplementedError

    def _capture(self, name: Any, data: Any) -> Event | None:
        """Make an event of any name and data; None if that fails, which is counted."""
        try:
            declared = None if issubclass(type(name), str) else name_of(name)
            if declared is not None:
                name, data = declared, self._declared_data(name, data)
            name = self._mend_name(name)
            copy = {} if data is None else self._mend(data)
            if type(copy) is not dict:
                copy = self._wrap(copy)
            return Event(name=name, data=copy, context=self._current())
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001 - an error that no stage foresaw, such as exhausted memory, must not hurt the caller
            self._lose(error)
            return None

    def _declared_data(self, declared: Any, beside: Any) -> Any:
        data, problem = data_of(declared)
        problems = [problem] if problem else []
        if beside is not None:
            problems.append(f"data beside a {type(declared).__qualname__} is ignored")
        self._report(problems)
        return data

    def _mend_event(self, event: Event, as_written: bool) -> Event:
        changes: dict[str, Any] = {"name": self._mend_name(event.name)}
        mark: dict[str, Any] = {}
        for key in ("context", "data", "extra"):
            changes[key] = as_mapping(copy := self._mend(getattr(event, key)))
            if key == "data" and as_written and not isinstance(copy, dict):
                changes[key], mark = bare(copy)
        if changes["extra"].pop(MARK, None) is not None:
            self._report([f"the extra key {MARK} is reserved, and was dropped"])
        changes["extra"] |= mark
        if type(event.id) is not str or not event.id:
            self._report(
                [f"the id is a {type(event.id).__name__}, not text, and a new one was made"]
            )
            changes["id"] = str(uuid7())
        if not _is_utc(event.timestamp):
            self._report(["the time is none that UTC has, and is that of the arrival"])
            changes["timestamp"] = datetime.now(timezone.utc)
        return event.replace(**changes)

    def _lose(self, error: Exception) -> None:
        """Count an event that could not be captured."""
        ledger = self._ledger()
        ledger.total += _FAILED.record
        with suppress(Exception):  # the stack may be exhausted, and the count matters more
            ledger.note(_FAILED, f"not captured: {describe_error(error)}", 1, locate(error))

    def _mend_name(self, name: Any) -> str:
        """Return a name that is valid text and not too long, as each event has from here on."""
        text = name if type(name) is str else str(clean(name, plain=True))
        problems = []
        if type(name) is not str:
            problems = [f"the name is a {type(name).__name__}, not text"]
        elif not name:
            problems = ["the name is empty"]
        elif valid_text(name) is not name:
            problems = ["the name has lone surrogates"]
        if len(text) > MAX_NAME_CHARS:
            problems.append(f"the name has more than {MAX_NAME_CHARS} characters")
        self._report(problems)
        return valid_text(text[:MAX_NAME_CHARS])[:MAX_NAME_CHARS] or "<no name>"

    def _mend(self, data: Any) -> Any:
        copy = snapshot(data, self._values)
        self._report(copy.problems)
        return copy.value

    def _wrap(self, data: Any) -> dict[str, Any]:
        self._report([f"the data is a {type(data).__name__}, not a mapping"])
        return {"value": data}

    def _report(self, problems: Sequence[str]) -> None:
        if problems and self._strict:
            raise DataError(problems)
        for problem in problems:
            self._ledger().remark(f"mended: {problem}")


def as_name(name: Any) -> str:
    """The name of a context as plain text, whose comparison runs no code of the caller's."""
    return name if type(name) is str else str(clean(name, plain=True))


def _is_utc(moment: Any) -> bool:
    return type(moment) is genuine_datetime() and moment.tzinfo is timezone.utc


def as_mapping(value: Any) -> dict[str, Any]:
    """Return data as a dict."""
    return value if isinstance(value, dict) else {"value": value}


def warn(text: str, category: type[Warning]) -> None:
    """Warn of a fault that must not raise into the application where warnings are errors."""
    with suppress(Exception):
        warnings.warn(text, category, stacklevel=3)
