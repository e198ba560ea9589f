# mypy: ignore-errors
# Written as a site writes it, without types; it runs with the predecessor, too.
"""A site with the settings of event-tracking 4.0.2: a tracking log, an allowlist, one view."""

import os
from pathlib import Path

SECRET_KEY = "for a trial"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "steps_urls"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", os.environ["STEPS_APP"]]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

EVENT_TRACKING_ENABLED = True
EVENT_TRACKING_BACKENDS = {
    "tracking_logs": {
        "ENGINE": "eventtracking.backends.routing.RoutingBackend",
        "OPTIONS": {
            "backends": {
                "logger": {
                    "ENGINE": "eventtracking.backends.logger.LoggerBackend",
                    "OPTIONS": {"name": "tracking", "max_event_size": 50000},
                }
            },
            "processors": [
                {
                    "ENGINE": "eventtracking.processors.whitelist.NameWhitelistProcessor",
                    "OPTIONS": {"whitelist": ["steps.requested"]},
                }
            ],
        },
    }
}
EVENT_TRACKING_PROCESSORS = []

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {
        "tracking": {
            "class": "logging.FileHandler",
            "filename": str(Path(os.environ["STEPS_LOG"])),
            "formatter": "plain",
        }
    },
    "loggers": {"tracking": {"handlers": ["tracking"], "level": "INFO", "propagate": False}},
}
