"""The Celery apps: the application's own, or one for each broker that a config names."""

from __future__ import annotations

from typing import Any, Final

from celery import Celery, _state
from celery.bootsteps import StartStopStep
from kombu import Connection

from eventtracking.errors import DeliveryError

__all__ = ["application_app", "driver_of", "own_app", "visibility_timeout_of"]

CELERY_DEFAULT_VISIBILITY_S: Final = 3600.0
_MIN_SWEEP_S: Final = 1.0
_MAX_SWEEP_S: Final = 10.0

_SOCKET_TIMEOUT_S: Final = 15.0
"""How long Redis may take to answer a worker.

It waits a second itself for the next message, and a big save may stop it for some.
"""
_CONNECT_TIMEOUT_S: Final = 10.0
_HEALTH_CHECK_S: Final = 10
"""How often kombu looks whether the connection on which a worker waits for messages still answers.
"""
_PULSE_S: Final = 0.2

_own: dict[str, OwnApp] = {}


class Pulse(StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of a worker that wakes its event loop now and then.

    A worker raises its prefetch count by one for each batch that waits in it. Celery tells RabbitMQ
    so at the next turn of the loop; but where the broker's answer to the last change came together
    with a further waiting batch (seen with Celery 5.7), the loop sleeps until something else
    happens, with no room for new batches meanwhile.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    _entry: Any = None

    def start(self, parent: Any) -> None:
        """Start anew with each connection; Celery clears the timers of a lost one."""
        self.stop(parent)
        self._entry = parent.timer.call_repeatedly(_PULSE_S, _nothing)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery gives it
        """End it."""
        if self._entry is not None:
            self._entry.cancel()


def _nothing() -> None:
    """Do what a turn of the event loop does by itself."""


class OwnApp(Celery):  # type: ignore[misc]  # Celery has no types
    """An app for one broker, which no setting from elsewhere changes.

    Celery prefers the broker that the environment variable CELERY_BROKER_URL names, for the
    application's app, to the one that an app was made with.
    """

    def __init__(self, broker_url: str) -> None:
        self._own_broker_url = broker_url
        super().__init__("eventtracking", broker=broker_url, set_as_current=False)
        self.conf.update(_SETTINGS)
        self.steps["consumer"].add(Pulse)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Connection:  # noqa: ARG002 - there is but one
        """Return a connection to its broker."""
        return super().connection_for_read(self._own_broker_url, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Connection:  # noqa: ARG002 - there is but one
        """Return a connection to its broker."""
        return super().connection_for_write(self._own_broker_url, **options)


def driver_of(broker_url: str) -> str:
    """Tell what kind of broker a URL names: `amqp`, `redis`, `memory` and so on.

    Nothing is connected.

    Raises:
        Exception: If kombu knows no such transport, or lacks the library for it.
    """
    return str(Connection(broker_url).transport.driver_type)


def application_app() -> Celery:
    """Return the application's own app.

    Celery knows a current app for each thread, and makes up one, for a broker on this machine,
    where there is none. The threads that publish are not the application's, so its only app is
    meant, or the one that it has made the default.

    Raises:
        DeliveryError: If there is none, or if it is unclear which one is meant.
    """
    for app in (_state._tls.current_app, _state.default_app):
        if app is not None and not _is_made_up(app) and app not in _own.values():
            return app
    apps = [
        app for app in _state._get_active_apps() if app.set_as_current and app not in _own.values()
    ]
    if len(apps) != 1:
        raise DeliveryError(_WHICH_APP if apps else _NO_APP)
    return apps[0]


def _is_made_up(app: Celery) -> bool:
    """Whether Celery itself has made it, because somebody asked for an app where there was none."""
    return bool(app.main == "default" and not app.set_as_current)


_NO_APP: Final = (
    "there is no Celery app in this process: give `broker_url`, or import the module that makes"
    " the app"
)
_WHICH_APP: Final = (
    "there are several Celery apps in this process: call set_default() of the one whose broker is"
    " meant"
)


def own_app(broker_url: str, visibility_timeout_s: float) -> Celery:
    """Return the app for a broker; those of a process that name the same one share it.

    Args:
        broker_url: Where the broker is.
        visibility_timeout_s: After how long a killed worker's batches come back. The longest one
            counts.
    """
    known = _own.get(broker_url)
    if known is None:
        known = _own[broker_url] = OwnApp(broker_url)
    longest = max(
        visibility_timeout_s, known.conf.broker_transport_options.get("visibility_timeout", 0)
    )
    known.conf.broker_transport_options = _transport_options(driver_of(broker_url), longest)
    return known


def visibility_timeout_of(app: Celery) -> float:
    """Tell after how many seconds an app's broker gives an unacknowledged message to another
    worker.
    """
    return float(
        app.conf.broker_transport_options.get("visibility_timeout", CELERY_DEFAULT_VISIBILITY_S)
    )


_SETTINGS: Final[dict[str, Any]] = {
    "accept_content": ["json"],
    "broker_connection_retry_on_startup": True,
    "enable_utc": True,
    "task_acks_late": True,
    "task_ignore_result": True,
    "task_reject_on_worker_lost": True,
    "task_serializer": "json",
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Batches that wait to be tried again do so in the memory of a worker. With so many it takes
    # nothing new before one is due. A batch of 500 events is a text of 10 to 70 kB, so that this is
    # 350 MB at most.
    "worker_eta_task_limit": 5_000,
    # With 1, a waiting batch takes the only free place until RabbitMQ has heard of it, and new
    # batches wait behind: behind 200 for half a minute and more; with 8, behind 1,000 for two
    # seconds, and no less with 16. More would be unfair: a batch that is held by one worker, behind
    # seven others, could be delivered by another one.
    "worker_prefetch_multiplier": 8,
    "worker_send_task_events": False,
}


def _transport_options(driver: str, visibility_timeout_s: float) -> dict[str, Any]:
    if driver == "amqp":
        return {"confirm_publish": True}
    if driver != "redis":
        return {"visibility_timeout": visibility_timeout_s}
    return {
        "visibility_timeout": visibility_timeout_s,
        # kombu gives back what is overdue in the whole database, by the shortest timeout of all
        # workers there: with keys of our own, the tasks of an application that shares the database
        # keep theirs.
        "unacked_key": "eventtracking.unacked",
        "unacked_index_key": "eventtracking.unacked_index",
        "unacked_mutex_key": "eventtracking.unacked_mutex",
        "unacked_mutex_expire": 30,
        # By default kombu looks for overdue messages every hundred seconds.
        "unacked_restore_interval": min(max(visibility_timeout_s / 4, _MIN_SWEEP_S), _MAX_SWEEP_S),
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        # Without these, a worker whose connection has gone silent waits for ever.
        "socket_timeout": _SOCKET_TIMEOUT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "health_check_interval": _HEALTH_CHECK_S,
    }
