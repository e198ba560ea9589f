# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""Emit the recorded events through layouts, with event-tracking or its successor, and print the
events of each destination.

`python drive.py LAYOUT...` runs each layout in a fork of its own, so that Django and Celery are
imported once. It prints one JSON object: by layout, the status of the fork and the text of its
errors, or the events of each destination. Environment variables name the services.
"""

import contextlib
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import site_code
from django.conf import settings
from layouts import LAYOUTS

APP = "eventtracking.django.apps.EventTrackingConfig"
RECORDED_EMITS = [
    (
        "course.enrolled",
        {"course_id": "demo", "mode": "audit"},
        {"username": "ada", "user_id": 7, "ip": "10.0.0.1"},
    ),
    (
        "problem.answered",
        {"answers": ["a", "b"], "grade": 0.5},
        {"username": "ada", "session": "s1", "ip": "10.0.0.1"},
    ),
    ("plain.page_viewed", {"page": "über", "n": 3, "none": None, "nested": {"list": [1, [2]]}}, {}),
    ("courseXviewed", {"internal": False}, {"course_id": "demo"}),
    ("course.secret", {"internal": True}, {"ip": "10.0.0.2"}),
    ("problem.answered.late", {"big": "x" * 500}, {"username": "bob"}),
    ("no.data", None, {"username": "bob"}),
]


class Lines(logging.Handler):
    """Keep the lines of the tracking log."""

    def emit(self, record):
        site_code.RECORDED.setdefault("log", []).append(json.loads(record.getMessage()))


def configure(layout):
    """Set Django up, as a site does."""
    arguments = (
        {"port": int(os.environ["MONGO_PORT"]), "host": "127.0.0.1"} if layout == "mongo" else {}
    )
    backends, processors = LAYOUTS[layout](**arguments)
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=["appending_app.AppendingConfig", APP] if layout == "appended" else [APP],
        EVENT_TRACKING_ENABLED=True,
        EVENT_TRACKING_BACKENDS=backends,
        EVENT_TRACKING_PROCESSORS=processors,
    )
    log = logging.getLogger("tracking")
    log.setLevel(logging.INFO)
    log.addHandler(Lines())
    log.propagate = False
    import django

    django.setup()


def emit_all(layout):
    """Emit every recorded event in its context."""
    from eventtracking import tracker

    if layout == "in_memory":
        rebuild()
    for name, data, context in RECORDED_EMITS:
        with tracker.get_tracker().context("request", context):
            tracker.emit(name, data)
    if layout == "subclassed":
        from site_subclasses import look_at

        look = look_at(tracker.get_tracker())
        site_code.RECORDED["looked at"] = [{"name": "what the site saw", **look}]
    if layout == "in_memory":
        assert tracker.get_tracker().backends["mem"].events == site_code.RECORDED["mem"]


def rebuild():
    """Make the tracker anew, as a test suite does for each test."""
    from eventtracking import tracker
    from eventtracking.django.django_tracker import DjangoTracker

    tracker.register_tracker(DjangoTracker())


def with_worker(layout):
    """Emit while a Celery worker runs in this process, and wait until it has nothing left to do."""
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    app = Celery("site", broker="memory://", backend="cache+memory://")
    app.set_default()
    app.set_current()
    app.loader.import_module("celery.contrib.testing.tasks")
    with contextlib.suppress(ImportError):
        app.loader.import_module("eventtracking.tasks")
    with start_worker(app, perform_ping_check=False, loglevel="ERROR"):
        emit_all(layout)
        settle()


def settle():
    """Wait until nothing has arrived for a while."""
    from eventtracking import tracker

    flush = getattr(tracker.get_tracker(), "flush", None)
    if flush is not None:
        flush(60)
    before, quiet_since = -1, time.monotonic()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and time.monotonic() - quiet_since < 2:
        now = sum(map(len, site_code.RECORDED.values()))
        if now != before:
            before, quiet_since = now, time.monotonic()
        time.sleep(0.05)


def main(layouts):
    """Run the layouts side by side."""
    import django.apps  # noqa: F401 - for all forks at once

    with contextlib.suppress(ImportError):  # layouts that need no worker run without Celery
        import celery.contrib.testing.worker  # noqa: F401 - as above

    with tempfile.TemporaryDirectory() as folder:
        children = {layout: start(layout, Path(folder) / layout) for layout in layouts}
        found = {}
        for layout, child in children.items():
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            text = (Path(folder) / layout).read_text(encoding="utf-8")
            found[layout] = {"error": f"{status}: {text}"} if status else json.loads(text)
    print(json.dumps(found))


def start(layout, path):
    """Fork a process that writes the outcome of a layout to a file."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        path.write_text(run(layout), encoding="utf-8")
        status = 0
    except BaseException:
        path.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(layout):
    """Run one layout; return the events of each destination as JSON."""
    configure(layout)
    (with_worker if layout in ("transformer", "two_async", "shaped") else emit_all)(layout)
    if hasattr(__import__("eventtracking").tracker, "live_trackers"):
        check_counts()
    return json.dumps(site_code.RECORDED, default=str, sort_keys=True)


def check_counts():
    """Hold the successor to its promise that no event is lost unseen."""
    from eventtracking import tracker

    tracker.get_tracker().flush(60)
    for path, counts in tracker.get_tracker().stats().items():
        assert counts.balanced, (path, counts)


if __name__ == "__main__":
    main(sys.argv[1:])
