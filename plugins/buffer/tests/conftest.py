"""What the tests of the buffer share: backends to name below it, a tracker over it, and programs to
kill.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from eventtracking import Tracker
from eventtracking_buffer.delivery.clock import Clock
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend

HERE = Path(__file__).parent
sys.path.append(str(HERE / "site"))  # the module that the trials share

from buffer_trials import router  # noqa: E402 - after the path

QUICK = {"max_batch_age_s": 0.01, "retry_base_s": 0.02, "retry_max_s": 0.1}

PRELUDE = """
import os, signal, sys, threading, time
from eventtracking import Tracker
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import FailingBackend, RecordingBackend
installed = fake_distribution(plugins={"rec": RecordingBackend, "fail": FailingBackend})
installed.__enter__()
"""


@attrs.define(eq=False)
class StoppedClock:
    """A clock that only a test moves. Give a buffer its `clock` before anything is sent."""

    now: float = 1_000_000.0

    @property
    def clock(self) -> Clock:
        """The clock of one buffer."""
        return Clock(monotonic=lambda: self.now, time=lambda: self.now)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def stopped_clock() -> StoppedClock:
    """Return a clock for `track`: `track({**storage, "clock": stopped_clock}, ...)`."""
    return StoppedClock()


@pytest.fixture(autouse=True)
def _plugins() -> Iterator[None]:
    RecordingBackend.forget()  # other distributions' tests use it, too
    FailingBackend.forget()
    with fake_distribution(plugins={"rec": RecordingBackend, "fail": FailingBackend}):
        yield
    RecordingBackend.forget()
    FailingBackend.forget()


@pytest.fixture(params=["memory", "disk"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the options of each kind of buffer."""
    return {"storage": request.param} | (
        {"path": str(tmp_path / "buffer")} if request.param == "disk" else {}
    )


@pytest.fixture
def track() -> Iterator[Callable[..., Tracker]]:
    """Return a function that makes a tracker over one buffer at `b`; it is closed after the test,
    and the law holds.
    """
    made: list[Tracker] = []

    def make(options: dict[str, Any], **backends: Any) -> Tracker:
        clock = options.get("clock")
        node = {
            "plugin": "buffer",
            **QUICK,
            **{name: value for name, value in options.items() if name != "clock"},
            "backends": backends or {"ok": {"plugin": "rec"}},
        }
        made.append(Tracker.from_config({"backends": {"b": node}}))
        if clock is not None:
            router(made[-1]).clock = clock.clock
        return made[-1]

    yield make
    for tracker in made:
        tracker.close(5.0)
        assert all(counts.balanced for counts in tracker.stats().values()), tracker.stats()


@pytest.fixture
def disk(tmp_path: Path) -> dict[str, Any]:
    """Return the options of a buffer on disk."""
    return {"storage": "disk", "path": str(tmp_path / "buffer")}


@pytest.fixture
def until() -> Callable[..., None]:
    """Return a function that waits until something is true, and fails if it never is."""

    def wait(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it never became true"
            time.sleep(0.01)

    return wait


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a program of the test's own; `rec` and `fail` are installed in
    it.
    """
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: object) -> subprocess.Popen[str]:
        file = tmp_path / f"program{len(started)}.py"
        file.write_text(PRELUDE + textwrap.dedent(source))
        command = [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            str(file),
            *map(str, arguments),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
