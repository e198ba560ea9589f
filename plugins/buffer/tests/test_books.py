"""The books of a buffer add up on every route, whatever is killed, renamed, replayed, purged,
doubled or damaged.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Counts, Event, Rejected, Tracker
from eventtracking_buffer import codec
from eventtracking_buffer.dead_letters import Selection
from eventtracking_buffer.disk.inspection import BufferOnDisk
from eventtracking_buffer.disk.journal.files import journal_files
from eventtracking_buffer.disk.journal.records import EVENT, frame
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_buffer.disk.state.connection import State
from eventtracking_buffer.disk.state.counts_reader import CountsReader
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend, read_recorded

pytestmark = pytest.mark.needs("regex_filter")

Options = dict[str, Any]
Track = Callable[..., Tracker]
Until = Callable[..., None]
Program = Callable[..., "subprocess.Popen[str]"]


def down(events: Sequence[Event]) -> None:
    raise ConnectionError


def reject(events: Sequence[Event]) -> None:
    raise Rejected({event.id: "no" for event in events})


def take(events: Sequence[Event]) -> None:
    """Deliver."""


def hang(release: threading.Event) -> Callable[[Sequence[Event]], None]:
    """Deliver when it is released."""

    def wait(events: Sequence[Event]) -> None:
        release.wait(30.0)

    return wait


def figures(tracker: Tracker, path: str) -> dict[str, int]:
    counts = tracker.stats()[path]
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def router(tracker: Tracker) -> Any:
    return tracker._tree.routes["b"].backend


def is_served(tracker: Tracker) -> bool:
    """Whether no request waits, and nothing is being replayed."""
    return not any(letter.replaying for letter in router(tracker).letters.list())


@pytest.fixture
def disk(tmp_path: Path) -> Options:
    """Return the options of a buffer on disk."""
    return {"storage": "disk", "path": str(tmp_path / "buffer")}


# Text


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


# One store, by hand


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


# Another config


def test_events_for_a_route_that_is_gone_stay_pending(
    track: Track, disk: Options, until: Until
) -> None:
    """They wait at their route, alone or in a group, whatever else is delivered; new events do not
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
    """`retire` makes dead letters of what waits there, tried or not; `--to` delivers them to
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
    """What every old leaf has had is over, and is neither delivered nor counted again."""
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


# Dead letters


@pytest.mark.parametrize("what", ["two letters", "one letter", "a purge of one"])
def test_dead_letters_of_two_events_with_one_id(
    storage: Options, track: Track, until: Until, what: str
) -> None:
    """Each is replayed or purged by itself; what became of the other event of the id stays."""
    FailingBackend.actions[""] = reject
    tracker = track(storage, p={"plugin": "fail"})
    event = Event(name="x")
    tracker.submit(event)
    if what != "one letter":
        tracker.submit(event)
        until(lambda: figures(tracker, "b") == {"received": 2, "dead_lettered": 2})
        FailingBackend.actions[""] = take
    else:
        until(lambda: figures(tracker, "b") == {"received": 1, "dead_lettered": 1})
        FailingBackend.actions[""] = take
        tracker.submit(event)
        until(lambda: figures(tracker, "b") == {"received": 2, "delivered": 1, "dead_lettered": 1})
    expected = {"received": 2, "delivered": 2}
    if what == "a purge of one":
        first = frozenset([router(tracker).letters.list()[0].number])
        router(tracker).request(Selection(numbers=first), "purge")
        expected = {"received": 2, "delivered": 1, "failed": 1}
        until(lambda: len(router(tracker).letters.list()) == 1)
    router(tracker).request(Selection(), "replay")
    until(lambda: figures(tracker, "b") == figures(tracker, "b/p") == expected)
    assert router(tracker).letters.list() == []


@pytest.mark.parametrize("what", ["replay", "purge"])
def test_two_dead_letters_of_one_event_at_once(
    storage: Options, track: Track, until: Until, what: str
) -> None:
    """Both leaves, the group over them, and the buffer count the event once."""
    FailingBackend.actions.update(p=reject, q=reject)
    tracker = track(storage, g={"backends": {key: {"plugin": "fail", "key": key} for key in "pq"}})
    for _ in range(5):
        tracker.emit("x")
    until(lambda: figures(tracker, "b") == {"received": 5, "dead_lettered": 5})
    until(lambda: len(router(tracker).letters.list()) == 10)
    FailingBackend.actions.update(p=take, q=take)
    assert router(tracker).request(Selection(), what) == 10
    outcome = {"received": 5, "delivered" if what == "replay" else "failed": 5}
    for path in ("b", "b/g", "b/g/p", "b/g/q"):
        until(lambda path=path: figures(tracker, path) == outcome)
    assert router(tracker).letters.list() == []


def test_a_letter_of_an_unfinished_event_is_purged(
    storage: Options, track: Track, until: Until
) -> None:
    """The event goes on at the sibling that still fails, and counts as failed when it has arrived
    there.
    """
    FailingBackend.actions.update(p=reject, q=down)
    tracker = track(storage, g={"backends": {key: {"plugin": "fail", "key": key} for key in "pq"}})
    tracker.emit("x")
    until(lambda: figures(tracker, "b/g/p") == {"received": 1, "dead_lettered": 1})
    until(router(tracker).letters.list)
    until(lambda: FailingBackend.attempts.get("q"))
    router(tracker).request(Selection(), "purge")
    until(lambda: figures(tracker, "b/g/p") == {"received": 1, "failed": 1})
    assert figures(tracker, "b") == figures(tracker, "b/g") == {"received": 1, "pending": 1}
    FailingBackend.actions.update(q=take)
    assert tracker.flush(20.0)
    for path in ("b", "b/g"):
        until(lambda path=path: figures(tracker, path) == {"received": 1, "failed": 1})
    assert figures(tracker, "b/g/q") == {"received": 1, "delivered": 1}


def test_the_limit_of_dead_letters_spares_one_that_is_replayed(track: Track, until: Until) -> None:
    """The oldest other one is given up instead, and the one on its way arrives."""
    release = threading.Event()
    FailingBackend.actions.update(a=reject, b=reject)
    leaves = {key: {"plugin": "fail", "key": key} for key in "ab"}
    tracker = track({"max_dead_letters": 2}, **leaves)
    tracker.emit("x")
    until(lambda: len(router(tracker).letters.list()) == 2)
    FailingBackend.actions["a"] = hang(release)
    router(tracker).request(Selection(route="b/a"), "replay")
    for _ in range(3):
        tracker.emit("x")
    until(lambda: figures(tracker, "b/b") == {"received": 4, "failed": 3, "dead_lettered": 1})
    release.set()
    until(lambda: figures(tracker, "b/a") == {"received": 4, "delivered": 4})
    until(lambda: figures(tracker, "b") == {"received": 4, "failed": 3, "dead_lettered": 1})
    assert len(router(tracker).letters.list()) == 1


def test_dead_letters_have_a_limit_of_bytes_and_of_age(
    storage: Options, track: Track, until: Until
) -> None:
    """The oldest beyond the bytes, and all beyond the age, count as failed."""
    FailingBackend.actions[""] = reject
    limits = {"max_dead_letter_bytes": 3_000, "dead_letter_max_age_s": 3_600.0}
    tracker = track({**storage, **limits}, p={"plugin": "fail"})
    for _ in range(3):
        tracker.emit("x", {"text": "y" * 1_200})
    until(lambda: figures(tracker, "b/p") == {"received": 3, "failed": 1, "dead_lettered": 2})
    tracker.close()
    young = {**storage, "dead_letter_max_age_s": 0.1}
    second = track(young, p={"plugin": "fail"})
    second.emit("x")
    until(lambda: second.stats()["b/p"].dead_lettered == 0 and second.stats()["b/p"].failed > 0)


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


@pytest.mark.parametrize("state", ["dead", "replay", "replaying", "purge"])
def test_a_letter_that_cannot_be_read_hides_no_other(
    track: Track, disk: Options, until: Until, state: str
) -> None:
    """It is listed with what is known of it; a replay fails it, copies it aside, and delivers the
    others.
    """
    FailingBackend.actions[""] = reject
    first = track(disk, p={"plugin": "fail"})
    for number in range(5):
        first.emit(f"n{number}")
    until(lambda: figures(first, "b") == {"received": 5, "dead_lettered": 5})
    first.close()
    with sqlite3.connect(Path(disk["path"]) / "state.db") as connection:
        connection.execute("UPDATE dead SET payload = substr(payload, 1, 10) WHERE number = 2")
        if state != "replaying":
            connection.execute("UPDATE dead SET state = ?", (state,))
    connection.close()
    FailingBackend.actions[""] = take
    second = track(disk, p={"plugin": "fail"})
    second.open()
    if state in ("dead", "replaying"):
        letters = router(second).letters.list()
        assert [letter.event.name for letter in letters] == [f"n{number}" for number in range(5)]
        assert letters[1].reason == "no (not an event: the bytes are damaged)"
        router(second).request(Selection(), "replay")
    expected = (
        {"received": 5, "failed": 5}
        if state == "purge"
        else {"received": 5, "delivered": 4, "failed": 1}
    )
    until(lambda: figures(second, "b") == figures(second, "b/p") == expected)
    assert router(second).letters.list() == []
    assert (Path(disk["path"]) / "damaged" / "letter-2").exists() is (state != "purge")


# Full


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


# Damage


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


# Kills


LETTERS = """
from eventtracking import Rejected
folder, what, count = sys.argv[1:4]
def reject(events):
    raise Rejected({event.id: "no" for event in events})
FailingBackend.actions[""] = reject
tracker = Tracker.from_config({"backends": {"b": {
    "plugin": "buffer", "storage": "disk", "path": folder, "max_batch_age_s": 0.01,
    "backends": {"p": {"plugin": "fail"}},
}}})
for _ in range(int(count)):
    tracker.emit("x")
tracker.flush(20)
router = tracker._tree.routes["b"].backend
FailingBackend.actions[""] = lambda events: time.sleep(60)
from eventtracking_buffer.dead_letters import Selection
router.request(Selection(), what)
import sqlite3
state = sqlite3.connect(os.path.join(folder, "state.db"))
every, some = (
    "SELECT count(*) FROM dead WHERE state NOT IN ('replay', 'purge')",
    "SELECT count(*) != %s FROM dead WHERE state IN ('replay', 'purge')" % count,
)
query = every if sys.argv[4] == "all" else some
wanted = int(count) if sys.argv[4] == "all" else 1
while state.execute(query).fetchone()[0] != wanted:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("what", "when", "count"),
    [("replay", "first", 300), ("replay", "all", 1_200), ("purge", "first", 1_200)],
)
def test_a_kill_while_letters_are_served(
    track: Track, program: Program, disk: Options, until: Until, what: str, when: str, count: int
) -> None:
    """Killed while it replays or purges, the next process goes on: every replayed event arrives,
    and no purged one does.
    """
    process = program(LETTERS, disk["path"], what, count, when)
    assert process.wait(60) == -9
    seen: list[str] = []
    FailingBackend.actions[""] = lambda events: seen.extend(event.id for event in events)
    tracker = track(disk, p={"plugin": "fail"})
    tracker.open()
    outcome = "failed" if what == "purge" else "delivered"
    until(lambda: figures(tracker, "b") == {"received": count, outcome: count})
    assert figures(tracker, "b/p") == {"received": count, outcome: count}
    assert len(set(seen)) == (0 if what == "purge" else count)
    assert router(tracker).letters.list() == []


BLOCK_0 = {"plugin": "regex_filter", "filter_type": "blocklist", "regular_expressions": [r"x\.0$"]}
BLOCK_1 = {"plugin": "regex_filter", "filter_type": "blocklist", "regular_expressions": [r"x\.1$"]}


def tree(below: Path, by: object) -> dict[str, Any]:
    """Three leaves, two of them in a group, with processors at the group and at one of them."""
    half = {"plugin": "fail", "key": "half"}
    flaky = {"plugin": "fail", "key": "flaky", "processors": [BLOCK_1]}
    group = {"processors": [BLOCK_0], "backends": {"half": half, "flaky": flaky}}
    return {"good": {"plugin": "rec", "path": f"{below}.{by}"}, "g": group}


UNDER_FIRE = """
import json, random
from eventtracking import Rejected
import eventtracking_buffer.disk.journal.writer as journal
journal._MAX_FILE_BYTES = 3_000
def half(events):
    even = {event.id: "even" for event in events if int(event.name[2:]) % 2 == 0}
    time.sleep(0.001)
    if even:
        raise Rejected(even)
def flaky(events):
    time.sleep(0.001)
    if random.random() < 0.3:
        raise ConnectionError
FailingBackend.actions.update(half=half, flaky=flaky)
folder, leaves = sys.argv[1], json.loads(sys.argv[2].replace("PID", str(os.getpid())))
tracker = Tracker.from_config({"backends": {"b": {
    "plugin": "buffer", "storage": "disk", "path": folder, "max_batch_age_s": 0.01,
    "retry_base_s": 0.02, "retry_max_s": 0.1,
    "max_batch_events": 40, "max_attempts": 1_000, "backends": leaves,
}}})
for number in range(400):
    tracker.emit("x.%d" % (number % 7))
    os.write(1, b".")
    time.sleep(0.005 if number % 50 == 0 else 0.0002)
time.sleep(600)
"""


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.once
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(5, marks=pytest.mark.timeout(120)),
        pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_the_law_holds_on_every_route_after_kills(
    tmp_path: Path, track: Track, program: Program, disk: Options, kills: int
) -> None:
    """Two processes at a time share a folder and are killed at random; at the end every route has
    counted every event exactly.
    """
    below = tmp_path / "good.jsonl"
    running: list[subprocess.Popen[str]] = []
    promised = 0
    for kill in range(kills):
        while len(running) < 2:
            running.append(program(UNDER_FIRE, disk["path"], json.dumps(tree(below, "PID"))))
            assert running[-1].stdout is not None
            promised += len(running[-1].stdout.read(1))
        time.sleep(random.random() * 0.6)
        for process in [running.pop(random.randrange(2))] + (running if kill == kills - 1 else []):
            process.kill()
            promised += len(process.communicate()[0])

    def refuse_even(events: Sequence[Event]) -> None:
        even = {event.id: "even" for event in events if int(event.name[2:]) % 2 == 0}
        if even:
            raise Rejected(even)

    FailingBackend.actions.update(half=refuse_even, flaky=take)
    tracker = track(disk, **tree(below, 0))
    assert tracker.flush(60.0)
    names = {}
    for file in tmp_path.glob("good.jsonl.*"):
        file.write_text(
            file.read_text().rpartition("\n")[0] + "\n"
        )  # a line that one was killed in does not count
        names.update({line["id"]: int(line["name"][2:]) for line in read_recorded(file)})
    total = len(names)
    assert total >= promised
    dropped = sum(number == 0 for number in names.values())
    even = sum(number in (2, 4, 6) for number in names.values())
    ones = sum(number == 1 for number in names.values())
    passed = total - dropped
    check_routes(tracker, total, dropped, even, ones, passed)
    assert len(router(tracker).letters.list()) == even
    tracker.close()
    again = track(disk, **tree(below, 0))
    again.open()
    check_routes(again, total, dropped, even, ones, passed)


def check_routes(
    tracker: Tracker, total: int, dropped: int, even: int, ones: int, passed: int
) -> None:
    assert figures(tracker, "b") == {
        "received": total,
        "delivered": total - even,
        "dead_lettered": even,
    }
    assert figures(tracker, "b/good") == {"received": total, "delivered": total}
    assert figures(tracker, "b/g/half") == {
        "received": passed,
        "delivered": passed - even,
        "dead_lettered": even,
    }
    assert figures(tracker, "b/g/flaky") == {
        "received": passed,
        "delivered": passed - ones,
        "filtered": ones,
    }
    group = tracker.stats()["b/g"]
    assert (group.received, group.dead_lettered, group.pending, group.failed) == (total, even, 0, 0)
    assert group.delivered + group.filtered == total - even


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
