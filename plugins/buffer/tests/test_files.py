"""The files of a buffer on disk: forks while they are open, bad entries, deleted and damaged ones,
and their limits.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Event, Rejected, Tracker
from eventtracking.errors import ConfigError, DeliveryError
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal import writer as journal_writer
from eventtracking_buffer.disk.journal.reader import JournalReader
from eventtracking_buffer.disk.journal.records import EVENT, frame, read_records
from eventtracking_buffer.disk.journal.writer import JournalWriter
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend, read_recorded

Options = dict[str, Any]
Track = Callable[..., Tracker]
Until = Callable[..., None]
Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def disk(tmp_path: Path) -> Options:
    """Return the options of a buffer on disk."""
    return {"storage": "disk", "path": str(tmp_path / "buffer")}


def router(tracker: Tracker) -> Any:
    return tracker._tree.routes["b"].backend


def figures(tracker: Tracker, path: str = "b") -> dict[str, int]:
    counts = tracker.stats()[path]
    names = ("received", "delivered", "filtered", "failed", "dead_lettered", "pending")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def down(events: Sequence[Event]) -> None:
    raise ConnectionError


def nothing(events: Sequence[Event]) -> None:
    pass


def refuse(events: Sequence[Event]) -> None:
    raise Rejected({event.id: "no" for event in events})


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


# Forks

TRACKER = """
from eventtracking import Rejected
def refuse(events):
    raise Rejected({event.id: "no" for event in events})
FailingBackend.actions[""] = refuse
def make(folder, **leaf):
    leaf = leaf or {"plugin": "fail"}
    return Tracker.from_config({"backends": {"b": {
        "plugin": "buffer", "storage": "disk", "path": folder, "max_batch_age_s": 0.01,
        "backends": {"p": leaf},
    }}})
def held():
    names = os.listdir("/proc/self/fd")
    links = [os.readlink(f"/proc/self/fd/{name}") for name in names
        if os.path.islink(f"/proc/self/fd/{name}")]
    # A folder that another thread is just listing is neither locked nor written to.
    return [os.path.basename(link) for link in links if link.startswith(folder)
        and not os.path.isdir(link)]
folder = sys.argv[1]
"""

DAEMON = """
import subprocess
tracker = make(folder)
tracker.emit("parent")
assert tracker.flush(20)
if os.fork():
    os._exit(0)
tracker.emit("child")
assert tracker.flush(20)
look = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
    " c.execute('SELECT * FROM dead').fetchall(); c.close()"
)
subprocess.run([sys.executable, "-c", look, folder + "/state.db"], check=True)
for _ in range(5):
    tracker.emit("child")
assert tracker.flush(20)
tracker.close()
"""


@pytest.mark.process
def test_a_child_loses_nothing_when_another_process_closes_the_state(
    program: Program, track: Track, disk: Options
) -> None:
    """Forked while the state was open, a daemon's dead letters are there for the next process,
    whoever looked meanwhile.
    """
    output(program(TRACKER + DAEMON, disk["path"]))
    tracker = track(disk, p={"plugin": "fail"})
    tracker.probe()  # which opens it
    assert len(router(tracker).letters.list()) == 7
    assert figures(tracker) == {"received": 7, "dead_lettered": 7}


@pytest.mark.timeout(120)
@pytest.mark.process
def test_no_child_inherits_the_lock_of_the_deliverer(program: Program, disk: Options) -> None:
    """Forked at any moment while the parent starts to deliver, a child holds neither its lock nor
    its files.
    """
    source = """
import random
leaked = []
for number in range(40):
    tracker = make(folder + str(number))
    tracker.emit("parent")
    end = time.perf_counter() + random.random() * 0.004
    while time.perf_counter() < end:
        pass
    child = os.fork()
    if child == 0:
        os._exit(len(held()))
    leaked.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    tracker.close(0.1)
print(sum(leaked))
"""
    assert output(program(TRACKER + source, disk["path"])) == "0\n"


@pytest.mark.process
def test_a_child_of_a_fork_that_could_not_wait_leaves_the_state_alone(
    program: Program, track: Track, disk: Options, tmp_path: Path
) -> None:
    """Where a thread was inside the state for too long, the child stores its events, and another
    process delivers them.
    """
    source = """
from eventtracking_buffer.disk import gates
from eventtracking_buffer.disk.state import connection
gates._FORK_WAIT_S = 0.05
tracker = make(folder, plugin="rec", path=sys.argv[2])
tracker.emit("parent")
assert tracker.flush(20)
entered = threading.Event()
def stay():
    with connection.connections.lock:
        entered.set()
        time.sleep(0.5)
threading.Thread(target=stay).start()
entered.wait()
child = os.fork()
if child == 0:
    inherited = sorted(held())
    tracker.emit("child")
    time.sleep(1.2)
    assert [name for name in sorted(held()) if "journal" not in name] == [n for n in inherited
        if "journal" not in n]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
time.sleep(1)
assert tracker.flush(20)
tracker.close()
"""
    below = tmp_path / "below.jsonl"
    output(program(TRACKER + source, disk["path"], below))
    assert [line["name"] for line in read_recorded(below)] == ["parent", "child"]


# What backends do to the books


class Hostile:
    """A reason that is no text."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("reason", "stored"),
    [
        ({"code": 1}, "no reason given"),
        ("caf\udcc3", "caf\\udcc3"),
        ("a" * 5_000, "a" * 1_000),
        (Hostile(), "no reason given"),
    ],
    ids=["no text", "a lone surrogate", "too long", "hostile"],
)
def test_any_reason_is_stored_as_text(
    storage: Options, track: Track, until: Until, reason: Any, stored: str
) -> None:
    """Whatever a backend gives for a reason, its dead letter is written, and the events behind it
    go on.
    """

    def judge(events: Sequence[Event]) -> None:
        bad = {event.id: reason for event in events if event.name == "bad"}
        if bad:
            raise Rejected(bad)

    FailingBackend.actions[""] = judge
    tracker = track(storage, p={"plugin": "fail"})
    tracker.emit("bad")
    until(router(tracker).letters.list)
    tracker.emit("good")
    assert tracker.flush(20.0)
    assert [letter.reason for letter in router(tracker).letters.list()] == [stored]
    assert figures(tracker) == {"received": 2, "delivered": 1, "dead_lettered": 1}


def test_a_backend_that_ends_its_thread_takes_no_other_event_with_it(
    storage: Options, track: Track
) -> None:
    """While events on their last attempt travel alone, SystemExit for one of them leaves the rest
    in the lane.
    """

    def leave(events: Sequence[Event]) -> None:
        if any(event.name == "bad" for event in events):
            raise SystemExit

    FailingBackend.actions[""] = leave
    tracker = track({**storage, "max_attempts": 2, "max_batch_age_s": 0.2}, p={"plugin": "fail"})
    for name in ("bad", "good", "good"):
        tracker.emit(name)
    assert tracker.flush(20.0)
    assert figures(tracker) == {"received": 3, "delivered": 2, "dead_lettered": 1}


# Records


def forgery() -> bytes:
    return frame(codec.encode(Event(name="forged")), EVENT, time.time())


@pytest.mark.parametrize("size", [10, 600_000])
def test_bytes_inside_an_event_are_never_read_as_one(
    track: Track, disk: Options, size: int
) -> None:
    """An event that holds the bytes of a record arrives itself, however long it is, and what it
    holds does not.
    """
    tracker = track(disk)
    blob = forgery() + os.urandom(size)
    tracker.emit("real", {"blob": blob})
    assert tracker.flush(20.0)
    assert [(event.name, event.data["blob"]) for event in RecordingBackend.recorded[""]] == [
        ("real", blob)
    ]
    assert figures(tracker) == {"received": 1, "delivered": 1}


def test_bytes_inside_a_damaged_event_are_not_read_either() -> None:
    """Where a checksum is wrong and the length can be right, reading goes on behind the record."""
    damaged = bytearray(frame(forgery() + b"a" * 10, EVENT, 1.0))
    damaged[-1] ^= 0xFF
    good = frame(b"good", EVENT, 1.0)
    found = list(read_records(bytes(damaged) + good, 0))
    assert [(record.kind, record.payload) for record in found] == [
        (0, bytes(damaged)),
        (EVENT, b"good"),
    ]


def test_a_damaged_last_record_is_told_from_a_torn_one() -> None:
    """One that is whole was promised, and counts; one that was cut off was not."""
    data = bytearray(frame(b"payload", EVENT, 1.0))
    assert list(read_records(bytes(data[:-1]), 0)) == []
    data[-1] ^= 0xFF
    assert [record.kind for record in read_records(bytes(data), 0)] == [0]


def test_a_record_is_waited_for_while_it_is_written(tmp_path: Path) -> None:
    """What can be seen of a record that is being appended is not searched for others; once nobody
    writes, it is.
    """
    writer = JournalWriter(tmp_path, synced=False)
    writer.turn()
    whole = frame(forgery() * 2, EVENT, 1.0)
    writer.append(whole[:-5])
    reader = JournalReader(tmp_path / writer.name)
    assert list(reader.read()) == []
    writer.close()
    found = next(reader.read())
    assert (found.kind, found.payload) == (0, whole[:21])


def test_a_passing_error_says_nothing_about_a_record(tmp_path: Path) -> None:
    """Without a free descriptor, reading a record again raises; None means that it is damaged or
    gone.
    """
    writer = JournalWriter(tmp_path, synced=False)
    writer.turn()
    writer.append(frame(b"payload", EVENT, 1.0))
    reader = JournalReader(tmp_path / writer.name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(tmp_path, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            reader.record_at(0)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            next(reader.read())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = reader.record_at(0)
    assert found is not None
    assert found.payload == b"payload"
    writer.close()
    reader.path.unlink()
    assert reader.record_at(0) is None


# The folder


def test_a_bad_entry_is_passed_over(
    track: Track, disk: Options, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder with the name of a journal's file stops nobody, and the log hears of it."""
    bad = Path(disk["path"]) / "0000-old.journal"
    bad.mkdir(parents=True)
    with caplog.at_level(logging.WARNING, "eventtracking.buffer"):
        tracker = track(disk)
        for _ in range(5):
            tracker.emit("x")
        assert tracker.flush(20.0)
        until(lambda: "skipped: 0000-old.journal in the folder cannot be read" in caplog.text)
    assert figures(tracker) == {"received": 5, "delivered": 5}
    assert bad.is_dir()


@pytest.mark.process
def test_an_unreadable_file_is_passed_over_and_kept(program: Program) -> None:
    """A file that the process may not read stops nobody, and is there for the day it may."""
    source = """
tracker = make(folder, plugin="rec")
if os.getuid() == 0:
    os.setuid(65534)
for _ in range(5):
    tracker.emit("x")
assert tracker.flush(20)
stats = tracker.stats()["b"]
time.sleep(1)
tracker.close()
print(stats.received, stats.delivered)
"""
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        Path(place).chmod(0o777)
        folder = Path(place) / "buffer"
        folder.mkdir()
        folder.chmod(0o777)
        (folder / "0000-old.journal").write_bytes(forgery())
        (folder / "0000-old.journal").chmod(0)
        assert output(program(TRACKER + source, folder)) == "5 5\n"
        assert (folder / "0000-old.journal").exists()


@pytest.mark.timeout(180)
def test_a_deleted_folder_is_noticed(
    track: Track, disk: Options, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """The counts begin at 0, with the reason; what was in the folder may be lost, and the log says
    so; events emitted after it was noticed arrive.
    """
    FailingBackend.actions[""] = refuse
    tracker = track(disk, p={"plugin": "fail"})
    tracker.emit("rejected")
    assert tracker.flush(20.0)
    shutil.rmtree(disk["path"])
    until(lambda: "files of the buffer were deleted" in caplog.text)
    until(lambda: figures(tracker) == {})
    assert list(tracker.stats()["b"].reasons) == [
        "the state was deleted: counts begin at 0, events may come twice"
    ]
    seen: set[int] = set()
    FailingBackend.actions[""] = lambda events: seen.update(event.data["n"] for event in events)
    for number in range(30):
        tracker.emit("after", {"n": number})
    assert tracker.flush(20.0)
    assert seen == set(range(30))
    assert figures(tracker) == {"received": 30, "delivered": 30}


def test_a_deleted_journal_is_noticed(
    track: Track, disk: Options, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """What a lane has read goes on, the rest is lost, and the log says so; the law holds."""
    FailingBackend.actions[""] = down
    tracker = track(disk, p={"plugin": "fail"})
    for number in range(5):
        tracker.emit("before", {"n": number})
    until(lambda: figures(tracker, "b/p").get("received") == 5)
    (journal,) = Path(disk["path"]).glob("*.journal")
    journal.unlink()
    until(lambda: "files of the buffer were deleted" in caplog.text)
    assert tracker.stats()["b"].balanced
    FailingBackend.actions[""] = nothing
    tracker.emit("after")
    until(lambda: figures(tracker) == {"received": 6, "delivered": 6})
    tracker.close(5)
    again = track(disk, p={"plugin": "fail"})
    until(lambda: figures(again) == {"received": 6, "delivered": 6})


@pytest.mark.timeout(120)
@pytest.mark.process
def test_processes_that_find_a_damaged_state_agree_on_a_new_one(
    program: Program, disk: Options
) -> None:
    """Started at once, they set it aside once, and all of them use the same new file."""
    folder = Path(disk["path"])
    folder.mkdir()
    (folder / "state.db").write_bytes(b"not a database at all" * 1_000)
    source = """
tracker = make(folder)
while time.time() < float(sys.argv[2]):
    pass
tracker.emit("x")
time.sleep(1)
open_files = set()
for descriptor in range(100):  # other threads open and close files meanwhile
    try:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/state.db"):
            open_files.add(os.fstat(descriptor).st_ino)
    except OSError:
        pass
print(open_files, flush=True)
time.sleep(1)
"""
    begin = time.time() + 1.0
    processes = [program(TRACKER + source, folder, begin) for _ in range(4)]
    assert {output(process) for process in processes} == {
        f"{{{(folder / 'state.db').stat().st_ino}}}\n"
    }
    assert len(list(folder.glob("state.db.damaged-*"))) == 1


@pytest.mark.timeout(180)
def test_descriptors_do_not_grow_with_what_waits(
    track: Track, disk: Options, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred files that leaves read, or have read, hold no descriptors."""
    monkeypatch.setattr(journal_writer, "_MAX_FILE_BYTES", 4_000)
    FailingBackend.actions[""] = down
    tracker = track(
        disk, bad={"plugin": "fail"}, ok={"plugin": "rec"}, other={"plugin": "rec", "key": "other"}
    )
    tracker.emit("x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(1_000):
        tracker.emit("x", {"text": "a" * 300})
        tracker.stats()  # the next file is started by the thread that answers
    until(lambda: figures(tracker, "b/ok") == {"received": 1_001, "delivered": 1_001})
    assert len(list(Path(disk["path"]).glob("*.journal"))) > 50
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20
    FailingBackend.actions[""] = nothing
    assert tracker.flush(20.0)


# Limits


@pytest.mark.parametrize(("when_full", "most"), [("drop_newest", 60), ("drop_oldest", 250)])
def test_a_full_buffer_does_not_measure_for_each_event(
    track: Track, disk: Options, until: Until, when_full: str, most: int
) -> None:
    """While it refuses or gives up 500 events, it asks the state a bounded number of times."""
    FailingBackend.actions[""] = down
    options = {
        **disk,
        "max_events": 1_000,
        "when_full": when_full,
        "retry_base_s": 60.0,
        "retry_max_s": 60.0,
    }
    tracker = track(options, p={"plugin": "fail"})
    for _ in range(1_000):
        tracker.emit("x")
    until(lambda: figures(tracker, "b/p"))
    asked: list[str] = []
    router(tracker)._engine._state.connection.set_trace_callback(asked.append)
    for _ in range(500):
        tracker.emit("x")
    router(tracker)._engine._state.connection.set_trace_callback(None)
    assert sum(statement.startswith("BEGIN") for statement in asked) < most
    assert figures(tracker)["failed"] >= 400


def test_the_byte_limit_counts_events_that_are_retried(
    track: Track, disk: Options, until: Until
) -> None:
    """Events whose delivery has failed take room as before: three more find none."""
    FailingBackend.actions[""] = down
    options = {**disk, "max_bytes": 20_000, "retry_base_s": 60.0, "retry_max_s": 60.0}
    tracker = track(options, p={"plugin": "fail"})
    for _ in range(3):
        tracker.emit("x", {"text": "a" * 5_000})
    until(lambda: router(tracker).status().failing)
    for _ in range(3):
        tracker.emit("x", {"text": "a" * 5_000})
    assert figures(tracker) == {"received": 6, "failed": 3, "pending": 3}


def test_a_limit_is_kept_by_all_processes_together(
    track: Track, disk: Options, until: Until
) -> None:
    """Each sees within a second or two what others have stored, before it has filled the buffer by
    itself.
    """
    FailingBackend.actions[""] = down
    first, second = (track({**disk, "max_events": 100}, p={"plugin": "fail"}) for _ in range(2))
    first.open()
    second.open()
    for _ in range(60):
        first.emit("x")
    second.emit("x")  # a process that stores nothing has no need to know
    until(lambda: router(second)._engine._capacity.left <= 39)
    for _ in range(60):
        second.emit("x")
    assert figures(first)["pending"] == 100


# The config


def test_a_relative_path_is_where_the_config_was_read(
    track: Track, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that goes elsewhere before its first event, or forks there, stores in the same
    place.
    """
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    tracker = track({"storage": "disk", "path": "buffer"})
    monkeypatch.chdir("elsewhere")
    tracker.emit("x")
    assert tracker.flush(20.0)
    assert (tmp_path / "buffer" / "state.db").exists()
    assert not (tmp_path / "elsewhere" / "buffer").exists()


def test_two_buffers_cannot_have_one_folder(tmp_path: Path) -> None:
    """The config says so, however the folder is spelled; two buffers in memory are no problem."""
    leaf = {"ok": {"plugin": "rec"}}
    node = {
        "plugin": "buffer",
        "storage": "disk",
        "path": str(tmp_path / "buffer"),
        "backends": leaf,
    }
    other = {**node, "path": str(tmp_path / "x" / ".." / "buffer")}
    with pytest.raises(
        ConfigError, match=r"backends\.d\.path: .*it is that of another node already"
    ):
        Tracker.from_config({"backends": {"b": node, "d": other}})
    memory = {"plugin": "buffer", "backends": leaf}
    Tracker.from_config({"backends": {"b": memory, "d": memory}}).close()


def test_probe_tells_a_folder_that_cannot_be_used(storage: Options, track: Track) -> None:
    """It raises where events would wait in memory, with the folder and the cause, and
    nowhere else.
    """
    assert track(storage).probe() == {}
    problems = track({"storage": "disk", "path": "/proc/buffer"}).probe()
    assert list(problems) == ["b"]
    assert isinstance(problems["b"], DeliveryError)
    assert str(problems["b"]).startswith(
        "the folder '/proc/buffer' cannot be used: FileNotFoundError"
    )
