# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""The Celery app of the site: `celery -A moving_celery worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moving_settings")

app = Celery("moving")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["event_routing_backends"])
app.loader.import_module("eventtracking.tasks") if os.environ.get("MOVING_APP") else None
