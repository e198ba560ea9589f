"""Events go through a real broker to real workers, and arrive as they were."""

from __future__ import annotations

import os
import uuid
from datetime import date, datetime, timedelta, timezone
from typing import Any

import redis
from celery_scenes import Scene, wait_for

from eventtracking import Counts

VALUES: dict[str, Any] = {
    "aware": datetime(
        2024, 2, 29, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))
    ),
    "utc": datetime(2024, 2, 29, tzinfo=timezone.utc),
    "naive": datetime(2024, 2, 29, 1, 2, 3),
    "day": date(2024, 2, 29),
    "uuid": uuid.UUID(int=7),
    "bytes": b"\x00\xff",
    "big": 1 << 80,
    "float": 0.1,
    "text": "naïve \u2028 \ud800",
    "deep": {"list": [1, None, True, {"x": "y"}]},
}


def test_events_arrive_as_they_were(scene: Scene) -> None:
    """Types, times, ids and contexts survive; each processor runs where it belongs; both sides'
    books balance.
    """
    no, yes = scene.folder / "caller", scene.folder / "worker"
    store = scene.record(processors=[{"plugin": "say_no", "name": "there", "path": str(yes)}])
    processors = [{"plugin": "say_no", "name": "here", "path": str(no)}]
    seen = scene.record("seen", processors=processors)  # how the caller's values are captured
    router = scene.router({"store": store}, processors=processors)
    config = {"backends": {"seen": seen, "w": router}}
    tracker = scene.tracker(config)
    with tracker.context({"user_id": uuid.UUID(int=3)}):
        for name in ("good", "here", "there"):
            tracker.emit(name, VALUES)
    assert tracker.flush(10)
    assert tracker.stats()["w"] == Counts(
        received=3, delivered=2, filtered=1, reasons={"filtered: say_no: unwanted": 1}
    )
    scene.worker(scene.write(config))
    wait_for(lambda: scene.stored() and scene.worker_counts("w/store").settled == 2)
    (event,) = scene.stored()
    captured = next(line for line in scene.stored("seen") if line["name"] == "good")
    assert event["data"] == captured["data"]
    for key in ("utc", "day", "uuid", "bytes", "big", "float", "deep"):
        assert event["data"][key] == repr(VALUES[key])
    assert (event["id"], event["at"]) == (captured["id"], captured["at"])
    assert event["context"] == {"user_id": repr(uuid.UUID(int=3))}
    assert event["name"] == "good"
    assert "tzinfo=datetime.timezone.utc" in event["at"]
    assert set(no.read_text().split()) == {str(os.getpid())}
    assert set(yes.read_text().split()) == {str(event["pid"])} != {str(os.getpid())}
    expected = Counts(
        received=2, delivered=1, filtered=1, reasons={"filtered: say_no: unwanted": 1}
    )
    assert scene.worker_counts("w/store") == expected
    assert tracker.stats()["w/store"] == Counts()


def test_a_batch_is_one_task(on_redis: Scene) -> None:
    """As many events as `max_batch_events` allows travel together."""
    config = {
        "backends": {"w": on_redis.router({"store": on_redis.record()}, max_batch_events=100)}
    }
    tracker = on_redis.tracker(config)
    for number in range(250):
        tracker.emit(f"e{number}")
    assert tracker.flush(10)
    on_redis.worker(on_redis.write(config))
    wait_for(lambda: len(on_redis.stored()) == 250)
    assert sorted(on_redis.tries()) == [50, 100, 100]
    assert len({event["id"] for event in on_redis.stored()}) == 250


def test_spare_copies_can_be_left_out(on_redis: Scene) -> None:
    """Redis then holds the message alone."""
    found: list[int] = []
    with redis.Redis.from_url(on_redis.broker_url) as server:
        for spare in (True, False):
            queue = f"{on_redis.queue}.{spare}"
            options = {"queue": queue, "spare_copies": spare}
            router = on_redis.router({"store": on_redis.record()}, **options)
            tracker = on_redis.tracker({"backends": {"w": router}})
            tracker.emit("x")
            assert tracker.flush(10)
            found.append(sum(server.type(key) == b"hash" for key in server.keys(f"*{queue}*")))
    assert found == [1, 0]
