"""The predecessor's name for its Django package, which INSTALLED_APPS may hold, and from which
sites import the tracker.

The class is imported when it is asked for, because Django imports this package before any app is
loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventtracking_legacy.tracker import DjangoTracker

__all__ = ["DjangoTracker"]


def __getattr__(name: str) -> Any:
    if name == "DjangoTracker":
        from eventtracking_legacy.tracker import DjangoTracker

        return DjangoTracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
