# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""Settings for the suite of event-routing-backends, which needs the platform's modules as mocks."""

import sys
from unittest import mock

from celery import Celery

app = Celery("suite")
app.conf.task_always_eager = True
app.set_default()

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "event_routing_backends",
    "celery_utils",
)
SECRET_KEY = "for a trial"
LMS_ROOT_URL = "http://localhost:18000"
XAPI_EVENTS_ENABLED = True
XAPI_EVENT_LOGGING_ENABLED = False
XAPI_AGENT_IFI_TYPE = "external_id"
RUNNING_WITH_TEST_SETTINGS = True
EVENT_ROUTING_BACKEND_BATCHING_ENABLED = False
EVENT_ROUTING_BACKEND_BATCH_INTERVAL = 100
EVENT_TRACKING_ENABLED = True


def _router(name, processor):
    return {
        "ENGINE": "event_routing_backends.backends.async_events_router.AsyncEventsRouter",
        "OPTIONS": {
            "backend_name": name,
            "processors": [
                {"ENGINE": f"event_routing_backends.processors.{processor}", "OPTIONS": {}}
            ],
        },
    }


EVENT_TRACKING_BACKENDS = {
    "event_transformer": {
        "ENGINE": "eventtracking.backends.async_routing.AsyncRoutingBackend",
        "OPTIONS": {
            "backends": {
                "xapi": _router("xapi", "xapi.transformer_processor.XApiProcessor"),
                "caliper": _router("caliper", "caliper.transformer_processor.CaliperProcessor"),
            }
        },
    }
}

for _place in (
    "common.djangoapps.student.models",
    "openedx.core.djangoapps.content.course_overviews.api",
    "openedx.core.djangoapps.external_user_ids.models",
):
    for _end in range(1, len(_place.split(".")) + 1):
        sys.modules.setdefault(".".join(_place.split(".")[:_end]), mock.MagicMock())
