"""Choose the class for a broker, by its URL or by an app."""

from __future__ import annotations

import weakref
from typing import Final

from celery import Celery
from kombu import Connection

from eventtracking_async_celery.brokers.amqp import AmqpBroker
from eventtracking_async_celery.brokers.base import Broker
from eventtracking_async_celery.brokers.redis import RedisBroker
from eventtracking_async_celery.brokers.sentinel import SentinelBroker

__all__ = ["broker_of", "kind_of"]

_BY_DRIVER: Final = {"amqp": AmqpBroker, "redis": RedisBroker}

_brokers: weakref.WeakKeyDictionary[Celery, Broker] = weakref.WeakKeyDictionary()


def kind_of(broker_url: str) -> type[Broker]:
    """Return the class for a URL. Nothing is connected.

    Raises:
        Exception: If kombu knows no such transport, or lacks the library for it.
    """
    if broker_url.partition(":")[0] == "sentinel":
        Connection(broker_url.partition(";")[0].partition("?")[0]).transport.driver_type  # noqa: B018 - raises where the driver is missing
        return SentinelBroker
    return _BY_DRIVER.get(str(Connection(broker_url).transport.driver_type), Broker)


def broker_of(app: Celery) -> Broker:
    """Return the broker of an app, the same each time.

    An application's tests may have tasks run at once (`task_always_eager`): nothing is published.
    """
    if app.conf.task_always_eager:
        return Broker(app)
    known = _brokers.get(app)
    if known is None:
        driver = str(app.connection_for_write().transport.driver_type)
        known = _brokers[app] = _BY_DRIVER.get(driver, Broker)(app)
    return known
