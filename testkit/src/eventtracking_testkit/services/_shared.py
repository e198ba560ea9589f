"""Share one server between all processes of a test run: the first that needs it starts it, the
run's end ends it.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from eventtracking_testkit.services._guardian import send
from eventtracking_testkit.services._process import Owner
from eventtracking_testkit.services._server import Server
from eventtracking_testkit.services.errors import ServiceUnavailableError

__all__ = ["TestRun"]

_END_TIMEOUT_S = 30.0
_PREFIX = "eventtracking-run-"

_left_running: list[Server] = []
"""Servers that this process started for the whole run; kept, so that none is taken for forgotten.
"""


@attrs.frozen
class TestRun:
    """One run of the tests, known by the process that leads it.

    All its processes (the leader, and xdist's workers) find each other's servers in one folder,
    under one lock. The guardian of each server watches the leader: whatever becomes of the others,
    a server ends with the run.
    """

    __test__ = False  # pytest takes every class of that name for one of tests

    leader: Owner

    @property
    def folder(self) -> Path:
        """Where the run's servers are written down."""
        return Path(tempfile.gettempdir()) / f"{_PREFIX}{self.leader.pid}-{self.leader.start}"

    def server(self, name: str, make: Callable[[Owner], Server]) -> str:
        """Give the URI of one of the run's servers, and start it if nobody has.

        Args:
            name: What the run calls it.
            make: Makes it, not started, for its owner.

        Raises:
            ServiceUnavailableError: It cannot be had; found out once for the whole run.
        """
        with self._locked(name) as note:
            known: dict[str, Any] = (
                json.loads(note.read_text()) if note.exists() else self._start(make, note)
            )
        if "reason" in known:
            raise ServiceUnavailableError(known["service"], known["reason"])
        return str(known["uri"])

    def end(self) -> None:
        """End all servers of the run, and forget it."""
        notes = [json.loads(note.read_text()) for note in self.folder.glob("*.json")]
        started = [note for note in notes if "guardian" in note]
        for note in started:
            if Owner(pid=note["guardian"], start=note["guardian_start"]).is_alive:
                send(note["guardian"], signal.SIGTERM)
        for note in started:
            _wait_for_end(Owner(pid=note["guardian"], start=note["guardian_start"]))
            shutil.rmtree(note["folder"], ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        _forget_killed_runs()

    @contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.folder / f"{name}.json"

    def _start(self, make: Callable[[Owner], Server], note: Path) -> dict[str, Any]:
        try:
            known = _describe(_started(make(self.leader)))
        except ServiceUnavailableError as error:
            known = {"service": error.service, "reason": error.reason}
        note.write_text(json.dumps(known))
        return known


def _forget_killed_runs() -> None:
    """Remove the folders of runs that were killed; their servers are gone with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid, _, start = folder.name.removeprefix(_PREFIX).partition("-")
        if pid.isdigit() and not Owner(pid=int(pid), start=start).is_alive:
            shutil.rmtree(folder, ignore_errors=True)


def _started(server: Server) -> Server:
    server.start()
    _left_running.append(server)
    return server


def _describe(server: Server) -> dict[str, Any]:
    guardian = Owner.of(server.guardian_pid)
    facts = {
        "guardian": guardian.pid,
        "guardian_start": guardian.start,
        "folder": str(server.folder),
    }
    return {"uri": server.uri, **facts}


def _wait_for_end(process: Owner) -> None:
    deadline = time.monotonic() + _END_TIMEOUT_S
    while process.is_alive and time.monotonic() < deadline:
        time.sleep(0.02)
