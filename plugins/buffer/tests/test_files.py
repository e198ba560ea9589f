"""The files of a buffer on disk: bad entries, deleted and damaged ones."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from buffer_trials import (
    HELD,
    Options,
    Program,
    Track,
    Until,
    down,
    figures,
    output,
    take,
)

from eventtracking import Event, Rejected, Tracker
from eventtracking.errors import ConfigError, DeliveryError
from eventtracking_buffer import codec
from eventtracking_buffer.disk.journal import writer as journal_writer
from eventtracking_buffer.disk.journal.records import EVENT, frame
from eventtracking_testkit.fakes import FailingBackend


def refuse(events: Sequence[Event]) -> None:
    raise Rejected({event.id: "no" for event in events})


def forgery() -> bytes:
    return frame(codec.encode(Event(name="forged")), EVENT, time.time())


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
        assert output(program(HELD + source, folder)) == "5 5\n"
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
    FailingBackend.actions[""] = take
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
    processes = [program(HELD + source, folder, begin) for _ in range(4)]
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
    FailingBackend.actions[""] = take
    assert tracker.flush(20.0)


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
