"""The buffer on disk survives its process, and a disk that refuses."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from buffer_trials import Program, Track, Until, down, figures, router

from eventtracking_buffer.dead_letters import Selection
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend, read_recorded

EMITTER = """
folder, below, kind = sys.argv[1:4]
# what a killed process has half written stays at its end
backend = {"plugin": "rec", "path": f"{below}.{os.getpid()}"}
tracker = Tracker.from_config({"backends": {"b": {
    "plugin": "buffer", "storage": "disk", "path": folder, "max_batch_age_s": 0.01,
    "retry_base_s": 0.02,
    "backends": {"p": backend, "q": {**backend,
    "path": f"{below}.q.{os.getpid()}"}} if kind == "two" else {"p": backend},
}}})
number = 0
while kind != "look":
    tracker.emit("x", {"number": number, "by": os.getpid()})
    if kind != "quiet":  # nobody reads it there, and a full pipe would stop the process
        # what is written here, emit() has returned for
        os.write(1, b"%d %d\\n" % (os.getpid(), number))
    number += 1
    if number % 50 == 0:
        time.sleep(0.02 if kind == "quiet" else 0.001)
"""


def read_all(below: Path, part: str = "") -> list[dict[str, Any]]:
    """Read what all processes have recorded; a line that one was killed in does not count."""
    lines: list[dict[str, Any]] = []
    for file in below.parent.glob(f"{below.name}{part}.[0-9]*"):
        *whole, _ = file.read_text().split("\n")
        lines += map(json.loads, whole)
    return lines


@pytest.fixture
def disk(tmp_path: Path) -> dict[str, Any]:
    """Return the options of a buffer on disk."""
    return {"storage": "disk", "path": str(tmp_path / "deep" / "buffer")}


def journals(disk: dict[str, Any]) -> list[Path]:
    return sorted(Path(disk["path"]).glob("*.journal"))


@pytest.mark.timeout(120)
@pytest.mark.process
@pytest.mark.once
@pytest.mark.parametrize("kind", ["one", "two"])
def test_kill_9_loses_nothing_for_which_emit_returned(
    tmp_path: Path, track: Track, program: Program, disk: dict[str, Any], kind: str
) -> None:
    """Killed again and again at random moments, every event arrives, unaltered, and the counts add
    up.
    """
    below = tmp_path / "below.jsonl"
    promised: set[tuple[int, int]] = set()
    for _ in range(5):
        process = program(EMITTER, disk["path"], below, kind)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random.random() * 0.3)
        process.kill()
        out = process.stdout.read()  # communicate() would lose what readline() has read ahead
        process.wait()
        lines = (first + out).split("\n")[:-1]
        promised |= {tuple(map(int, line.split())) for line in lines}  # type: ignore[misc]  # pairs
    assert len(promised) > 100
    parts = {"p": "", "q": ".q"} if kind == "two" else {"p": ""}
    tracker = track(
        disk,
        **{name: {"plugin": "rec", "path": f"{below}{part}.0"} for name, part in parts.items()},
    )
    assert tracker.flush(60.0)
    for part in parts.values():
        found = Counter(
            (line["data"]["by"], line["data"]["number"]) for line in read_all(below, part)
        )
        assert promised <= set(found)
        assert len({line["id"] for line in read_all(below, part)}) == len(found)
    stats = tracker.stats()
    assert stats["b"].received == stats["b"].delivered == len(found)
    assert stats["b"].pending == 0
    for path in parts:
        assert (stats[f"b/{path}"].pending, stats[f"b/{path}"].balanced) == (0, True)


def test_what_waits_survives_a_restart_with_its_attempts(
    track: Track, until: Until, disk: dict[str, Any]
) -> None:
    """Retries, dead letters, counts and the progress of siblings go on where they stopped."""
    FailingBackend.actions[""] = down
    leaves = {"ok": {"plugin": "rec"}, "bad": {"plugin": "fail"}}
    first = track({**disk, "max_attempts": 1_000}, **leaves)
    for number in range(20):
        first.emit("x", {"number": number})
    until(lambda: figures(first, "b/bad") == {"received": 20, "pending": 20})
    until(lambda: figures(first, "b/ok") == {"received": 20, "delivered": 20})
    first.close(0.1)
    assert figures(first, "b") == {"received": 20, "pending": 20}
    second = track({**disk, "max_attempts": 2}, **leaves)
    assert figures(second, "b") == {"received": 20, "pending": 20}  # it is not open yet
    second.open()
    assert figures(second, "b")["received"] == 20
    until(lambda: figures(second, "b") == {"received": 20, "dead_lettered": 20})
    assert figures(second, "b/bad") == {"received": 20, "dead_lettered": 20}
    second.close()
    FailingBackend.actions[""] = lambda events: None
    third = track(disk, **leaves)
    third.open()
    router(third).request(Selection(), "replay")
    until(lambda: figures(third, "b") == {"received": 20, "delivered": 20})
    assert len(RecordingBackend.recorded[""]) == 20


@pytest.mark.timeout(120)
@pytest.mark.process
def test_two_processes_share_a_store_and_another_takes_over(
    tmp_path: Path, track: Track, program: Program, disk: dict[str, Any], until: Until
) -> None:
    """Both emit, one delivers; when that one is killed, another delivers the rest within
    seconds.
    """
    below = tmp_path / "below.jsonl"
    first = program(EMITTER, disk["path"], below, "quiet")
    until(lambda: read_all(below))
    second = program(EMITTER, disk["path"], below, "quiet")
    until(lambda: len({line["data"]["by"] for line in read_all(below)}) == 2)
    holder = json.loads((Path(disk["path"]) / "deliverer.lock").read_text())
    assert holder["pid"] == first.pid
    first.kill()
    first.communicate()
    until(
        lambda: (
            json.loads((Path(disk["path"]) / "deliverer.lock").read_text())["pid"] == second.pid
        ),
        10.0,
    )
    before = len(read_all(below))
    until(lambda: len(read_all(below)) > before)
    second.kill()
    second.communicate()
    tracker = track(disk, p={"plugin": "rec", "path": f"{below}.0"})
    assert tracker.flush(30.0)
    stats = tracker.stats()["b"]
    assert stats.received == stats.delivered == len({line["id"] for line in read_all(below)})


def test_a_second_process_delivers_nothing_but_sees_the_counts(
    track: Track, disk: dict[str, Any], until: Until
) -> None:
    """Of two buffers on one folder, even within one process, one delivers; what either emits
    arrives once.
    """
    first, second = track(disk), track(disk)
    first.emit("x")
    until(lambda: RecordingBackend.recorded.get(""))
    second.emit("y")
    until(lambda: len(RecordingBackend.recorded[""]) == 2)
    until(lambda: figures(second, "b") == {"received": 2, "delivered": 2})
    first.close()
    second.emit("z")
    until(lambda: len(RecordingBackend.recorded[""]) == 3)


@pytest.mark.process
def test_a_forked_child_starts_clean(track: Track, disk: dict[str, Any], tmp_path: Path) -> None:
    """The parent's events stay the parent's; the child's are stored, even if it leaves without a
    word.
    """
    below = tmp_path / "below.jsonl"
    FailingBackend.actions[""] = down
    tracker = track(disk, bad={"plugin": "fail"}, p={"plugin": "rec", "path": str(below)})
    for number in range(5):
        tracker.emit("parent", {"number": number})
    child = os.fork()
    if child == 0:
        for number in range(20):
            tracker.emit("child", {"number": number})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    FailingBackend.actions[""] = lambda events: None
    assert tracker.flush(20.0)
    assert Counter(line["name"] for line in read_recorded(below)) == {"parent": 5, "child": 20}
    assert figures(tracker, "b") == {"received": 25, "delivered": 25}


def test_a_folder_that_cannot_be_made_keeps_events_in_memory(
    track: Track, tmp_path: Path, until: Until
) -> None:
    """The application starts, events go on from memory, and from disk as soon as that is
    possible.
    """
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    tracker = track({"storage": "disk", "path": str(obstacle / "buffer")})
    tracker.emit("x")
    until(lambda: RecordingBackend.recorded.get(""))
    assert figures(tracker, "b") == {"received": 1, "delivered": 1}
    obstacle.unlink()
    until((obstacle / "buffer" / "state.db").exists)
    tracker.emit("y")
    assert tracker.flush(20.0)
    assert figures(tracker, "b") == {"received": 2, "delivered": 2}


FULL_DISK = """
import resource
folder, below = sys.argv[1:3]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tracker = Tracker.from_config({"backends": {"b": {
    "plugin": "buffer", "storage": "disk", "path": folder, "max_batch_age_s": 0.01,
    "backends": {"p": {"plugin": "rec", "path": below}},
}}})
tracker.emit("before")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
# no file grows beyond: as good as a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for number in range(1_000):
    tracker.emit("x", {"number": number, "text": "a" * 1_000})
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
time.sleep(2)
tracker.emit("after")
print(tracker.flush(30))
stats = tracker.stats()["b"]
print(stats.balanced, stats.received, stats.delivered + stats.failed)
tracker.close()
"""


@pytest.mark.timeout(120)
@pytest.mark.process
def test_a_full_disk_stops_nobody(tmp_path: Path, program: Program, disk: dict[str, Any]) -> None:
    """Events go on from memory while the disk is full, and from disk afterwards; the
    counts add up.
    """
    below = tmp_path / "below.jsonl"
    os.truncate(os.open(below, os.O_CREAT | os.O_RDWR), 0)
    process = program(FULL_DISK, disk["path"], tmp_path / "missing" / ".." / "below.jsonl")
    (tmp_path / "missing").mkdir(exist_ok=True)
    out, err = process.communicate(timeout=60)
    assert out.split("\n")[:2] == ["True", "True 1002 1002"], err


def test_synced_events_are_stored_too(track: Track, disk: dict[str, Any]) -> None:
    """With sync = "always", the same, at the price of a sync for each emit()."""
    tracker = track({**disk, "sync": "always"})
    for _ in range(20):
        tracker.emit("x")
    assert tracker.flush(20.0)
    assert len(RecordingBackend.recorded[""]) == 20


def test_consumed_files_are_deleted(track: Track, disk: dict[str, Any], until: Until) -> None:
    """The journal does not grow with what has been delivered."""
    for _ in range(3):
        tracker = track(disk)
        tracker.emit("x")
        assert tracker.flush(20.0)
        tracker.close()
    assert journals(disk) == []
    assert figures(tracker, "b") == {"received": 3, "delivered": 3}


SIGNALLED = """
folder, below = sys.argv[1:3]
tracker = Tracker.from_config({"backends": {"b": {
    "plugin": "buffer", "storage": "disk", "path": folder, "backends": {"p": {"plugin": "rec",
    "path": below}},
}}})
for number in range(2_000):
    tracker.emit("x", {"number": number})
print("ready", flush=True)
if sys.argv[3] == "clean":
    sys.exit(0)
if sys.argv[3] == "os._exit":
    os._exit(0)
signal.pause()
"""


@pytest.mark.process
@pytest.mark.parametrize("end", ["clean", "os._exit", "SIGTERM", "SIGKILL"])
def test_every_end_of_a_process(
    tmp_path: Path, track: Track, program: Program, disk: dict[str, Any], end: str
) -> None:
    """However a process ends, what it emitted is delivered by it or by the next one."""
    below = tmp_path / "below.jsonl"
    process = program(SIGNALLED, disk["path"], below, end)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if end.startswith("SIG"):
        process.send_signal(signal.Signals[end])
    process.wait(30)
    tracker = track(disk, p={"plugin": "rec", "path": str(below)})
    assert tracker.flush(20.0)
    assert {line["data"]["number"] for line in read_recorded(below)} == set(range(2_000))
    assert figures(tracker, "b") == {"received": 2_000, "delivered": 2_000}
