"""The tracker of a site whose settings are those of event-tracking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from eventtracking import ConfigError, Tracker
from eventtracking.config import Spec, parse
from eventtracking_django.install import configure_default, register_default
from eventtracking_django.tracker import DjangoTracker as _DjangoTracker
from eventtracking_legacy.queue import celery_queue
from eventtracking_legacy.settings import BACKENDS, PROCESSORS, Translation, translate
from eventtracking_legacy.views import RouterView, view_of

__all__ = [
    "DjangoTracker",
    "SettingsTracker",
    "configure_from_settings",
    "override_default_tracker",
    "parse_settings",
    "settings_as_config",
]


class SettingsTracker(_DjangoTracker):
    """A tracker with the attributes that users of event-tracking know."""

    @property
    def routing_backend(self) -> RouterView:
        """What stands at the root, as a router."""
        return view_of(self._tree, self._reentrancy.entered)

    @property
    def backends(self) -> Mapping[str, Any]:
        """The backends at the root, by name: a site's own objects, or views of what
        stands there.
        """
        return self.routing_backend.backends

    def get_backend(self, name: str) -> Any:
        """Return a backend at the root.

        Raises:
            KeyError: If there is none of that name.
        """
        return self.backends[name]

    @property
    def processors(self) -> tuple[Any, ...]:
        """The processors at the root: a site's own objects, or ours as the predecessor's
        classes.
        """
        return self.routing_backend.processors


class DjangoTracker(SettingsTracker):
    """A tracker made from the Django settings, read now.

    Args:
        backends_settings_name: The setting that holds the backends.
        processors_settings_name: The setting that holds the processors.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """

    def __init__(
        self, backends_settings_name: str = BACKENDS, processors_settings_name: str = PROCESSORS
    ) -> None:
        super().__init__()
        configure_from_settings(self, backends_settings_name, processors_settings_name)


def configure_from_settings(
    tracker: Tracker, backends_name: str = BACKENDS, processors_name: str = PROCESSORS
) -> None:
    """Give a tracker the config that the old settings describe.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """
    translation = _translation(backends_name, processors_name)
    try:
        tracker.configure(translation.config)
    except ConfigError as error:
        raise translation.in_settings(error) from None


def parse_settings() -> Spec:
    """Check what the old settings describe.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """
    translation = _translation(BACKENDS, PROCESSORS)
    try:
        return parse(translation.config)
    except ConfigError as error:
        raise translation.in_settings(error) from None


def settings_as_config() -> Mapping[str, Any]:
    """Return the config that the old settings describe, in a form that can be written to a file.

    Raises:
        ConfigError: With every problem of their form.
    """
    backends, processors = getattr(settings, BACKENDS, None), getattr(settings, PROCESSORS, None)
    return translate(backends, processors, plain=True, queue=celery_queue).config


def override_default_tracker() -> None:
    """Make the default tracker anew from the Django settings."""
    register_default()
    configure_default()


def _translation(backends_name: str, processors_name: str) -> Translation:
    return translate(
        getattr(settings, backends_name, None),
        getattr(settings, processors_name, None),
        queue=celery_queue,
    )
