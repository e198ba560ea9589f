"""What a worker says when it is ready: why it could not deliver a batch, if that can be known."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from eventtracking_async_celery import registry
from eventtracking_async_celery.content import refusal_of

__all__: list[str] = []

_log = logging.getLogger("eventtracking.async_celery")


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _say_what_is_refused(sender: Any, **_: Any) -> None:
    refusal = refusal_of(sender.app)
    if refusal and registry.owners_of(sender.app):
        _log.error("this worker delivers no events: %s", refusal)
