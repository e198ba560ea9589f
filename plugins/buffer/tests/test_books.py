"""The books add up with strange, doubled and damaged events."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from buffer_trials import (
    Options,
    Track,
    Until,
    down,
    figures,
    hang,
    router,
    take,
)

from eventtracking import Counts, Event, Rejected
from eventtracking_buffer import codec
from eventtracking_buffer.dead_letters import Selection
from eventtracking_buffer.disk.journal.files import journal_files
from eventtracking_buffer.disk.journal.records import EVENT, frame
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_buffer.disk.state.connection import State
from eventtracking_buffer.disk.state.counts_reader import CountsReader
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

pytestmark = pytest.mark.needs("regex_filter")


@pytest.mark.parametrize(
    "strange",
    [{"name": "x\udcff"}, {"name": "x", "id": "an id \ud800"}, {"name": "x", "id": "nul \0"}],
)
def test_text_that_no_store_takes_is_kept(
    track: Track, disk: Options, until: Until, strange: Options
) -> None:
    """A dead letter with lone surrogates in its name, id or reason blocks nothing, is listed, and
    arrives when it is replayed.
    """

    def refuse(events: Sequence[Event]) -> None:
        raise Rejected({event.id: "why \udcff" for event in events})

    FailingBackend.actions[""] = refuse
    leaves = {"p": {"plugin": "fail"}, "q": {"plugin": "rec"}}
    first = track(disk, **leaves)
    first.submit(Event(**strange))
    until(lambda: figures(first, "b") == {"received": 1, "dead_lettered": 1})
    FailingBackend.actions[""] = take
    first.emit("next")
    until(lambda: figures(first, "b") == {"received": 2, "delivered": 1, "dead_lettered": 1})
    (letter,) = router(first).letters.list()
    assert letter.event.name.encode("utf-8", "backslashreplace").startswith(b"x")
    first.close()
    second = track(disk, **leaves)
    second.open()
    assert router(second).request(Selection(event_id=letter.event.id), "replay") == 1
    until(lambda: figures(second, "b") == {"received": 2, "delivered": 2})


def test_an_unfinished_event_with_a_strange_id_goes_on(
    track: Track, disk: Options, until: Until
) -> None:
    """What its siblings have had is found again after a restart."""
    FailingBackend.actions[""] = down
    leaves = {"p": {"plugin": "fail"}, "q": {"plugin": "rec"}}
    first = track(disk, **leaves)
    first.submit(Event(name="x", id="an id \ud800"))
    until(lambda: figures(first, "b/p") == {"received": 1, "pending": 1})
    until(lambda: figures(first, "b/q") == {"received": 1, "delivered": 1})
    first.close(0.1)
    FailingBackend.actions[""] = take
    second = track(disk, **leaves)
    assert second.flush(20.0)
    assert (
        figures(second, "b")
        == figures(second, "b/p")
        == figures(second, "b/q")
        == {
            "received": 1,
            "delivered": 1,
        }
    )
    assert len(RecordingBackend.recorded[""]) == 1


def fill(folder: Path, count: int) -> JournalWriter:
    folder.mkdir(parents=True, exist_ok=True)
    writer = JournalWriter(folder, synced=False)
    writer.turn()
    for number in range(count):
        writer.append(frame(codec.encode(Event(name="x", data={"n": number})), EVENT, time.time()))
    return writer


def test_an_event_that_cannot_be_decoded_fails_once(track: Track, disk: Options) -> None:
    """Its record is whole, its bytes are no event: it is received and failed, at each leaf, and
    waits nowhere.
    """
    writer = fill(Path(disk["path"]), 1)
    writer.append(frame(b"\x01 no event", EVENT, time.time()))
    writer.close()
    tracker = track(disk, p={"plugin": "rec", "key": "p"}, q={"plugin": "rec", "key": "q"})
    assert tracker.flush(20.0)
    for path in ("b", "b/p", "b/q"):
        assert figures(tracker, path) == {"received": 2, "delivered": 1, "failed": 1}


def test_drop_oldest_spares_what_waits_for_another_of_its_id(
    storage: Options, track: Track, until: Until
) -> None:
    """An event whose id is on its way is neither dropped nor forgotten: it comes when that one is
    done.
    """
    release = threading.Event()
    FailingBackend.actions[""] = hang(release)
    leaves = {"p": {"plugin": "fail"}, "q": {"plugin": "rec"}}
    tracker = track({**storage, "max_events": 4, "when_full": "drop_oldest"}, **leaves)
    event = Event(name="x")
    tracker.submit(event)
    until(lambda: FailingBackend.attempts.get("") == 1)
    tracker.submit(event)
    for _ in range(8):
        tracker.emit("y")
    release.set()
    assert tracker.flush(20.0)
    until(lambda: figures(tracker, "b").get("pending", 0) == 0)
    stats = tracker.stats()["b"]
    assert (stats.received, stats.delivered + stats.failed) == (10, 10)
    assert stats.delivered >= 2


def test_close_gives_up_both_of_two_events_with_one_id(track: Track) -> None:
    """In memory, what is not delivered by then has failed, the second as well."""
    FailingBackend.actions[""] = down
    tracker = track({}, p={"plugin": "fail"}, q={"plugin": "fail"})
    event = Event(name="x")
    for _ in range(3):
        tracker.submit(event)
    tracker.close(0.3)
    for path in ("b", "b/p", "b/q"):
        assert figures(tracker, path) == {"received": 3, "failed": 3}


def test_damage_between_the_reads_of_two_leaves(track: Track, disk: Options, until: Until) -> None:
    """The event was received once, delivered by the leaf that had read it, and failed at the one
    that could not.
    """
    release = threading.Event()
    FailingBackend.actions[""] = hang(release)
    leaves = {"a": {"plugin": "rec"}, "z": {"plugin": "fail"}}
    tracker = track({**disk, "max_batch_events": 1}, **leaves)
    for number in range(6):
        tracker.emit("x", {"n": number})
    until(lambda: figures(tracker, "b/a") == {"received": 6, "delivered": 6})
    until(lambda: FailingBackend.attempts.get("") == 1)
    (journal,) = Path(disk["path"]).glob("*.journal")
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    release.set()
    assert tracker.flush(20.0)
    assert (
        figures(tracker, "b")
        == figures(tracker, "b/z")
        == {
            "received": 6,
            "delivered": 5,
            "failed": 1,
        }
    )
    tracker.close()
    again = track(disk, **leaves)
    again.open()
    assert figures(again, "b") == {"received": 6, "delivered": 5, "failed": 1}


def test_a_look_sees_every_event_of_a_file_that_is_deleted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the state and listing the files, another process may note that a file is done
    with, and delete it.
    """
    writer = JournalWriter(tmp_path, synced=False)
    writer.turn()
    for _ in range(3):
        writer.append(frame(codec.encode(Event(name="x")), EVENT, time.time()))
    looking, delivering = (
        State(tmp_path / "state.db", synced=False),
        State(tmp_path / "state.db", synced=False),
    )

    def list_late(folder: Path) -> list[str]:
        if (folder / writer.name).exists():
            with delivering.transaction():
                delivering.retire(writer.name, "b", 3)
                delivering.add_counts("b", {"delivered": 3})
            (folder / writer.name).unlink()
        return journal_files(folder)

    monkeypatch.setattr("eventtracking_buffer.disk.state.counts_reader.journal_files", list_late)
    balance = CountsReader(tmp_path, "b", ["b/p"], looking).balance()
    assert balance.counts["b"] == Counts(received=3, delivered=3)
    for one in (writer, looking, delivering):
        one.close()
