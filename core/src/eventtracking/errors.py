"""The exceptions of eventtracking.

The tree::

    Exception
    ├── DropEvent                 a processor filters an event out
    ├── Rejected                  some events are bad for good, the rest were delivered
    ├── Undelivered               partial success: some to be tried again, some bad for good
    └── EventTrackingError
        ├── ConfigError           every problem of a config, at once
        ├── PluginError           the installed plugins contradict each other, or one is broken
        ├── OptionsError          a plugin refuses its options (it becomes part of a ConfigError)
        ├── DataError             a name or data cannot be an event (strict mode only)
        └── DeliveryError         nothing was delivered, in words that are safe to show

All of them pickle, because Celery moves errors between processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import attrs

__all__ = [
    "MAX_PAUSE_S",
    "ConfigError",
    "DataError",
    "DeliveryError",
    "DropEvent",
    "EventTrackingError",
    "OptionsError",
    "PluginError",
    "Problem",
    "Rejected",
    "Undelivered",
    "describe_error",
    "locate",
    "pause_of",
    "reason_of",
]


_CORE: Final = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 - text in, text out
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
MAX_PAUSE_S: Final = 3_600.0
"""The longest pause that a destination can ask for."""


class DropEvent(Exception):  # noqa: N818 - a signal, not an error
    """Raised by a processor to filter an event out.

    Args:
        reason: Why, in a few fixed words. It is counted, so it must not carry an event's values.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Rejected(Exception):  # noqa: N818 - part of the public contract
    """Refuse these events for good; the rest of the batch was delivered.

    Raised by `Backend.send`, and by a processor for its own event. An id that is not in the batch,
    or no id at all, is a fault of the plugin: the whole batch has failed then.

    Args:
        reasons: Why, by event id. Reasons are stored and shown: never put an event's values there.

    Example:
        >>> raise Rejected({event.id: "larger than 1 MB"})  # doctest: +SKIP
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(dict(reasons))
        self.reasons: dict[str, str] = dict(reasons)

    def __str__(self) -> str:
        return "; ".join(f"{event_id}: {reason}" for event_id, reason in self.reasons.items())


class Undelivered(Exception):  # noqa: N818 - part of the public contract
    """Report partial success: retry some events, refuse some for good; the rest were delivered.

    Raised by `Backend.send`. An id that is not in the batch, an id in both mappings, or no id at
    all is a fault of the plugin: the whole batch has failed then.

    Args:
        retry: Events to be tried again, and why.
        rejected: Events that are bad for good, and why.
        retry_after_s: The pause that the destination asked for, before the next attempt.

    Example:
        >>> raise Undelivered(retry={event.id: "busy"}, retry_after_s=3.0)  # doctest: +SKIP
    """

    def __init__(
        self,
        retry: Mapping[str, str],
        rejected: Mapping[str, str] = _NONE,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(dict(retry), dict(rejected), retry_after_s)
        self.retry: dict[str, str] = dict(retry)
        self.rejected: dict[str, str] = dict(rejected)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        reasons = {**self.retry, **self.rejected}
        return "; ".join(f"{event_id}: {reason}" for event_id, reason in reasons.items())


class EventTrackingError(Exception):
    """The base of the errors that eventtracking raises."""


@attrs.frozen
class Problem:
    """One thing that is wrong with a config."""

    path: str
    """Where: the dotted path in the config, `backends.warehouse.uri`."""
    message: str
    """The failure, and the accepted values."""
    found: str | None = None
    """The value, as it was written (before `${VAR}` is substituted).

    None for a secret, or where nothing was.
    """
    hint: str | None = None
    """The next step."""

    def __str__(self) -> str:
        parts = [f"{self.path or 'config'}: {self.message}"]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(parts)


class ConfigError(EventTrackingError, ValueError):
    """Raised when a config cannot be used. It carries every problem, not just the first.

    Args:
        problems: Every problem, in the order of the config.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"the config has {count} problem{'s' if count != 1 else ''}:"]
        return "\n".join(lines + [f"  {problem}" for problem in self.problems])


class PluginError(EventTrackingError):
    """Raised when installed plugins cannot be used: two claim one name, or one does not keep the
    contract.
    """


class OptionsError(EventTrackingError):
    """Raised by a plugin's class, while it is built, to refuse options for reasons that a type
    cannot say.

    Args:
        problems: The refusals, by option: `{"regular_expressions[2]": "unterminated group at
            position 4"}`.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(dict(problems))
        self.problems: dict[str, str] = dict(problems)

    def __str__(self) -> str:
        return "; ".join(f"{option}: {text}" for option, text in self.problems.items())


class DataError(EventTrackingError, ValueError):
    """Raised by `emit()` in strict mode only: the name or the data cannot be an event as it stands.

    Args:
        problems: The values to mend, each with its place in the data.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(tuple(problems))
        self.problems: tuple[str, ...] = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(self.problems)


class DeliveryError(EventTrackingError):
    """Report that nothing of a batch was delivered; it is to be tried again.

    Any exception does. But the text of a driver's error may hold an event's values or a password,
    so only its type is counted and shown; the text of this one is shown whole, and must be safe.

    Args:
        text: Why, in words that are safe to show.
        retry_after_s: The pause that the destination asked for. It is kept, and is no attempt.
    """

    def __init__(self, text: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text, retry_after_s)
        self.text = text
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.text)


def pause_of(error: BaseException) -> float | None:
    """Return the pause that a destination asked for, from 0 to 3,600 s; None if it did not."""
    asked = getattr(error, "retry_after_s", None)
    if not isinstance(error, Undelivered | DeliveryError) or not isinstance(asked, int | float):
        return None
    return min(max(float(asked), 0.0), MAX_PAUSE_S) if asked == asked else 0.0


def describe_error(error: BaseException) -> str:
    """Name an error without its text, which may hold an event's values; our own errors' texts are
    safe.
    """
    name = type(error).__name__
    if not isinstance(error, EventTrackingError):
        return name
    try:
        return f"{name}: {error}"
    except Exception:  # noqa: BLE001 - a plugin's own subclass may fail to tell itself
        return name


def reason_of(error: BaseException, event_id: str) -> str:
    """Say why one event failed, in words that are safe to store and show."""
    known: Mapping[str, object] = {}
    if isinstance(error, Rejected):
        known = error.reasons
    elif isinstance(error, Undelivered):
        known = {**error.retry, **error.rejected}
    reason = known.get(event_id)
    return f"{type(error).__name__}: {reason}" if reason else describe_error(error)


def locate(error: BaseException) -> str:
    """Tell where the code that core called broke, `plugin.py:15`; empty for our own errors, which
    need no line to be understood.
    """
    trace = error.__traceback__
    if trace is None or isinstance(error, EventTrackingError):
        return ""
    trace = trace.tb_next or trace  # the first entry is that of the caller
    while trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_CORE):
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119 - text in, text out
