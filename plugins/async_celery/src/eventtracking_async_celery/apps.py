"""The Celery apps: the application's own, or one for each `broker_url` of a config."""

from __future__ import annotations

import re
from typing import Any, Final

from celery import Celery, _state
from celery.app.amqp import AMQP
from celery.bootsteps import StartStopStep
from kombu import Connection

from eventtracking.errors import DeliveryError
from eventtracking_async_celery.brokers.choice import kind_of

__all__ = ["Pulse", "application_app", "own_app", "shown_broker"]

_PULSE_S: Final = 0.2
_MASK: Final = "***"

_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")

_own: dict[str, OwnApp] = {}


class Pulse(StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of a worker that wakes its event loop now and then.

    It serves batches that wait in the worker itself, as those from 0.1.0 do on RabbitMQ. A worker
    raises its prefetch count by one for each of them. Celery tells RabbitMQ so at the next turn of
    the loop; but where the broker's answer to the last change came together with a further waiting
    batch (seen with Celery 5.7), the loop sleeps until something else happens, with no room for
    new batches meanwhile.
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


class _DiscreetConnection(Connection):  # type: ignore[misc]  # kombu has no types
    """A connection whose URL, as workers print it, holds no secret.

    kombu masks the password before the host alone, and not one in a query.
    """

    def as_uri(self, include_password: bool = False, *args: Any, **kwargs: Any) -> str:
        """Return the URL with a mask for the password; only its kind, where that may not do."""
        shown = shown_broker(self)
        if shown.endswith(_MASK) and not include_password:
            return shown
        return str(super().as_uri(include_password, *args, **kwargs))


class _DiscreetAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    Connection = _DiscreetConnection


class OwnApp(Celery):  # type: ignore[misc]  # Celery has no types
    """An app for one broker, which no setting from elsewhere changes.

    Celery prefers the broker that the environment variable CELERY_BROKER_URL names, for the
    application's app, to the one that an app was made with.
    """

    amqp_cls = _DiscreetAMQP

    def __init__(self, broker_url: str) -> None:
        self.kind = kind_of(broker_url)
        self._own_broker_url, self._url_options = self.kind.split(broker_url)
        super().__init__("eventtracking", broker=self._own_broker_url, set_as_current=False)
        self.conf.update(_SETTINGS)
        self.steps["consumer"].add(Pulse)

    def serve(self, visibility_timeout_s: float) -> None:
        """Set how the broker is used; of several visibility timeouts the longest one counts."""
        known_s = self.conf.broker_transport_options.get("visibility_timeout", 0)
        options = self.kind.own_options(max(visibility_timeout_s, known_s))
        self.conf.broker_transport_options = {**options, **self._url_options}

    def connection_for_read(self, url: str | None = None, **options: Any) -> Connection:  # noqa: ARG002 - there is but one
        """Return a connection to its broker."""
        return super().connection_for_read(self._own_broker_url, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Connection:  # noqa: ARG002 - there is but one
        """Return a connection to its broker."""
        return super().connection_for_write(self._own_broker_url, **options)


def shown_broker(connection: Connection) -> str:
    """Return where a broker is; of what may hold a secret, nothing is shown."""
    host = connection.hostname or ""
    # A slash in a password that is not quoted ends the host too soon: the rest is no host then.
    if not _PLAIN_HOST.fullmatch(host) or "@" in str(connection.virtual_host):
        return f"{connection.transport_cls}://{_MASK}"
    return f"{connection.transport_cls}://{host}:{connection.port or ''}"


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
    app = _own.get(broker_url)
    if app is None:
        app = _own[broker_url] = OwnApp(broker_url)
    app.serve(visibility_timeout_s)
    return app


_SETTINGS: Final[dict[str, Any]] = {
    "accept_content": ["json"],
    "broker_connection_max_retries": None,  # for ever: an outage may be long
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
