"""Differences from event-tracking that a site may notice, each with the next step."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = [
    "BUFFER",
    "CELERY",
    "DISABLED",
    "EMPTY_WHITELIST",
    "EVENT_BUS",
    "FAIL_CLOSED",
    "LOGGER_LIMIT",
    "MERGED_YAML",
    "MONGO_SHAPE",
    "MONGO_WRITES",
    "NO_CHILDREN",
    "ORDER",
    "PREFIX",
    "RENAMED",
    "SEGMENT",
    "TUPLES",
    "UNKNOWN_OPTION",
    "Note",
]


@attrs.frozen
class Note:
    """One difference at one place in the settings."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


LOGGER_LIMIT: Final = (
    "event-tracking threw events of more than 1,024 characters away, silently; all are logged now. "
    "Set max_event_bytes if your log shipper has a limit"
)
PREFIX: Final = (
    "patterns match at the start of the name and may end anywhere, as before, so that an unescaped"
    ' dot matches any character; match = "full" is stricter'
)
ORDER: Final = (
    "event-tracking served backends in alphabetical order; a config's run in the order in which"
    " they are written, and so they are written alphabetically"
)
MONGO_WRITES: Final = (
    "event-tracking's writes were not acknowledged, and lost events unseen; now a majority"
    " acknowledges each (write_concern)"
)
MONGO_SHAPE: Final = (
    "the event's id is the document's _id now, times are dates, and the indexes are on timestamp"
    " and name; an index on time from before is of no use"
)
BUFFER: Final = (
    "a buffer in memory stands above it, so that no request waits for the network. At a normal exit"
    ' it delivers what it holds; with storage = "disk" and a path it survives kill -9, too'
)
CELERY: Final = (
    "failed deliveries are retried now, which event-tracking's task never did; publishing has left"
    " the request. Move the workers over first: they deliver what is still in the queue, and an old"
    " worker throws the new tasks away. The queue is the one that the site's workers read by"
    " default"
)
FAIL_CLOSED: Final = (
    "when this processor raises, the event is no longer delivered unprocessed: it is counted as"
    ' failed. on_error = "pass" is the old way'
)
SEGMENT: Final = (
    "events without a user are sent under an anonymous id if they have a session, and are counted"
    " as failed otherwise; they vanished before"
)
EMPTY_WHITELIST: Final = "the whitelist is empty, so that everything is filtered out, as before"
EVENT_BUS: Final = (
    "needs eventtracking-event-bus; the settings SEND_TRACKING_EVENT_EMITTED_SIGNAL and"
    " EVENT_BUS_TRACKING_LOGS decide which events go to the bus, as before. A buffer in memory"
    " sends them, so that no request waits, and tries again what a receiver of the signal refuses"
)
DISABLED: Final = (
    "tracking is disabled; now a disabled emit() is counted and does nothing, and no longer raises"
)
NO_CHILDREN: Final = "nothing stands below this router, so that it is left out"
TUPLES: Final = (
    "a tuple or a set among the options of this class is a list in a file; keep the settings, or a"
    " dict EVENT_TRACKING, if the class depends on it"
)
UNKNOWN_OPTION: Final = "event-tracking ignored this option; it is left out"
RENAMED: Final = (
    "the name of a route is text without a slash, and no sibling's, so that this one is called"
    " otherwise now: each slash is an underscore, and one more stands at the end where that name"
    " was taken"
)
MERGED_YAML: Final = (
    "what a YAML file says of backends is often merged under another key at load"
    " (tracking_logs/OPTIONS/backends); name the settings module in its place to see the whole"
)
