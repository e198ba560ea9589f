"""The names of event-tracking's modules that this distribution has no use for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["find_former"]


def find_former(module: str, name: str) -> Any:
    """Return a constant of event-tracking, which the distribution eventtracking-legacy knows.

    Raises:
        AttributeError: If there is none of that name, or that distribution is not installed.
    """
    if name.isupper() or name == "__version__":
        try:
            return import_module("eventtracking.former").find(module, name)
        except (ImportError, LookupError):
            pass
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
