"""Django's own pages, mails and commands show no secret of the config."""

from __future__ import annotations

import copy
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, override_settings
from django.views.debug import ExceptionReporter

from eventtracking import tracker

pytestmark = pytest.mark.needs("logger", "mongo", "name_filter", "segment")

SECRET = "hunt3r-s3cret"
CONFIG: dict[str, Any] = {
    "backends": {
        "events": {"plugin": "mongo", "uri": f"mongodb://app:{SECRET}@127.0.0.1:9/"},
        "log": {"plugin": "logger", "name": "tests.tracking"},
        "group": {
            "processors": ({"plugin": "name_filter", "names": [SECRET]},),
            "backends": {"product": {"plugin": "segment", "write_key": SECRET}},
        },
    }
}
OLD: dict[str, Any] = {
    "mongo": {"ENGINE": "track.Backend", "OPTIONS": {"host": f"mongodb://u:{SECRET}@db"}}
}


@pytest.mark.parametrize("is_debug", [True, False])
def test_error_pages_and_mails(is_debug: bool) -> None:
    """The page for developers, and the text of the mail to administrators."""
    with override_settings(EVENT_TRACKING=CONFIG, DEBUG=is_debug):
        page = Client(raise_request_exception=False).get("/broken").content.decode()
        mail = ExceptionReporter(None, RuntimeError, RuntimeError("x"), None).get_traceback_text()
    assert SECRET not in page
    assert SECRET not in mail
    assert "mongo" in mail


def test_the_predecessors_settings() -> None:
    """They hold the same, in another form."""
    with override_settings(EVENT_TRACKING=CONFIG, EVENT_TRACKING_BACKENDS=OLD):
        out = StringIO()
        call_command("diffsettings", all=True, stdout=out)
    assert SECRET not in out.getvalue()
    assert "track.Backend" in out.getvalue()


def test_the_settings_are_as_before() -> None:
    """To code that reads them, and to the tracker."""
    from django.conf import settings

    with override_settings(EVENT_TRACKING=CONFIG):
        found = settings.EVENT_TRACKING
        assert found == copy.deepcopy(found) == CONFIG
        assert SECRET in json.dumps(found)
        tracker.emit("x")
        stats = tracker.get_tracker().stats()
        assert stats["log"].delivered + stats["log"].failed == 1
        assert stats["group"].filtered == 1
