"""The start of a worker: from a config to the Celery app whose queues it reads."""

from __future__ import annotations

import logging
import os
from typing import Final

from celery import Celery
from kombu import Exchange, Queue

from eventtracking.config import load_file
from eventtracking.errors import ConfigError, Problem
from eventtracking.tracker import Tracker, get_tracker
from eventtracking_async_celery import registry

__all__ = ["CONFIG_VARIABLE", "ROUTE_VARIABLE", "choose_app", "load_app"]

_log = logging.getLogger("eventtracking.async_celery")

CONFIG_VARIABLE: Final = "EVENTTRACKING_CONFIG"
ROUTE_VARIABLE: Final = "EVENTTRACKING_ROUTE"
_DEFAULT_CONFIG: Final = "eventtracking.toml"


def load_app() -> Celery:
    """Configure the default tracker as the environment says, and return the app of its routers.

    A broken route keeps no worker from its sound siblings: its events wait.

    Raises:
        ConfigError: If the config cannot be used, or `choose_app` finds no app.
    """
    path = os.environ.get(CONFIG_VARIABLE, _DEFAULT_CONFIG)
    tracker = get_tracker()
    for problem in tracker.configure(load_file(path), partly=True):
        _log.error("%s: %s; its events wait until the config is repaired", path, problem)
    return choose_app(tracker, os.environ.get(ROUTE_VARIABLE))


def choose_app(tracker: Tracker, route: str | None = None) -> Celery:
    """Return the app of a tracker's async_celery routers, ready to read the queues of all that
    share its broker.

    Args:
        tracker: Whose routers.
        route: The path of one router, if they have several brokers.

    Raises:
        ConfigError: If there is no such router, or it uses the application's Celery app, or there
            are several brokers.
    """
    found = [owner for owner in registry.owners_in(tracker) if route in (None, owner.path)]
    if not found:
        paths = ", ".join(owner.path for owner in registry.owners_in(tracker)) or "none"
        raise _unusable(
            f"no async_celery router {'' if route is None else f'at {route!r} '}in the config",
            paths,
        )
    apps = {id(owner.app): owner.app for owner in found if owner.broker_url is not None}
    if not apps:
        raise _unusable(
            "it has no `broker_url`, so that it belongs to the application's Celery app",
            ", ".join(owner.path for owner in found),
            "start that app's worker: celery -A <application> worker -Q "
            + ",".join({o.queue for o in found}),
        )
    if len(apps) > 1:
        paths = ", ".join(owner.path for owner in found)
        raise _unusable(
            "a worker serves one broker, and the config names several",
            paths,
            "name one with --route",
        )
    (app,) = apps.values()
    return _ready(
        app, [owner.queue for owner in registry.owners_in(tracker) if registry.is_of(owner, app)]
    )


def _unusable(message: str, found: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(path="backends", message=message, found=found, hint=hint)])


def _ready(app: Celery, queues: list[str]) -> Celery:
    names = list(dict.fromkeys(queues))
    app.conf.task_queues = [
        Queue(name, Exchange(name, "direct"), routing_key=name) for name in names
    ]
    app.conf.task_default_queue = names[0]
    return app
