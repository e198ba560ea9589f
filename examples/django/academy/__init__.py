"""A small site: courses to enrol in.

Its Celery app is made with it, as Celery's own docs advise.
"""

from academy.celery import app as celery_app

__all__ = ["celery_app"]
