"""The books add up on every route after each kind of kill."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from buffer_trials import (
    Options,
    Program,
    Track,
    Until,
    figures,
    router,
    take,
)

from eventtracking import Event, Rejected, Tracker
from eventtracking_testkit.fakes import FailingBackend, read_recorded

pytestmark = pytest.mark.needs("regex_filter")


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
router = next(route.backend for route in tracker.routes() if route.path == "b")
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
