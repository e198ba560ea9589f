"""The live tail: taps of all processes, read by one thread for all viewers of a route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from eventtracking_live.folder import living_sockets

__all__ = ["tail"]

_LINE_LIMIT: Final = 4_000_000
_BATCH: Final = 20
"""Events of one update: a person reads no more."""
_UPDATE_S: Final = 1.0


async def tail(folder: Path, route: str, name: str) -> AsyncIterator[dict[str, Any]]:
    """Yield, once a second, the events that passed, and how many were left out."""
    request = {"ask": "tap", "route": route, "name": name}
    arrivals: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=100)
    sockets = await asyncio.to_thread(living_sockets, folder)
    readers = [asyncio.create_task(_read(path, request, arrivals)) for path in sockets]
    skipped: dict[int, int] = {}
    sampled = 0
    try:
        while True:
            await asyncio.sleep(_UPDATE_S)
            events: list[Any] = []
            while not arrivals.empty():
                message = arrivals.get_nowait()
                skipped[message["process"]] = message.get("skipped", 0)
                events += message.get("events", ())
            sampled += max(len(events) - _BATCH, 0)
            yield {
                "events": events[-_BATCH:],
                "skipped": sum(skipped.values()) + sampled,
                "processes": sum(not reader.done() for reader in readers),
            }
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(path: Path, request: dict[str, Any], arrivals: asyncio.Queue[Any]) -> None:
    incoming, outgoing = await asyncio.open_unix_connection(str(path), limit=_LINE_LIMIT)
    try:
        outgoing.write(msgspec.json.encode(request) + b"\n")
        await outgoing.drain()
        while line := await incoming.readline():
            message = msgspec.json.decode(line)
            await arrivals.put({**message, "process": id(incoming)})
    finally:
        outgoing.close()
