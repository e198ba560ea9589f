# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""Do one small thing after another, and print the result of each, as one JSON object."""

import datetime as dt
import decimal
import enum
import json
import logging
import re
import sys
import threading
import warnings

from django.conf import settings

warnings.simplefilter("ignore")
settings.configure(
    USE_TZ=True,
    INSTALLED_APPS=["eventtracking.django.apps.EventTrackingConfig"],
    EVENT_TRACKING_ENABLED=False,
    SECRET_KEY="for a trial",
)
import django  # noqa: E402 - after the settings

django.setup()

from eventtracking import tracker  # noqa: E402 - after the settings
from eventtracking.backends.logger import LoggerBackend  # noqa: E402 - after the settings
from eventtracking.django.django_tracker import DjangoTracker  # noqa: E402 - after the settings
from eventtracking.tracker import Tracker  # noqa: E402 - after the settings

LINES, GOT = [], []
B, P = "eventtracking.backends.", "eventtracking.processors."
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


class Lines(logging.Handler):
    """Keep the lines of the tracking log."""

    def emit(self, record):
        LINES.append(record.getMessage())


logging.getLogger("probe").addHandler(Lines())
logging.getLogger("probe").setLevel("INFO")
logging.getLogger("probe").propagate = False
logging.getLogger("eventtracking").setLevel(logging.CRITICAL + 1)


class Recorder:
    """A backend that keeps the data of its events."""

    def send(self, event):
        GOT.append(event["data"] if isinstance(event, dict) else event)


class Changer:
    """A backend that changes a nested dict of its events."""

    def send(self, event):
        event["data"]["inner"]["seen"] = True


class Connector:
    """A backend whose server is down when the site starts."""

    def __init__(self):
        raise ConnectionError

    def send(self, event):
        pass


class Failing:
    """A processor that fails."""

    def __call__(self, event):
        raise KeyError("k")


class Text:
    """A processor that returns text."""

    def __call__(self, event):
        return "text"


class Twice:
    """A processor that makes two events of one."""

    def __call__(self, event):
        return [event, event]


class Colour(enum.Enum):
    """A kind of value that events hold."""

    RED = "red"


RECORDER = {"ENGINE": "__main__.Recorder"}
LOG = {"ENGINE": f"{B}logger.LoggerBackend", "OPTIONS": {"name": "probe"}}


def made(backends, processors=()):
    """Make a tracker of settings."""
    settings.PROBE_BACKENDS, settings.PROBE_PROCESSORS = backends, list(processors)
    return DjangoTracker("PROBE_BACKENDS", "PROBE_PROCESSORS")


def logged(name, data, *processors):
    """Emit to a log; return its lines without times and ids."""
    LINES.clear()
    limit = {**LOG["OPTIONS"], "max_event_size": 50000}
    made({"log": {**LOG, "OPTIONS": limit}}, processors).emit(name, data)
    return [TIME.sub("TIME", re.sub(r'"id":"[^"]*"', '"id":"ID"', line)) for line in LINES]


def received(data, *processors, **others):
    """Emit to a backend of the site's; return its data."""
    GOT.clear()
    made({**others, "own": RECORDER}, processors).emit("n", data)
    return [repr(data) for data in GOT]


def raised(function):
    """Call a function; tell the kind of error that it raises, or its result."""
    try:
        return function()
    except Exception as error:
        return type(error).__name__


def an_id():
    (line,) = logged("n", {})
    return "id" in json.loads(line)


def the_line():
    return logged("n", {"text": "ü", "n": [1, 2]})


def a_long_line():
    LINES.clear()
    made({"log": LOG}).emit("n", {"text": "x" * 2000})
    return len(LINES)


def the_limit():
    return LoggerBackend(name="probe").max_event_size == 1024


def a_failing_processor():
    return len(received({}, {"ENGINE": "__main__.Failing"}))


def a_processor_that_returns_text():
    return received({}, {"ENGINE": "__main__.Text"})


def a_processor_that_returns_a_list():
    (line,) = logged("n", {}, {"ENGINE": "__main__.Twice"})
    return type(json.loads(line)).__name__


def a_shared_dict():
    return received({"inner": {}}, changer={"ENGINE": "__main__.Changer"})


def values():
    data = {
        "decimal": decimal.Decimal("1.5"),
        "set": {1},
        "enum": Colour.RED,
        "span": dt.timedelta(1),
        3: "three",
    }
    return received(data)


def what_cannot_be_copied():
    return raised(lambda: received({"lock": threading.Lock()}) and "delivered")


def disabled():
    return raised(lambda: tracker.emit("n", {}))


def leaving_an_unknown_context():
    return raised(lambda: made({"own": RECORDER}).exit_context("unknown"))


def a_context_within_its_own_name():
    found = made({"own": RECORDER})
    found.enter_context("c", {"k": "outer"})
    with found.context("c", {"k": "inner"}):
        pass
    return found.resolve_context()


def a_tracker_of_objects():
    return raised(lambda: list(Tracker(backends={"own": Recorder()}).backends))


def a_slash_in_a_name():
    return list(made({"a/b": RECORDER}).backends)


def a_number_as_a_name():
    (line,) = logged(5, {})
    return json.loads(line)["name"]


def without_a_name():
    return raised(tracker.emit)


def a_constructor_that_fails():
    return raised(lambda: bool(made({"own": {"ENGINE": "__main__.Connector"}})))


PROBES = [
    an_id,
    the_line,
    a_long_line,
    the_limit,
    a_failing_processor,
    a_processor_that_returns_text,
    a_processor_that_returns_a_list,
    a_shared_dict,
    values,
    what_cannot_be_copied,
    disabled,
    leaving_an_unknown_context,
    a_context_within_its_own_name,
    a_tracker_of_objects,
    a_slash_in_a_name,
    a_number_as_a_name,
    without_a_name,
    a_constructor_that_fails,
]

if __name__ == "__main__":
    sys.stdout.write(json.dumps({probe.__name__: probe() for probe in PROBES}) + "\n")
