"""Server-sent events. A viewer that does not read is let go of, and costs no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.types import Receive, Scope, Send

__all__ = ["EventStream"]

_WRITE_LIMIT_S: Final = 15.0
_HEADERS: Final = [(b"content-type", b"text/event-stream; charset=utf-8")]


class EventStream:
    """An answer without an end: an ASGI application of one request.

    Args:
        parts: Makes the iterator of the events; each is sent before the next one is made.
    """

    def __init__(self, parts: Callable[[], AsyncIterator[bytes]]) -> None:
        self._parts = parts

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the viewer goes away, or no longer reads."""
        sender = asyncio.ensure_future(self._send_all(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((sender, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sender, gone):
                task.cancel()
            await asyncio.gather(sender, gone, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        parts = self._parts()
        try:
            async for part in parts:
                message = {"type": "http.response.body", "body": part, "more_body": True}
                await asyncio.wait_for(send(message), _WRITE_LIMIT_S)
        finally:
            await parts.aclose()  # type: ignore[attr-defined]  # an async generator


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
