"""The Celery app of a worker without a project: `celery -A eventtracking_async_celery.worker
worker`.

Importing this module configures the default tracker from the file that the environment variable
EVENTTRACKING_CONFIG names (`eventtracking.toml`, if it names none). EVENTTRACKING_ROUTE names one
router, where a config has several with different brokers.
"""

from __future__ import annotations

from typing import Final

from celery import Celery

from eventtracking_async_celery.startup import load_app

__all__ = ["app"]

app: Final[Celery] = load_app()
