"""The exceptions that code written for event-tracking raises and catches."""

from __future__ import annotations

__all__ = [
    "EventEmissionExit",
    "ImproperlyConfigured",
    "NoBackendEnabled",
    "NoTransformerImplemented",
]


class EventEmissionExit(Exception):  # noqa: N818 - sites import it by this name
    """Raised by a site's processor to filter an event out."""


class NoTransformerImplemented(Exception):  # noqa: N818 - sites import it by this name
    """Raised by a site's processor that has no transformer for an event."""


class NoBackendEnabled(Exception):  # noqa: N818 - sites import it by this name
    """Raised by a site's router that has no backend to send to."""


class ImproperlyConfigured(Exception):  # noqa: N818 - sites import it by this name
    """Raised by a site's class that refuses its options."""
