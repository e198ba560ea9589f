"""The plugin `webhook`: acknowledged batches over HTTP."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend."""
    from eventtracking_webhook.backend import WebhookBackend

    register("webhook", WebhookBackend)
