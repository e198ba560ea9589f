"""Routes that the config lost or got since the events were stored."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    is_served,
    reject,
    router,
    take,
)

from eventtracking_buffer.dead_letters import Selection
from eventtracking_buffer.disk.inspection import BufferOnDisk
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

pytestmark = pytest.mark.needs("regex_filter")


def test_events_for_a_route_that_is_gone_stay_pending(
    track: Track, disk: Options, until: Until
) -> None:
    """They wait at their route, alone or in a group, while others are delivered; new events do not
    wait for it; the next process and the one after say the same.
    """
    FailingBackend.actions[""] = down
    group = {"backends": {"old": {"plugin": "fail"}, "ok": {"plugin": "rec"}}}
    first = track(disk, g=group)
    for number in range(20):
        first.emit("x", {"n": number})
    until(lambda: figures(first, "b/g/old") == {"received": 20, "pending": 20})
    until(lambda: figures(first, "b/g/ok") == {"received": 20, "delivered": 20})
    first.close(0.1)
    for _ in range(2):
        second = track(disk, g={"backends": {"ok": {"plugin": "rec"}}})
        assert not second.flush(10.0)
        for path in ("b", "b/g", "b/g/old"):
            assert figures(second, path)["pending"] == 20
        assert figures(second, "b/g/old") == {"received": 20, "pending": 20}
        second.emit("y")
        assert not second.flush(10.0)
        assert figures(second, "b/g/old") == {"received": 20, "pending": 20}
        second.close(0.1)
    assert figures(second, "b") == {"received": 22, "delivered": 2, "pending": 20}
    assert len(RecordingBackend.recorded[""]) == 22
    FailingBackend.actions[""] = take
    third = track(disk, g=group)  # the route is back
    assert third.flush(10.0)
    assert figures(third, "b") == {"received": 22, "delivered": 22}
    assert figures(third, "b/g/old") == {"received": 20, "delivered": 20}
    third.close()
    assert not list(Path(disk["path"]).glob("*.journal"))


@pytest.mark.parametrize("tried", [True, False])
def test_a_route_that_is_gone_is_retired_and_replayed_elsewhere(
    track: Track, disk: Options, until: Until, tried: bool
) -> None:
    """`retire` makes dead letters of the events there, tried or not; `--to` delivers them to
    another route.
    """
    FailingBackend.actions[""] = down if tried else lambda _events: time.sleep(1.0)
    first = track(disk, old={"plugin": "fail"})
    for number in range(20):
        first.emit("x", {"n": number})
    if tried:
        until(lambda: figures(first, "b/old") == {"received": 20, "pending": 20})
    first.close(0.0)
    second = track(disk, new={"plugin": "rec"})
    second.emit("y")
    until(lambda: figures(second, "b/new") == {"received": 1, "delivered": 1})
    files = BufferOnDisk(route="b", folder=Path(disk["path"]), lanes=("b/new",))
    assert files.waiting_routes() == {"b/old": 20}
    assert files.retire("b/old") == 20
    until(lambda: figures(second, "b/old") == {"received": 20, "dead_lettered": 20})
    assert figures(second, "b") == {"received": 21, "delivered": 1, "dead_lettered": 20}
    assert files.request(Selection(route="b/old"), "replay", "b/new") == 20
    until(lambda: figures(second, "b/new") == {"received": 21, "delivered": 21})
    assert figures(second, "b/old") == {"received": 20, "filtered": 20}
    assert figures(second, "b") == {"received": 21, "delivered": 21}
    second.close()
    assert not list(Path(disk["path"]).glob("*.journal"))


def test_a_new_leaf_gets_what_is_unfinished(track: Track, disk: Options, until: Until) -> None:
    """An event that every old leaf has had is over, and is neither delivered nor counted again."""
    first = track(disk, ok={"plugin": "rec"}, bad={"plugin": "fail"})
    FailingBackend.actions[""] = take
    first.emit("over")
    until(lambda: figures(first, "b") == {"received": 1, "delivered": 1})
    FailingBackend.actions[""] = down
    first.emit("unfinished")
    until(lambda: figures(first, "b/bad") == {"received": 2, "delivered": 1, "pending": 1})
    until(lambda: figures(first, "b/ok") == {"received": 2, "delivered": 2})
    first.close(0.1)
    FailingBackend.actions[""] = take
    more = {
        "ok": {"plugin": "rec"},
        "bad": {"plugin": "fail"},
        "new": {"plugin": "rec", "key": "new"},
    }
    second = track(disk, **more)
    second.emit("fresh")
    assert second.flush(10.0)
    assert [event.name for event in RecordingBackend.recorded["new"]] == ["unfinished", "fresh"]
    assert figures(second, "b") == {"received": 3, "delivered": 3}


def test_letters_of_a_leaf_that_is_gone_can_be_purged(
    track: Track, disk: Options, until: Until
) -> None:
    """They are deleted and count as failed, at their route and as a whole; a replay leaves them as
    they are.
    """
    FailingBackend.actions[""] = reject
    first = track(disk, old={"plugin": "fail"})
    for _ in range(3):
        first.emit("x")
    until(lambda: figures(first, "b") == {"received": 3, "dead_lettered": 3})
    first.close()
    second = track(disk, new={"plugin": "rec"})
    second.open()
    assert router(second).request(Selection(), "replay") == 3
    until(lambda: is_served(second))
    assert len(router(second).letters.list()) == 3
    assert router(second).request(Selection(), "purge") == 3
    until(lambda: figures(second, "b") == figures(second, "b/old") == {"received": 3, "failed": 3})
    assert router(second).letters.list() == []
