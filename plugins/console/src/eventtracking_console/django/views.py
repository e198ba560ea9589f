"""The view: it asks Django who the person is, and lets the console answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_protect
from starlette.datastructures import Headers

from eventtracking import Tracker
from eventtracking_console.access import SAFE_METHODS, is_same_origin
from eventtracking_console.viewer import Viewer, viewer
from eventtracking_console.web import console_app
from eventtracking_django.conf import read_config
from eventtracking_django.install import config_as_data

__all__ = ["console"]

_LABEL: Final = "eventtracking_console"
_STREAM_S: Final = 300.0
"""A live page connects again after so long: Django 4 does not notice that a viewer has gone."""


@csrf_protect
def console(request: HttpRequest, path: str = "") -> HttpResponseBase:
    """Serve a page of the console to staff with the permission `view_console`.

    Replaying dead letters needs `change_console`, too. Under WSGI nothing is live: a page that
    keeps its connection would keep a worker.

    Raises:
        PermissionDenied: For others, and for a change that comes from another site.
    """
    user: Any = request.user
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    headers = _headers(request)
    if not (user.is_active and user.is_staff and user.has_perm(f"{_LABEL}.view_console")):
        raise PermissionDenied("The event tracking console is for staff with its permission.")
    if request.method not in SAFE_METHODS and not is_same_origin(Headers(raw=headers)):
        raise PermissionDenied("A change must come from the console's own pages.")
    looking = Viewer(
        name=user.get_username(),
        prefix=request.path[: len(request.path) - len(path)].rstrip("/"),
        may_change=user.has_perm(f"{_LABEL}.change_console"),
        csrf_token=get_token(request),
        is_live=hasattr(request, "scope"),
    )
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
        "method": request.method, "scheme": request.scheme, "path": f"/{path}",
        "raw_path": f"/{path}".encode(), "root_path": "", "headers": headers,
        "query_string": request.META.get("QUERY_STRING", "").encode(),
        "client": (request.META.get("REMOTE_ADDR") or "?", 0), "server": None,
    }  # fmt: skip
    if looking.is_live and path.startswith("live/"):
        return StreamingHttpResponse(_stream(looking, scope), content_type="text/event-stream")
    return async_to_sync(_answer)(looking, scope, request.body)


def _headers(request: HttpRequest) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
        if name.lower() not in ("cookie", "authorization")
    ]


async def _answer(looking: Viewer, scope: dict[str, Any], body: bytes) -> HttpResponse:
    viewer.set(looking)
    sent: list[dict[str, Any]] = []

    received = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        return next(received, None) or await asyncio.Event().wait()  # it never disconnects

    async def send(message: Any) -> None:
        sent.append(message)

    await _application()(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    answer = HttpResponse(content, status=sent[0]["status"])
    for name, value in sent[0]["headers"]:
        answer[name.decode("latin-1")] = value.decode("latin-1")
    return answer


async def _stream(looking: Viewer, scope: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield the parts of a live page, until the viewer goes."""
    viewer.set(looking)
    parts: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    never = asyncio.Event()
    app = asyncio.ensure_future(_application()(scope, never.wait, parts.put))
    part = asyncio.ensure_future(parts.get())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _STREAM_S
    waiting = {app}
    try:
        while app in waiting and (left_s := deadline - loop.time()) > 0:
            done, waiting = await asyncio.wait(
                {app, part}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
            if part in done:
                yield part.result().get("body", b"")
                part = asyncio.ensure_future(parts.get())
    finally:
        app.cancel()
        part.cancel()
        await asyncio.gather(app, part, return_exceptions=True)


@lru_cache(maxsize=1)
def _application() -> Any:
    """Make the console once, from the settings; broken routes hide no others."""
    config = config_as_data()
    if isinstance(config, str):
        config = read_config()
    tracker = Tracker()
    tracker.configure(config, partly=True)
    return console_app(config, allow_changes=True, tracker=tracker)


def _forget(**_: Any) -> None:
    """Follow `override_settings` in tests."""
    _application.cache_clear()


setting_changed.connect(_forget, dispatch_uid="eventtracking_console")
