"""Events that the delivering process stored itself are delivered without being decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Event, Tracker
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal.reader import RecentEvents
from eventtracking_testkit.fakes import RecordingBackend

Track = Callable[..., Tracker]
Until = Callable[..., None]


@pytest.mark.parametrize("lanes", [1, 2])
def test_own_events_are_not_decoded(
    track: Track, tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    """Of this process's events only those are decoded that decoding would change."""
    leaves = {f"p{n}": {"plugin": "rec", "key": f"p{n}"} for n in range(lanes)}
    tracker = track({"storage": "disk", "path": str(tmp_path / "buffer")}, **leaves)
    tracker.emit("first")
    assert tracker.flush(20.0)  # it delivers now
    decoded: list[str] = []
    genuine = codec.decode

    def decode(payload: bytes) -> Event:
        event = genuine(payload)
        decoded.append(event.name)
        return event

    monkeypatch.setattr(codec, "decode", decode)
    for number in range(100):
        tracker.emit("own", {"number": number, "text": "ü"})
    tracker.emit("odd", {"big": 1 << 80})
    assert tracker.flush(20.0)
    assert decoded == ["odd"] * lanes
    for recorded in RecordingBackend.recorded.values():
        assert [e.data.get("number") for e in recorded] == [None, *range(100), None]


def test_what_is_remembered_is_bounded() -> None:
    """However many events come, from several threads, about the newest half to all of the bytes
    are remembered; a large one is not, and none is found for other bytes.
    """
    recent = RecentEvents(once=False, max_bytes=100_000)
    payloads = [b"%05d" % number * 20 for number in range(1_000)]

    def put(part: list[bytes]) -> None:
        for payload in part:
            recent.put(payload, Event(id=payload.decode(), name="x"))

    threads = [threading.Thread(target=put, args=(payloads[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [event for event in map(recent.get, payloads) if event is not None]
    assert 0 < len(found) * 1_400 < 110_000
    assert all(recent.get(event.id.encode()) is event for event in found)
    recent.put(b"x" * 50_000, Event(name="large"))
    assert recent.get(b"x" * 50_000) is None
    recent.clear()
    assert not any(map(recent.get, payloads))


def test_one_lane_lets_go_of_what_it_has_taken() -> None:
    """Asked for once, an event is forgotten."""
    recent: Any = RecentEvents(once=True)
    event = Event(name="x")
    recent.put(b"payload", event)
    assert (recent.get(b"payload"), recent.get(b"payload")) == (event, None)
