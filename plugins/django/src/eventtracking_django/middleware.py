"""The middleware that puts each event into the context of the request it happens in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse

from eventtracking.tracker import get_tracker
from eventtracking_django import conf
from eventtracking_django.request import (
    describe_client,
    describe_own,
    describe_own_async,
    describe_request,
)
from eventtracking_django.user import describe_user, find_user, find_user_async

__all__ = ["EventTrackingMiddleware"]

_log = logging.getLogger("eventtracking.django")
_NAME = "eventtracking_django.request"

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class EventTrackingMiddleware:
    """Enter the request's context before the view and leave it after, synchronous or asynchronous.

    It belongs behind the session and authentication middleware. What it cannot find out is left
    out; a request never fails for its sake. A streaming response has the context whenever a part of
    it is made, and never between parts, so that a client that goes away leaves nothing behind.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request in its context."""
        if self._is_async:
            return self._answer_async(request)
        context = _gather(request)
        with _entered(context):
            response: Any = self._get_response(request)
        return _keep_in_stream(response, context)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        context = await _gather_async(request)
        with _entered(context):
            response: Any = await self._get_response(request)  # type: ignore[misc]  # it is awaitable in this mode
        return _keep_in_stream(response, context)


def _entered(context: dict[str, Any]) -> AbstractContextManager[None]:
    return get_tracker().context(_NAME, context)


def _gather(request: HttpRequest) -> dict[str, Any]:
    return _together(
        _client_and_request(request)
        | {
            "the user": lambda: describe_user(find_user(request)),
            conf.CONTEXT: lambda: describe_own(request),
        }
    )


async def _gather_async(request: HttpRequest) -> dict[str, Any]:
    found = _together(_client_and_request(request))
    parts: dict[str, Awaitable[Mapping[str, Any]]] = {
        "the user": _user_async(request),
        conf.CONTEXT: describe_own_async(request),
    }
    for name, part in parts.items():
        try:
            found.update(await part)
        except Exception as error:  # noqa: BLE001 - as below
            _tell_missing(name, error)
    return found


async def _user_async(request: HttpRequest) -> Mapping[str, Any]:
    return describe_user(await find_user_async(request))


def _client_and_request(request: HttpRequest) -> dict[str, Callable[[], Mapping[str, Any]]]:
    return {
        "the client": lambda: describe_client(request),
        "the request": lambda: describe_request(request),
    }


def _together(parts: Mapping[str, Callable[[], Mapping[str, Any]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            found.update(part())
        except Exception as error:  # noqa: BLE001 - a request never fails for the sake of its context
            _tell_missing(name, error)
    return found


def _tell_missing(part: str, error: Exception) -> None:
    _log.warning("%s: missing from the request's context (%s)", part, type(error).__name__)


def _keep_in_stream(response: HttpResponseBase, context: dict[str, Any]) -> HttpResponseBase:
    """Let a streaming response make each of its parts in the context. A file emits nothing."""
    if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
        if response.is_async:
            # The public property wraps it in a generator that holds the response, so that a cycle
            # would end the view's generator before ours, out of the context.
            source: Any = getattr(response, "_iterator", None) or response.streaming_content
            response.streaming_content = _parts_async(source, context)
        else:
            parts: Any = response.streaming_content
            response.streaming_content = _parts(parts, context)
            _close_in_context(response, context)
    return response


def _close_in_context(response: Any, context: dict[str, Any]) -> None:
    """Let what makes the parts end in the context, too: the response closes it itself when a client
    has gone away.
    """
    close = response.close

    def close_in_context() -> None:
        with _entered(context):
            close()

    response.close = close_in_context


def _parts(parts: Iterator[bytes], context: dict[str, Any]) -> Iterator[bytes]:
    iterator = iter(parts)
    while True:
        with _entered(context):
            try:
                part = next(iterator)
            except StopIteration:
                return
        yield part


async def _parts_async(
    parts: AsyncIterator[bytes], context: dict[str, Any]
) -> AsyncIterator[bytes]:
    iterator = aiter(parts)
    try:
        while True:
            with _entered(context):
                try:
                    part = await anext(iterator)
                except StopAsyncIteration:
                    return
            yield part
    finally:  # the client may have gone away: the view's own `finally` runs in the context, too
        with _entered(context):
            await _closed(iterator)


async def _closed(iterator: AsyncIterator[bytes]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
