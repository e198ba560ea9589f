"""The content type: batches are JSON, and an app whose workers do not accept that drops them."""

from __future__ import annotations

from typing import Final

from celery import Celery
from kombu.serialization import prepare_accept_content

from eventtracking.errors import DeliveryError

__all__ = ["check_content", "refusal_of"]

_JSON: Final = "application/json"


def refusal_of(app: Celery) -> str:
    """Say why an app's workers would drop batches; empty if they take them."""
    accepted = app.conf.accept_content
    if accepted is None or _JSON in prepare_accept_content(accepted):
        return ""
    return (
        f"the Celery app {app.main!r} has accept_content = {sorted(accepted)}, and batches are"
        " JSON, which its workers would drop: add 'json' to its accept_content"
    )


def check_content(app: Celery) -> None:
    """See that an app's workers accept JSON.

    Raises:
        DeliveryError: If they do not.
    """
    refusal = refusal_of(app)
    if refusal:
        raise DeliveryError(refusal)
