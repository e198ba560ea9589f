"""The viewer of a page, and their rights there."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

import attrs

__all__ = ["Viewer", "viewer"]


@attrs.frozen
class Viewer:
    """The person behind a request. An application that mounts the console sets it."""

    name: str = ""
    """Their name in the log and the store."""
    prefix: str | None = None
    """The path below which they see the console; None: that of the application."""
    may_change: bool = True
    """Whether they may replay dead letters where the console allows changes."""
    csrf_token: str = ""
    """Put into each form, for a framework that wants one."""
    is_live: bool = True
    """Whether a page may keep a connection open."""


viewer: Final[ContextVar[Viewer]] = ContextVar("viewer", default=Viewer())  # noqa: B039 - it is frozen
"""The viewer of the request that is served."""
