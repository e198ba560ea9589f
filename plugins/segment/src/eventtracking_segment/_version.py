"""How this library introduces itself to Segment."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

__all__ = ["LIBRARY"]

_NAME: Final = "eventtracking-segment"

LIBRARY: Final[Mapping[str, str]] = {"name": _NAME, "version": version(_NAME)}
