"""The exceptions of eventtracking.

The tree::

    Exception
    ├── DropEvent                 a processor filters an event out
    ├── Rejected                  a backend refuses some events for good
    └── EventTrackingError
        ├── ConfigError           everything that is wrong with a config, at once
        ├── PluginError           the installed plugins contradict each other, or one is broken
        ├── OptionsError          a plugin refuses its options (it becomes part of a ConfigError)
        ├── DataError             what was given to emit() cannot be an event (strict mode only)
        └── DeliveryError         a backend could not deliver, in words that are safe to show

All of them pickle, because Celery moves errors between processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import attrs

__all__ = [
    "ConfigError",
    "DataError",
    "DeliveryError",
    "DropEvent",
    "EventTrackingError",
    "OptionsError",
    "PluginError",
    "Problem",
    "Rejected",
    "describe_error",
    "locate",
]


class DropEvent(Exception):  # noqa: N818 - a signal, not an error
    """Raised by a processor to filter an event out.

    Args:
        reason: Why, in a few fixed words. It is counted, so it must not carry an event's values.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Rejected(Exception):  # noqa: N818 - part of the public contract
    """Raised by `Backend.send`: these events are bad for good, and the rest of the batch was
    delivered.

    Args:
        reasons: Why, by event id. The reasons are stored and shown, so they must not carry an
            event's values.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(dict(reasons))
        self.reasons: dict[str, str] = dict(reasons)

    def __str__(self) -> str:
        return "; ".join(f"{event_id}: {reason}" for event_id, reason in self.reasons.items())


class EventTrackingError(Exception):
    """The base of the errors that eventtracking raises."""


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong with a config."""

    path: str
    """Where: the dotted path in the config, `backends.warehouse.uri`."""
    message: str
    """What failed, and what is accepted."""
    found: str | None = None
    """What was there, as it was written (before `${VAR}` is substituted).

    None for a secret, or where nothing was.
    """
    hint: str | None = None
    """What to do next."""

    def __str__(self) -> str:
        parts = [f"{self.path or 'config'}: {self.message}"]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(parts)


class ConfigError(EventTrackingError):
    """Raised when a config cannot be used. It carries every problem, not just the first.

    Args:
        problems: What is wrong, in the order of the config.
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
        problems: What is wrong, by option: `{"regular_expressions[2]": "unterminated group at
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
        problems: What had to be mended, each with its place in the data.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(tuple(problems))
        self.problems: tuple[str, ...] = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(self.problems)


class DeliveryError(EventTrackingError):
    """Raised by a backend that could not deliver; to be tried again.

    Any exception does. But the text of a driver's error may hold an event's values or a password,
    so only its type is counted and shown; the text of this one is shown whole, and must be safe.
    """


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


def locate(error: BaseException) -> str:
    """Tell where the code that core called broke, `plugin.py:15`; empty for our own errors, which
    need no line to be understood.
    """
    trace = error.__traceback__
    if trace is None or isinstance(error, EventTrackingError):
        return ""
    called = trace.tb_next or trace  # the first entry is core's own
    return f"{os.path.basename(called.tb_frame.f_code.co_filename)}:{called.tb_lineno}"  # noqa: PTH119 - text in, text out
