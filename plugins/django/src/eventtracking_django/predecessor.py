"""Find event-tracking, the predecessor, which installs into the same folder as eventtracking.

This module imports nothing of eventtracking, because where both are installed, what it would import
may be the other one's.
"""

from __future__ import annotations

import importlib_metadata

__all__ = ["advice", "has_own_modules", "require_own_modules"]


def advice() -> str | None:
    """Return what to do, if the predecessor is installed beside us."""
    try:
        found = importlib_metadata.distribution("event-tracking")
    except importlib_metadata.PackageNotFoundError:
        return None
    return (
        f"event-tracking {found.version} is installed, too, and both write into the folder"
        " `eventtracking`, so that which of the two runs depends on which was installed last."
        " Uninstall it (`pip uninstall event-tracking`), then put back what went with it (`pip"
        " install --force-reinstall --no-deps eventtracking eventtracking-legacy`). If another"
        " package requires it, `eventtracking migrate --check-environment` prints the commands"
    )


def require_own_modules() -> None:
    """Make sure that `eventtracking` is ours.

    Raises:
        ImproperlyConfigured: If the predecessor's modules have taken its place.
    """
    if not has_own_modules():
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured(advice() or "eventtracking is not installed whole: reinstall it")


def has_own_modules() -> bool:
    """Whether the two modules that both distributions have are ours; the other one's may stand
    among the rest of ours.
    """
    try:
        import eventtracking
        from eventtracking import tracker
    except ImportError:
        return False
    return hasattr(eventtracking, "hookimpl") and hasattr(tracker, "configure")
