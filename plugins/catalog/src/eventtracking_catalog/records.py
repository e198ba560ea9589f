"""The record of an event type: its documentation, as an event among the others."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from eventtracking import Event
from eventtracking_catalog.canonical import record_id
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.registry import OWN_PREFIX

__all__ = ["RECORD_EVERY_S", "RECORD_NAME", "emitted_from", "record_of"]

RECORD_NAME: Final = f"{OWN_PREFIX}event_type"
RECORD_EVERY_S: Final = 86_400.0
_OURS: Final = ("eventtracking", "eventtracking_catalog")


def record_of(declaration: Declaration, is_inline: bool) -> Event:
    """Make the record that documents a schema.

    Args:
        is_inline: Whether the caller of `emit` is on this stack.
    """
    place = emitted_from() if is_inline else None
    data: dict[str, Any] = {**declaration.document(), "emitted_from": place}
    return Event(
        name=RECORD_NAME,
        id=record_id(declaration.schema, declaration.docs),
        data=data,
    )


def emitted_from() -> dict[str, Any] | None:
    """Return the module and line that emit: the first frame outside of eventtracking."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _OURS:
            return {"module": module, "line": frame.f_lineno}
        frame = frame.f_back
    return None
