"""The snapshot: a deep copy of a caller's values, in plain types, that never raises.

Plain data takes the fast path. All other data goes to `mend`, which is imported when it is first
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeAlias

from eventtracking._data.copy import fast_copy, genuine_datetime

__all__ = ["Snapshot", "Values", "as_utc", "clean", "snapshot", "valid_text"]

Values: TypeAlias = Mapping[str, Callable[[Any], Any]]
"""By a type's qualified name, a function that returns the plain form of its instances."""

_UTC = timezone.utc


class Snapshot(NamedTuple):
    """A copy, and the mends that it took."""

    value: Any
    problems: tuple[str, ...] = ()


def snapshot(value: Any, values: Values | None = None) -> Snapshot:
    """Copy a value deeply into plain types.

    Args:
        values: The plain forms that plugins have registered.
    """
    try:
        return Snapshot(fast_copy(value))
    except Exception:  # noqa: BLE001 - any exception of the caller's data leads to a mend
        from eventtracking._data.mend import mend  # few events need it

        return Snapshot(*mend(value, values or {}))


def clean(value: Any, plain: bool = False) -> Any:
    """Return a copy of a snapshot's value whose text is all valid Unicode.

    Args:
        plain: Also turn values that JSON has no word for into text, NaN and infinities into None.
    """
    from eventtracking._data.mend import mend

    return mend(value, {}, clean=True, plain=plain)[0]


def valid_text(text: str) -> str:
    """Return a name or an id whose lone surrogates have become the text of their escape."""
    if type(text) is not str or text.isascii():
        return text
    valid = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if valid == text else valid


def as_utc(moment: datetime) -> datetime:
    """Return the same instant in UTC, as a genuine datetime; one without a zone is in UTC already.

    A value of another type is returned as it is.

    Raises:
        OverflowError: If UTC has no year for it.
    """
    kind = genuine_datetime()
    if type(moment) is kind and moment.tzinfo is _UTC:
        return moment
    if not issubclass(type(moment), kind):
        return moment
    # Methods of the base: a subclass, such as that of a library that freezes time, has its own.
    genuine = kind.combine(kind.date(moment), kind.timetz(moment))
    return genuine.replace(tzinfo=_UTC) if genuine.tzinfo is None else genuine.astimezone(_UTC)
