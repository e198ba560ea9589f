"""The store of the plugin `sqlite`: what is in the file, and what goes wrong with files."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from eventtracking import ConfigError, DeliveryError, Event, Rejected, Tracker
from eventtracking_sqlite.backend import SqliteBackend
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import sample_event, sample_events
from eventtracking_testkit.threads import in_threads


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Name a file that is not there yet."""
    return str(tmp_path / "events.db")


@pytest.fixture
def backend(path: str) -> Iterator[SqliteBackend]:
    """Open a backend on it, which waits for locks for a short time only."""
    backend = SqliteBackend(path=path, busy_timeout_s=0.2)
    backend.open()
    yield backend
    backend.close()


def query(path: str | Path, sql: str) -> list[Any]:
    """Ask the file past the backend."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        return connection.execute(sql).fetchall()


def count(path: str | Path) -> int:
    return int(query(path, "SELECT count(*) FROM events")[0][0])


def send_many(backend: SqliteBackend) -> None:
    for _ in range(50):
        backend.send(sample_events(50))


def open_and_send(backend: SqliteBackend) -> None:
    backend.open()
    backend.send(sample_events(1))


# What is in the file


def test_the_row_of_an_event(backend: SqliteBackend, path: str) -> None:
    """Each column is text: the id, the name, the time as RFC 3339 in UTC, and JSON for the rest."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    backend.send(
        [
            Event(
                id="i",
                name="n",
                timestamp=moment,
                context={"u": 1},
                data={"é": [1]},
                extra={"v": 2},
            )
        ]
    )
    row = ("i", "n", "2026-01-02T01:04:05.000006Z", '{"u":1}', '{"é":[1]}', '{"v":2}')
    assert query(path, "SELECT id, name, timestamp, context, data, extra FROM events") == [row]


def test_json_functions_and_indexes_work(backend: SqliteBackend, path: str) -> None:
    """SQL reaches into the data; looking for a name, or a time, uses an index."""
    backend.send([sample_event(data={"course": {"id": "c1"}})])
    assert query(path, "SELECT data ->> '$.course.id' FROM events") == [("c1",)]
    for where, index in [
        ("name = 'a' AND timestamp > '2026'", "events_name_timestamp"),
        ("timestamp > '2026'", "events_timestamp"),
        ("id = 'i'", "sqlite_autoindex_events_1"),
    ]:
        (plan,) = query(path, f"EXPLAIN QUERY PLAN SELECT * FROM events WHERE {where}")
        assert index in plan[3]


def test_the_text_of_times_sorts_as_they_do(backend: SqliteBackend, path: str) -> None:
    """With and without fractions, in any zone, and in early years."""
    first = datetime(999, 1, 1, tzinfo=timezone.utc)
    moments = [
        first,
        first + timedelta(microseconds=1),
        first + timedelta(seconds=1),
        first + timedelta(days=400_000),
    ]
    zones = [timezone.utc, timezone(timedelta(hours=-5)), timezone(timedelta(hours=9))]
    events = [
        Event(name=str(n), timestamp=m.astimezone(zones[n % 3])) for n, m in enumerate(moments)
    ]
    backend.send(list(reversed(events)))
    assert query(path, "SELECT name FROM events ORDER BY timestamp") == [
        ("0",),
        ("1",),
        ("2",),
        ("3",),
    ]


def test_odd_text_is_stored_as_to_json_tells_it(backend: SqliteBackend, path: str) -> None:
    """A lone surrogate, which SQLite refuses, becomes its escape; NaN becomes null; a huge integer
    stays.
    """
    backend.send(
        [
            Event(
                name="n\ud800",
                data={"t": "\ud800", "x": float("nan"), "n": 10**30},
                extra={"v": "\udfff"},
            )
        ]
    )
    (row,) = query(path, "SELECT name, data, extra FROM events")
    assert row == (
        "n\\ud800",
        '{"t": "\\\\ud800", "x": null, "n": 1000000000000000000000000000000}',
        '{"v": "\\\\udfff"}',
    )


def test_an_event_that_cannot_be_told_is_rejected_alone(backend: SqliteBackend, path: str) -> None:
    """The rest of the batch is stored; the reason names no value."""
    bad = sample_event().replace(timestamp="yesterday")  # type: ignore[arg-type]  # that is what cannot be told
    with pytest.raises(Rejected) as caught:
        backend.send([*sample_events(2), bad])
    assert caught.value.reasons == {bad.id: "cannot be told in JSON (AttributeError)"}
    assert count(path) == 2


@pytest.mark.parametrize("wrong", [{"name": None}, {"id": None}])
def test_an_event_without_a_name_or_an_id_is_rejected_alone(
    backend: SqliteBackend, path: str, wrong: Any
) -> None:
    """The rest of its batch is stored."""
    bad = Event(name="bad").replace(**wrong)
    with pytest.raises(Rejected) as caught:
        backend.send([Event(name="good"), bad])
    assert list(caught.value.reasons) == [bad.id]
    assert count(path) == 1


CLOSING = """
import os, signal, sys, time
from eventtracking import Event
from eventtracking_sqlite.backend import SqliteBackend

def handle(*_):
    if sys.argv[2] == "close":
        backend.close()
    elif os.fork() == 0:
        os._exit(0)
    else:
        os.wait()

signal.signal(signal.SIGALRM, handle)
backend = SqliteBackend(path=sys.argv[1])
end = time.monotonic() + 3.0
sent = 0
while time.monotonic() < end:
    backend.open()
    signal.setitimer(signal.ITIMER_REAL, 0.002 + sent % 5 * 0.001)
    try:
        for _ in range(200):
            backend.send([Event(name="x", data={"text": "y" * 500})])
            sent += 1
    except Exception as error:
        if "it is closed" not in str(error):
            raise
signal.setitimer(signal.ITIMER_REAL, 0)
print(sent)
"""


@pytest.mark.process
@pytest.mark.parametrize("what", ["close", "fork"])
def test_a_signal_handler_may_close_or_fork_in_the_middle_of_a_statement(
    path: str, what: str
) -> None:
    """The interpreter does not crash, no send fails for another reason than that it is closed, and
    every event is stored.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", CLOSING, path, what],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert count(path) == int(done.stdout)


def test_the_file_is_in_wal_mode(backend: SqliteBackend, path: str) -> None:
    """Readers do not stop the writer."""
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        backend.send(sample_events(2))
    assert count(path) == 2


# Processes and threads

WRITER = """
import sys
from eventtracking import Event
from eventtracking_sqlite.backend import SqliteBackend
backend = SqliteBackend(path=sys.argv[1], busy_timeout_s=30.0)
backend.open()
for number in range(int(sys.argv[2])):
    backend.send([Event(id=f"{sys.argv[3]}-{number}-{part}", name="n") for part in range(3)])
    print(number, flush=True)
backend.close()
"""


def writer(path: str, batches: int, prefix: str) -> subprocess.Popen[str]:
    """Start a process that writes batches of three and says each that is acknowledged."""
    command = [sys.executable, "-c", WRITER, path, str(batches), prefix]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.process
def test_processes_that_start_at_once_with_the_same_ids(path: str) -> None:
    """Four processes create the file together and write the same events: nothing fails, each is
    there once.
    """
    writers = [writer(path, 50, "same") for _ in range(4)]
    for one in writers:
        one.communicate(timeout=60)
    assert [one.returncode for one in writers] == [0, 0, 0, 0]
    assert count(path) == 150


@pytest.mark.process
def test_what_was_acknowledged_survives_kill_9(path: str) -> None:
    """A writer that is killed in the middle leaves a sound file with all that it acknowledged, and
    whole batches only.
    """
    with writer(path, 1_000_000, "w") as victim:
        assert victim.stdout is not None
        for line in victim.stdout:
            if int(line) >= 40:
                break
        victim.send_signal(signal.SIGKILL)
        acknowledged = int(line)
        acknowledged = max(
            [acknowledged, *(int(rest) for rest in victim.stdout if rest.endswith("\n"))]
        )
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert count(path) % 3 == 0
    assert count(path) >= 3 * (acknowledged + 1)
    backend = SqliteBackend(path=path)
    backend.open()
    backend.send(sample_events(1))
    backend.close()


@pytest.mark.process
def test_a_fork_waits_for_a_thread_that_sends(backend: SqliteBackend, path: str) -> None:
    """Forks in the middle of other threads' sends harm neither side: everything is there, and the
    file is sound.
    """
    backend.busy_timeout_s = 30.0
    stop = threading.Event()
    sent: list[int] = []

    def send() -> None:
        while not stop.is_set():
            backend.send(sample_events(3))
            sent.append(3)

    def child() -> None:
        backend.open()
        backend.send(sample_events(1))
        backend.close()

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        run_in_fork(child)
    stop.set()
    for thread in threads:
        thread.join()
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert count(path) == sum(sent) + 10


@pytest.mark.process
def test_threads_that_fork_at_once(backend: SqliteBackend, path: str) -> None:
    """Each thread's fork takes and gives back the file for itself."""
    backend.busy_timeout_s = 30.0
    in_threads(lambda _: run_in_fork(lambda: open_and_send(backend)), count=6)
    backend.send(sample_events(1))
    assert count(path) == 7


def test_an_interrupted_batch_holds_no_lock(backend: SqliteBackend, path: str) -> None:
    """An exception from a signal handler in the middle of a batch undoes it, and other processes go
    on.
    """

    def interrupt(_count: int) -> str:
        raise KeyboardInterrupt

    connection = backend._file._connection  # type: ignore[union-attr]  # it is open
    connection.create_function("interrupt", 1, interrupt)
    connection.execute(
        "CREATE TEMP TRIGGER stop AFTER INSERT ON main.events WHEN NEW.name = 'stop' BEGIN SELECT"
        " interrupt(1); END"
    )
    with pytest.raises((KeyboardInterrupt, DeliveryError)):
        backend.send([*sample_events(2), sample_event(name="stop")])
    with closing(sqlite3.connect(path, timeout=0.1, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM events").fetchall() == [(0,)]
        other.execute("ROLLBACK")
    backend.send(sample_events(2))
    assert count(path) == 2


@pytest.mark.process
def test_a_tracker_through_forks(path: str) -> None:
    """By name, with a tracker that was used before the fork: parent and children each
    store theirs.
    """
    with Tracker.from_config(
        {"backends": {"store": {"plugin": "sqlite", "path": path}}}
    ) as tracker:
        tracker.emit("parent")

        def child() -> None:
            for _ in range(5):
                tracker.emit("child")
            assert tracker.stats()["store"].delivered == 5
            tracker.close()

        run_in_fork(child)
        run_in_fork(child)
        tracker.emit("parent")
        assert tracker.stats()["store"].delivered == 2
    assert sorted(query(path, "SELECT name, count(*) FROM events GROUP BY name")) == [
        ("child", 10),
        ("parent", 2),
    ]


# What goes wrong with files


def test_a_file_that_was_moved_away_is_made_anew(
    backend: SqliteBackend, path: str, tmp_path: Path
) -> None:
    """What is sent after a log rotation does not vanish with the old file."""
    backend.send(sample_events(2))
    (tmp_path / "old").mkdir()
    for file in tmp_path.glob("events.db*"):
        shutil.move(file, tmp_path / "old" / file.name)
    backend.send(sample_events(3))
    assert count(path) == 3
    assert count(tmp_path / "old" / "events.db") == 2


def test_a_deleted_file_is_made_anew(backend: SqliteBackend, path: str, tmp_path: Path) -> None:
    """What is sent after the deletion is in the new file."""
    backend.send(sample_events(2))
    for file in tmp_path.glob("events.db*"):
        file.unlink()
    backend.send(sample_events(3))
    assert count(path) == 3


def test_a_lock_that_is_held_too_long(backend: SqliteBackend, path: str) -> None:
    """The error says what to do, can be tried again, and pickles; the wait is bounded by the
    option.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(DeliveryError) as caught:
            backend.send(sample_events(2))
        assert 0.1 < time.monotonic() - started < 30.0
        other.execute("ROLLBACK")
    expected = (
        f"cannot store in {path!r}: database is locked; another process holds the lock for longer"
        " than busy_timeout_s"
    )
    assert str(caught.value) == expected
    assert str(pickle.loads(pickle.dumps(caught.value))) == expected
    backend.send(sample_events(2))
    assert count(path) == 2


def test_a_thread_that_sends_too_long(backend: SqliteBackend) -> None:
    """Another thread's wait for the connection is bounded too, in `send` and in `close`."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with backend._locked():
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    with pytest.raises(DeliveryError, match="other threads are writing for too long"):
        backend.send(sample_events(1))
    with pytest.raises(DeliveryError, match="other threads are writing for too long"):
        backend.close()
    release.set()
    thread.join()


def test_a_file_that_is_no_database(path: str) -> None:
    """It is left as it is, and the error says what to do."""
    Path(path).write_text("not a database, " * 1000)
    backend = SqliteBackend(path=path)
    with pytest.raises(
        DeliveryError, match=r"file is not a database; move the file away, and a new one is made$"
    ):
        backend.open()
    assert Path(path).read_text().startswith("not a database, ")
    backend.close()


def test_a_damaged_file(backend: SqliteBackend, path: str) -> None:
    """Damage found while sending is an error that says how to save what can be saved; a new file in
    its place is taken.
    """
    backend.send(sample_events(500))
    backend.close()
    with Path(path).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 4)
    backend.open()
    with pytest.raises(DeliveryError, match=r"malformed; move the file away.*\.recover"):
        send_many(backend)
    for file_ in Path(path).parent.glob("events.db*"):
        file_.unlink()
    backend.send(sample_events(3))
    assert count(path) == 3


def test_a_table_of_something_else(path: str) -> None:
    """A table `events` with other columns is an error that says so."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (name TEXT, at TEXT)")
    backend = SqliteBackend(path=path)
    with pytest.raises(
        DeliveryError, match="the file has a table `events` of something else; use another path"
    ):
        backend.open()


@pytest.mark.process
def test_a_full_disk(backend: SqliteBackend, path: str) -> None:
    """A batch that does not fit is an error, and none of it is stored; with room again, it is."""
    batch = [sample_event("long text") for _ in range(20)]
    backend.send(sample_events(1))

    def child() -> None:
        backend.open()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        with pytest.raises(DeliveryError, match="cannot store in"):
            backend.send(batch)
        assert count(path) == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        backend.send(batch)
        backend.close()

    run_in_fork(child)
    assert count(path) == 21


@pytest.mark.process
def test_a_file_that_may_not_be_written() -> None:
    """The error says what to do; nothing is changed."""
    folder = Path(tempfile.mkdtemp())  # not below `tmp_path`, which only its owner may enter
    path = folder / "events.db"
    made = SqliteBackend(path=str(path))
    made.open()
    made.close()
    path.chmod(0o444)
    folder.chmod(0o555)

    def child() -> None:
        if os.geteuid() == 0:  # root may write everywhere
            os.setuid(65534)
        backend = SqliteBackend(path=str(path), busy_timeout_s=0.2)
        with pytest.raises(DeliveryError, match="make the file and its folder writable"):
            open_and_send(backend)

    try:
        run_in_fork(child)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way of the folder is named in the error; missing folders are made."""
    (tmp_path / "file").touch()
    with pytest.raises(
        DeliveryError, match=r"cannot store in '.*events.db': (File exists|Not a directory)$"
    ):
        SqliteBackend(path=str(tmp_path / "file" / "sub" / "events.db")).open()
    backend = SqliteBackend(path=str(tmp_path / "a" / "b" / "events.db"))
    backend.open()
    backend.close()


def test_a_send_after_the_close(backend: SqliteBackend) -> None:
    """It fails instead of opening the file again behind everybody's back."""
    backend.close()
    with pytest.raises(DeliveryError, match="it is closed"):
        backend.send(sample_events(1))


def test_a_relative_path_is_that_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that changes its folder after reading the config, as daemons do, stores where the
    config meant.
    """
    monkeypatch.chdir(tmp_path)
    backend = SqliteBackend(path="events.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    backend.open()
    backend.close()
    assert (tmp_path / "events.db").exists()


@pytest.mark.parametrize("path", [":memory:", "file:events.db?mode=memory"])
def test_memory_is_no_store(path: str) -> None:
    """What is lost with the process is refused when the config is read."""
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": {"store": {"plugin": "sqlite", "path": path}}})
    assert (
        str(caught.value.problems[0])
        == "backends.store.path: must name a file; a database in memory is lost with the process;"
        f' found "{path}"'
    )


def test_the_file_is_for_its_user_alone(tmp_path: Path) -> None:
    """Whatever the umask, no other user reads the events, or locks the writers out."""
    path = tmp_path / "private.db"
    former = os.umask(0o000)
    try:
        backend = SqliteBackend(path=str(path))
        backend.open()
        backend.send(sample_events(2))
        modes = {found.name: found.stat().st_mode & 0o777 for found in tmp_path.iterdir()}
        backend.close()
    finally:
        os.umask(former)
    assert set(modes.values()) == {0o600}, modes
    assert "private.db" in modes


def test_a_link_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shared folder it would lead to a file of that user's choice; a link of its own is
    followed.
    """
    link, target = tmp_path / "events.db", tmp_path / "elsewhere.db"
    link.symlink_to(target)
    own = SqliteBackend(path=str(link))
    own.open()
    own.send(sample_events(1))
    own.close()
    target.unlink()
    if os.geteuid() == 0:
        os.lchown(link, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(DeliveryError, match="it is a link of user"):
        SqliteBackend(path=str(link)).open()
    assert not target.exists()
