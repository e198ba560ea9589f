# mypy: ignore-errors
# Written as a site writes it, without types.
"""A site with the old settings: MongoDB in the request, and below an asynchronous router the
tracking log, MongoDB and a backend of the site's own.

The worker is `celery -A shapes_site worker`; `emit()` emits the values of the standard input.
"""

import json
import logging
import os
import sys
from pathlib import Path

from celery import Celery
from django.conf import settings

FOLDER = Path(os.environ["SHAPES_FOLDER"])
BACKENDS = "eventtracking.backends."


class Own:
    """A backend of the site's, which writes the data that it gets to a file."""

    def send(self, event):
        """Append one line; short lines of several processes do not mix."""
        with (FOLDER / "own").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": event["name"], "data": event["data"]}) + "\n")


def mongo(collection):
    """Return the settings of a collection in MongoDB."""
    options = {"host": os.environ["SHAPES_MONGO"], "database": os.environ["SHAPES_DATABASE"]}
    return {
        "ENGINE": f"{BACKENDS}mongodb.MongoBackend",
        "OPTIONS": {**options, "collection": collection},
    }


LOG = {"ENGINE": f"{BACKENDS}logger.LoggerBackend", "OPTIONS": {"name": "shapes"}}
BELOW = {"log": LOG, "own": {"ENGINE": "shapes_site.Own"}, "mongo": mongo("worker")}
settings.configure(
    USE_TZ=True,
    INSTALLED_APPS=["eventtracking.django.apps.EventTrackingConfig"],
    EVENT_TRACKING_ENABLED=True,
    EVENT_TRACKING_BACKENDS={
        "later": {
            "ENGINE": f"{BACKENDS}async_routing.AsyncRoutingBackend",
            "OPTIONS": {"backend_name": "later", "backends": BELOW},
        },
        "now": mongo("request"),
    },
)
log = logging.getLogger("shapes")
log.setLevel("INFO")
log.addHandler(logging.FileHandler(FOLDER / "log", encoding="utf-8"))
log.propagate = False

app = Celery("shapes", broker=os.environ["SHAPES_REDIS"])
app.conf.worker_hijack_root_logger = False
app.conf.broker_connection_retry_on_startup = True
app.set_default()

import django  # noqa: E402 - after the settings

django.setup()


def emit():
    """Emit each value under a name with its number."""
    from eventtracking import tracker

    for number, data in enumerate(json.load(sys.stdin)):
        tracker.emit(str(number), data)
    if not tracker.get_tracker().flush(60):
        sys.exit("not everything was sent on")
