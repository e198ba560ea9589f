"""Problems of the old settings as the errors that event-tracking raised for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from eventtracking import ConfigError, Problem
from eventtracking_legacy.exceptions import ImproperlyConfigured

__all__ = ["SettingsImproperError", "SettingsTypeError", "settings_error", "with_extra"]

_EXTRAS: Final = {
    "async_celery": "celery",
    "event_bus": "event_bus",
    "event_bus_router": "event_bus",
    "event_bus_settings": "event_bus",
    "mongo": "mongo",
    "segment": "segment",
}
"""The extra that brings each plugin."""


class SettingsTypeError(ConfigError, TypeError):
    """Raised for settings with an option of the wrong type."""


class SettingsImproperError(ConfigError, ImproperlyConfigured):
    """Raised for settings whose filter by patterns cannot be used."""


def settings_error(problems: Sequence[Problem]) -> ConfigError:
    """Return the error for problems of the settings.

    All of them are a `ValueError`. As event-tracking did, wrong options of a whitelist are a
    `TypeError`, and those of a filter by patterns an `ImproperlyConfigured`, too.
    """
    places = [problem.path.rpartition(".OPTIONS")[2] for problem in problems]
    if any(place.startswith((".filter_type", ".regular_expressions")) for place in places):
        return SettingsImproperError(problems)
    if any(place == "" or place.startswith(".whitelist") for place in places):
        return SettingsTypeError(problems)
    return ConfigError(problems)


def with_extra(problem: Problem, node: Mapping[str, Any]) -> Problem:
    """Name the extra to install, where the plugin of a class of event-tracking is missing.

    Args:
        problem: The problem of the config.
        node: The node of the config that it is about.
    """
    if not problem.path.endswith(".plugin") or "is not installed" not in problem.message:
        return problem
    # A buffer comes with the extra of the backend that it stands before.
    names = (node.get("plugin"), *node.get("backends", {}))
    extra = next((_EXTRAS[name] for name in names if name in _EXTRAS), None)
    if extra is None:
        return problem
    return attrs.evolve(
        problem,
        message="the distribution that does the work of this class is not installed",
        found=None,
        hint=f"pip install 'eventtracking-legacy[{extra}]'",
    )
