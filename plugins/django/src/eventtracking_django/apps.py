"""The Django app: it makes the default tracker from the settings."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from django.apps import AppConfig

from eventtracking_django import predecessor

__all__ = ["EventTrackingConfig"]

_log = logging.getLogger("eventtracking.django")


class EventTrackingConfig(AppConfig):
    """Register the default tracker when the app is made, and give it its config when all apps are
    loaded.

    The first comes before any model is imported, so that a module may take `tracker.get_tracker()`
    when it is imported; the second as late as possible, so that other apps may add to the settings
    while they load.
    """

    name = "eventtracking_django"
    label = "eventtracking_django"
    verbose_name = "Event tracking"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        predecessor.require_own_modules()
        both_installed = predecessor.advice()  # a server like gunicorn runs no checks
        if both_installed is not None:
            _log.warning("%s", both_installed)
        from eventtracking_django.install import register_default

        register_default()

    def ready(self) -> None:
        """Configure the tracker, add the checks, and connect to Celery where the project
        uses it.
        """
        from django.core.signals import setting_changed

        from eventtracking_django import checks, conf

        checks.register_checks()
        self._configure()
        setting_changed.connect(self._on_setting_changed, dispatch_uid="eventtracking_django")
        if conf.celery_context():
            self._connect_celery()

    def _connect_celery(self) -> None:
        """Connect wherever Celery is installed, because a project may import it after all apps are
        loaded.
        """
        try:
            if find_spec("celery") is not None:
                from eventtracking_django import celery

                celery.connect()
        except Exception as error:  # noqa: BLE001 - a Celery that is installed and broken, and perhaps not even used
            _log.warning(
                "Celery tasks do not have the context of their sender: %s", type(error).__name__
            )

    def _configure(self) -> None:
        from eventtracking_django.install import configure_default
        from eventtracking_django.secrets import hide_in_settings

        configure_default()
        hide_in_settings()

    def _on_setting_changed(self, setting: str, **_: Any) -> None:
        """Follow `override_settings` in tests."""
        from eventtracking_django import conf

        if setting in conf.CONFIG_SETTINGS:
            from eventtracking_django.install import register_default

            register_default()
            self._configure()
        elif setting == conf.ON_COMMIT:
            from eventtracking.tracker import get_tracker
            from eventtracking_django.tracker import DjangoTracker

            tracker = get_tracker()
            if isinstance(tracker, DjangoTracker):
                tracker.waits_for_commit = conf.on_commit()
