"""Make the default tracker from the settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from eventtracking import ConfigError, Outcome, Problem, Tracker
from eventtracking.config import Spec, parse
from eventtracking.tracker import get_tracker, register_tracker
from eventtracking_django import conf
from eventtracking_django.tracker import DjangoTracker, StandIn

__all__ = ["config_as_data", "configure_default", "read_spec", "register_default"]

_log = logging.getLogger("eventtracking.django")

_DISABLED = (Outcome.FILTERED, "tracking is disabled")
_NOT_YET = (
    Outcome.FAILED,
    "the config has problems, see `manage.py check`, or the apps are still loading",
)


def register_default() -> None:
    """Put a tracker without a config in the place of the default one; the former is closed.

    Where a test captures events, the capturing tracker stays, and the new one has its turn
    afterwards.
    """
    refusal = _NOT_YET if conf.is_enabled() else _DISABLED
    new = _tracker_class()(refusal=refusal)
    stand_in, former = _default()
    if stand_in is None:
        register_tracker(new)
    else:
        stand_in.stands_for = new
    former.close()


def _default() -> tuple[StandIn | None, Tracker]:
    """Return the default tracker, behind the one that stands in for it, if there is one."""
    stand_in, found = None, get_tracker()
    while isinstance(found, StandIn):
        stand_in, found = found, found.stands_for
    return stand_in, found


def configure_default() -> None:
    """Give the default tracker the config of the settings, unless tracking is disabled.

    Sound routes start beside broken ones, whose events are counted as failed, or wait in a buffer.
    The log names each problem. If nothing can start, every event is counted as failed.
    """
    if not conf.is_enabled():
        return
    try:
        for problem in _configure(_default()[1]):
            _log.error("a route is out of service: %s; see `manage.py check`", problem)
    except ConfigError as error:
        for problem in error.problems:
            _log.error("events are not captured: %s; see `manage.py check`", problem)


def _configure(tracker: Tracker) -> Sequence[Problem]:
    if conf.uses_old_settings():
        return _old().configure_from_settings(tracker, partly=True)  # type: ignore[no-any-return]  # as below
    return tracker.configure(conf.read_config(), partly=True)


def read_spec() -> Spec:
    """Check the config of the settings.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """
    if conf.uses_old_settings():
        return _old().parse_settings()  # type: ignore[no-any-return]  # the other distribution may be missing
    return parse(conf.read_config())


def config_as_data() -> Mapping[str, Any] | str:
    """Return the config of the settings in a form that can be written to a file, or the path of the
    file that it is.

    Raises:
        ConfigError: If there is none, or the old settings cannot be read.
    """
    if conf.uses_old_settings():
        return _old().settings_as_config()  # type: ignore[no-any-return]  # as above
    return conf.config_path() or conf.read_config()


def _tracker_class() -> type[DjangoTracker]:
    if not conf.uses_old_settings():
        return DjangoTracker
    try:
        return _old().DjangoTracker  # type: ignore[no-any-return]  # as above
    except ConfigError:  # reported when the config is read
        return DjangoTracker


def _old() -> Any:
    """The module that reads the old settings, of a distribution that may be missing."""
    try:
        from eventtracking_legacy import tracker
    except ImportError as error:
        problem = Problem(
            path=conf.OLD_BACKENDS,
            message="these are settings of event-tracking, and what reads them is not installed",
            hint="pip install eventtracking-legacy, or write EVENT_TRACKING",
        )
        raise ConfigError([problem]) from error
    return tracker
