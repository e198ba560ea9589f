# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""A site's own processors and backends, written for event-tracking; both libraries run them as they
are.
"""

import json

RECORDED = {}


class Recorder:
    """A backend that keeps its events under a tag."""

    def __init__(self, tag="events"):
        self.tag = tag

    def send(self, event):
        RECORDED.setdefault(self.tag, []).append(event)


class InMemoryBackend:
    """The backend of a test suite."""

    def __init__(self):
        self.events = []

    def send(self, event):
        self.events.append(event)
        RECORDED.setdefault("mem", []).append(event)


class OlderShape:
    """Move an event into an older form, in place: `time` for `timestamp`, facts as text, some keys
    at the top.
    """

    def __call__(self, event):
        if event["name"].startswith("plain."):
            return
        event["event_type"] = event["name"]
        event["time"] = event.pop("timestamp")
        event["event"] = json.dumps(event.pop("data"), sort_keys=True, default=str)
        event["username"] = event["context"].pop("username", "")
        event["event_source"] = "server"


class Prefixer:
    """Return a new dict for some names, None for the others."""

    def __init__(self, prefixes=("course.",), prefix="edx."):
        self.prefixes = prefixes
        self.prefix = prefix

    def __call__(self, event):
        if not event["name"].startswith(self.prefixes):
            return None
        return {**event, "name": self.prefix + event["name"]}


class Scrubber:
    """Take a key out of the context, deep in place, and filter internal events out."""

    def __init__(self, keys=("ip",)):
        self.keys = keys

    def __call__(self, event):
        from eventtracking.processors.exceptions import EventEmissionExit

        if event["data"].get("internal"):
            raise EventEmissionExit
        for key in self.keys:
            event["context"].pop(key, None)
        return event


class Splitter:
    """Take an event or a list, and return a list: one per answer."""

    def __call__(self, events):
        events = events if isinstance(events, list) else [events]
        return [
            {"verb": event["name"], "answer": answer, "actor": event["context"].get("username")}
            for event in events
            for answer in event["data"].get("answers", [None])
        ]


class SiteRouter:
    """A router of the site's own, with its own processors, which take and return lists."""

    def __init__(self, processors=None, backend_name=None, tag=""):
        self.processors = processors or []
        self.backend_name = backend_name
        self.tag = tag

    def send(self, event):
        events = event
        for processor in self.processors:
            events = processor(events)
        for one in events if isinstance(events, list) else [events]:
            RECORDED.setdefault(self.tag, []).append(one)


class RowBackend:
    """A database backend of the site's own: it takes every key of an event as a column."""

    def send(self, event):
        self.save(**event)

    def save(self, name, timestamp, data, context, **extra):
        RECORDED.setdefault("rows", []).append(
            {"name": name, "data": data, "context": context, "extra": extra}
        )
