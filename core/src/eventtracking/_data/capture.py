"""Capturing: making the event of a name and its data, where nothing of them has to be mended.

Compiled where the installation could, as `_copy` is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final

from uuid_utils import uuid7

from eventtracking._data.copy import IS_COMPILED, fast_copy
from eventtracking._data.snapshot import as_utc, valid_text
from eventtracking.event import Event

__all__ = ["MAX_NAME_CHARS", "capture", "capture_in_python"]

MAX_NAME_CHARS: Final = 1_024
"""Characters of a name; it goes through regular expressions, keys and columns of stores."""

_UTC = timezone.utc
_new = object.__new__


def capture_in_python(
    name: str, data: dict[str, Any] | None, context: dict[str, Any], clock: type[datetime]
) -> Event:
    """Make an event of now.

    Args:
        name: The name of the event.
        data: The facts; copied. None for none.
        context: The merged contexts; shared.
        clock: The class to ask for the time, which a test may have frozen.

    Raises:
        TypeError, RecursionError: If the name or the data has to be mended.
    """
    if type(name) is not str or not 0 < len(name) <= MAX_NAME_CHARS:
        raise TypeError
    if (type(data) is not dict and data is not None) or valid_text(name) is not name:
        raise TypeError
    event: Event = _new(
        Event
    )  # field by field: `__init__` with its keywords costs three times as much
    event.id = str(uuid7())
    event.name = name
    event.timestamp = as_utc(clock.now(_UTC))
    event.context = context
    event.data = {} if data is None else fast_copy(data)
    event.extra = {}
    return event


capture: Callable[[str, dict[str, Any] | None, dict[str, Any], type[datetime]], Event] = (
    capture_in_python
)
if IS_COMPILED:
    from eventtracking._data._compiled import capture
