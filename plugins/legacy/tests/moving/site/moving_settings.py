# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""A site as the documents of event-routing-backends say: xAPI and Caliper below one asynchronous
router, beside the tracking log. Environment variables hold the differences between two runs.
"""

import os
import sys
from pathlib import Path

import edx_platform
import tracking_log

edx_platform.pretend()

FOLDER = Path(os.environ["MOVING_FOLDER"])
REDIS = os.environ["MOVING_REDIS"]

SECRET_KEY = "for a trial"
FERNET_KEYS = [SECRET_KEY]
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
LMS_ROOT_URL = "http://lms.example"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(FOLDER / "site.db"),
        "OPTIONS": {"timeout": 30},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    os.environ["MOVING_APP"],
    "celery_utils",
    "config_models",
    "event_routing_backends",
]
CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{REDIS}/2"},
}
CELERY_BROKER_URL = f"{REDIS}/1"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

EVENT_TRACKING_ENABLED = True
EVENT_TRACKING_BACKENDS = {"tracking_logs": tracking_log.router()}
EVENT_TRACKING_PROCESSORS = []

from event_routing_backends.settings import common  # noqa: E402 - after the settings

common.plugin_settings(sys.modules[__name__])

# MySQL finds "xAPI" when asked for "xapi"; SQLite does not.
for _key, _name in (("xapi", "xAPI"), ("caliper", "Caliper")):
    _routers = EVENT_TRACKING_BACKENDS["event_transformer"]["OPTIONS"]["backends"]
    _routers[_key]["OPTIONS"]["backend_name"] = _name

CALIPER_EVENTS_ENABLED = os.environ.get("MOVING_CALIPER", "1") == "1"
XAPI_EVENT_LOGGING_ENABLED = False
EVENT_ROUTING_BACKEND_BATCHING_ENABLED = os.environ.get("MOVING_BATCHING") == "1"
EVENT_ROUTING_BACKEND_BATCH_SIZE = 5
EVENT_ROUTING_BACKEND_BATCH_INTERVAL = 3600
EVENT_ROUTING_BACKEND_COUNTDOWN = 1

LOGGING = tracking_log.logging_to(FOLDER / "tracking.log")
