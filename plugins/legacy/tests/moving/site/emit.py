# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""Make the database, and emit the events of files, whole and as a view for browsers does.

`python emit.py FILE...`
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moving_settings")
import django
import moving_celery  # noqa: F401 - makes the site's Celery app the current one

django.setup()

from django.core.management import call_command  # noqa: E402 - after the settings

USERS = ("edx", "honor", "audit", "verified", "staff", "ada")


def prepare():
    """Make the database: users, and where the statements go."""
    from django.contrib.auth import get_user_model
    from event_routing_backends.models import RouterConfiguration

    call_command("migrate", verbosity=0)
    for name in USERS:
        get_user_model().objects.create(username=name, email=f"{name}@example.org")
    for name, place in (("xAPI", "xapi/"), ("Caliper", "caliper")):
        RouterConfiguration.objects.create(
            backend_name=name,
            enabled=True,
            route_url=f"{os.environ['MOVING_LRS']}/{place}",
            auth_scheme="Basic" if name == "xAPI" else "Bearer",
            username="user" if name == "xAPI" else None,
            password="word" if name == "xAPI" else None,
            auth_key=None if name == "xAPI" else "key",
            configurations={"match_params": {}, "override_args": {}},
        )


def emit(paths):
    """Emit every event of the files twice."""
    from eventtracking import tracker

    for path in paths:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        events = [json.loads(line) for line in lines if line.strip()]
        for event in events:
            whole(tracker, event)
        for event in events:
            as_a_browser_view(tracker, event)
    flush = getattr(tracker.get_tracker(), "flush", None)
    if flush is not None and not flush(120):
        sys.exit("not everything was sent on")
    check_counts(tracker.get_tracker())


def whole(tracker, event):
    """Emit an event in its own context."""
    with tracker.get_tracker().context("edx.request", event.get("context", {})):
        tracker.emit(event["name"], event.get("data"))


def as_a_browser_view(tracker, event):
    """Emit an event as the view that browsers send theirs to: the request's context is entered and
    never left before the next one, and the data is JSON text, which is read if it is JSON.
    """
    context = dict(event.get("context", {}))
    page = {"page": context.pop("page", None), "event_source": "browser"}
    current = tracker.get_tracker()
    current.enter_context("edx.request", context)
    data = event.get("data")
    text = data if isinstance(data, str) else json.dumps(data)
    try:
        data = json.loads(text)
    except ValueError:
        data = text
    with current.context("edx.course.browser", page):
        tracker.emit(event["name"], data)


def check_counts(tracker):
    """Hold the successor to its promise that no event is lost unseen."""
    for path, counts in getattr(tracker, "stats", dict)().items():
        if not counts.balanced or counts.failed:
            sys.exit(f"{path}: {counts}")


if __name__ == "__main__":
    prepare()
    emit(sys.argv[1:])
