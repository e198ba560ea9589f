"""The pages of the tests' project; each emits what the test looks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from eventtracking import tracker


def page(request: HttpRequest) -> HttpResponse:
    """Emit, wait, and emit again."""
    number = request.GET.get("n", "")
    tracker.emit("page.begin", {"n": number})
    time.sleep(0.001)
    tracker.emit("page.end", {"n": number})
    return HttpResponse(number)


async def async_page(request: HttpRequest) -> HttpResponse:
    """Emit, wait, and emit again, on the event loop."""
    number = request.GET.get("n", "")
    tracker.emit("page.begin", {"n": number})
    await asyncio.sleep(0.001)
    tracker.emit("page.end", {"n": number})
    return HttpResponse(number)


def broken(request: HttpRequest) -> HttpResponse:
    """Raise."""
    raise RuntimeError("the view is broken")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Emit while the answer is on its way."""

    def parts() -> Iterator[str]:
        try:
            for number in range(3):
                tracker.emit("stream.part", {"n": number})
                yield str(number)
        finally:
            tracker.emit("stream.end")

    return StreamingHttpResponse(parts())


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Emit while the answer is on its way, on the event loop."""

    async def parts() -> AsyncIterator[str]:
        try:
            for number in range(3):
                tracker.emit("stream.part", {"n": number})
                yield str(number)
        finally:
            tracker.emit("stream.end")

    return StreamingHttpResponse(parts())


def project_context(request: Any) -> dict[str, Any]:
    """The keys that the project adds."""
    return {"course_id": request.GET.get("course")}


def broken_context(request: Any) -> dict[str, Any]:
    """A callable that fails."""
    raise KeyError("course")


async def async_context(request: Any) -> dict[str, Any]:
    """A callable that waits for a query of the database."""
    from django.contrib.auth.models import User

    return {"found": await User.objects.filter(username="").acount()}


def querying_context(request: Any) -> dict[str, Any]:
    """A callable that blocks."""
    from django.contrib.auth.models import User

    return {"found": User.objects.filter(username="").count()}


def late_context(request: Any) -> Any:
    """A plain function with an awaitable as its result."""
    return async_context(request)


urlpatterns = [
    path("page", page),
    path("async-page", async_page),
    path("broken", broken),
    path("stream", stream),
    path("async-stream", async_stream),
]
