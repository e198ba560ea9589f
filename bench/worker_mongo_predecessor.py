"""The worker that stores events in MongoDB as event-tracking 4.0.2 does: one by one, and
unacknowledged, its default.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from urllib.parse import urlsplit

from _events import CONTEXT, NAME, SMALL
from _worker import serve
from worker_predecessor import class_of

EVENTS = 2_000


def one_by_one(uri: str) -> Callable[[], object]:
    """Send events, and wait until the server has read the last: what is still on its way is not
    stored.
    """
    where = urlsplit(uri)
    options = {"host": where.hostname, "port": where.port, "database": "predecessor"}
    backend = class_of("eventtracking.backends.mongodb.MongoBackend")(**options)

    def action() -> None:
        for _ in range(EVENTS):
            backend.send(
                {
                    "name": NAME,
                    "timestamp": datetime.now(timezone.utc),
                    "context": CONTEXT,
                    "data": SMALL,
                }
            )
        backend.connection.admin.command(
            "ping"
        )  # on the same socket, so that the answer comes after the events

    return action


if __name__ == "__main__":
    serve({"one_by_one": one_by_one})
