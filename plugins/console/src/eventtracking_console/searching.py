"""The search in a store: the form's fields, and a page of events as people may see them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

import attrs
import msgspec

from eventtracking import Tracker
from eventtracking.shown import processors_on_the_way, shown

__all__ = ["PAGE", "Query", "found_events", "searchable"]

PAGE: Final = 50
"""Events of one page."""


@attrs.frozen
class Query:
    """The fields of the form."""

    route: str = ""
    name: str = ""
    since: str = ""
    until: str = ""
    context: str = ""
    after: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Query:
        """Take the known fields of a request."""
        known = {field.name: values.get(field.name, "").strip() for field in attrs.fields(cls)}
        return cls(**known)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a backend's `search`.

        Raises:
            ValueError: If a field cannot be read; says which.
        """
        return {
            "name": self.name or None,
            "since": _moment("since", self.since),
            "until": _moment("until", self.until),
            "context": _context(self.context),
            "after": self.after or None,
            "limit": PAGE,
        }

    def next_page(self, last_id: str) -> dict[str, str]:
        """Return the fields for the events after this page."""
        return {**attrs.asdict(self), "after": last_id}


def _moment(field: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{field}: {text!r} is no time; write 2026-12-31T23:59") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def _context(text: str) -> dict[str, Any] | None:
    """Read `user.id=7`: the value is JSON, else text."""
    if not text:
        return None
    path, sign, value = text.partition("=")
    if not sign or not path.strip():
        raise ValueError(f"context: {text!r} is not PATH=VALUE, such as user_id=7")
    try:
        return {path.strip(): msgspec.json.decode(value)}
    except msgspec.DecodeError:
        return {path.strip(): value}


def searchable(tracker: Tracker) -> dict[str, Any]:
    """Return the backends that offer a search, by route."""
    return {
        view.path: view for view in tracker.routes() if callable(getattr(view.backend, "search", 0))
    }


def found_events(tracker: Tracker, query: Query) -> list[dict[str, Any]]:
    """Search a store; return events as people may see them.

    Raises:
        ValueError: If a field of the query cannot be read.
        DeliveryError: If the store cannot be asked.
    """
    view = searchable(tracker)[query.route]
    processors = processors_on_the_way(tracker.routes(), query.route)
    found = view.backend.search(**query.arguments())
    return [shown(event, processors) for event in found]
