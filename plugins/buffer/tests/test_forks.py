"""Forks while the files of a buffer on disk are open."""

from __future__ import annotations

from pathlib import Path

import pytest
from buffer_trials import (
    HELD,
    Options,
    Program,
    Track,
    figures,
    output,
    router,
)

from eventtracking_testkit.fakes import read_recorded

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
    output(program(HELD + DAEMON, disk["path"]))
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
    assert output(program(HELD + source, disk["path"])) == "0\n"


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
    output(program(HELD + source, disk["path"], below))
    assert [line["name"] for line in read_recorded(below)] == ["parent", "child"]
