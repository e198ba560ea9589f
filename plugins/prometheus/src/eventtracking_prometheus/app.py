"""The metrics as an application to mount: ASGI, WSGI, or a Django view.

Each answers for all processes that share the folder. `folder` is the option of the same name of the
observer; by default, that of the observer that runs in this process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from eventtracking_prometheus._metrics import TallyCollector
from eventtracking_prometheus._text import CONTENT_TYPE, encode
from eventtracking_prometheus._totals import Reader, Tallies

__all__ = ["asgi_app", "django_view", "only_metrics", "text", "wsgi_app"]

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
AsgiApp = Callable[[Mapping[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def text(folder: str | Path | None = None) -> bytes:
    """Return the metrics as text, for a file that node_exporter reads."""
    return encode(TallyCollector(lambda: _read(folder)))


def wsgi_app(folder: str | Path | None = None) -> WsgiApp:
    """Return a WSGI application that answers with the metrics, at any path."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = text(folder)
        headers = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    return answer


def asgi_app(folder: str | Path | None = None) -> AsgiApp:
    """Return an ASGI application that answers with the metrics, at any path."""

    async def answer(
        scope: Mapping[str, Any], _receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        if scope["type"] != "http":
            return
        body = text(folder)
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        shown = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": shown})

    return answer


def django_view(_request: Any) -> Any:
    """Answer with the metrics: `path("metrics", django_view)`."""
    from django.http import HttpResponse

    return HttpResponse(text(), content_type=CONTENT_TYPE)


def only_metrics(app: WsgiApp) -> WsgiApp:
    """Answer at `/metrics` alone; say where they are at every other path."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/metrics":
            return app(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"the metrics are at /metrics\n"]

    return answer


def _read(folder: str | Path | None) -> tuple[Tallies, int]:
    from eventtracking_prometheus.observer import running  # it imports this module

    if folder is None:
        folder = next((observer.shared_folder for observer in running()), None)
    return ({}, 0) if folder is None else Reader.of(Path(folder)).read()
