# mypy: ignore-errors
# Written as a site writes it, without types; it runs with the predecessor, too.
"""A site with the settings of event-tracking 4.0.2: a tracking log, an allowlist, one view."""

import os

import tracking_log

SECRET_KEY = "for a trial"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "steps_urls"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", os.environ["STEPS_APP"]]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

EVENT_TRACKING_ENABLED = True
ALLOWLIST = {
    "ENGINE": "eventtracking.processors.whitelist.NameWhitelistProcessor",
    "OPTIONS": {"whitelist": ["steps.requested"]},
}
EVENT_TRACKING_BACKENDS = {"tracking_logs": tracking_log.router(processors=[ALLOWLIST])}
EVENT_TRACKING_PROCESSORS = []

LOGGING = tracking_log.logging_to(os.environ["STEPS_LOG"])
