"""Whatever becomes of the process that started a server, the server does not outlive it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eventtracking_testkit.services._guardian import descendants, start_time
from eventtracking_testkit.services._process import Owner
from eventtracking_testkit.services._shared import TestRun
from eventtracking_testkit.services.redis import RedisServer

HOLDER = """
import sys, time
from eventtracking_testkit.services import {kind}
server = {kind}()
server.start()
print(server.guardian_pid, server.folder, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@contextmanager
def held(kind: str) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """Start a process that starts a server; give it, the guardian's process id and the server's
    folder.
    """
    script = HOLDER.format(kind=kind)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        guardian, folder = holder.stdout.readline().split()
        try:
            yield holder, int(guardian), Path(folder)
        finally:
            holder.kill()


@pytest.mark.timeout(180)
@pytest.mark.service
@pytest.mark.parametrize("kind", ["RedisServer", "MongoServer", "RabbitMQServer"])
def test_a_killed_owner_takes_its_server_along(kind: str) -> None:
    """After `kill -9` of the owner, neither guardian, nor server, nor anything it started, nor its
    folder is left.
    """
    with held(kind) as (holder, guardian, folder):
        processes = [Owner.of(pid) for pid in [guardian, *descendants(guardian)]]
        assert len([process for process in processes if process.is_alive]) >= 2
        assert folder.exists()
        holder.kill()
        wait_until(lambda: not any(process.is_alive for process in processes))
        wait_until(lambda: not folder.exists())


@pytest.mark.service
def test_a_killed_guardian_takes_the_server_along() -> None:
    """Even without its guardian the server ends, by the kernel's hand."""
    with held("RedisServer") as (_, guardian, folder):
        (server,) = [Owner.of(pid) for pid in descendants(guardian)]
        os.kill(guardian, signal.SIGKILL)
        wait_until(lambda: not server.is_alive)
    shutil.rmtree(folder)


@pytest.mark.service
def test_what_a_server_started_ends_with_it() -> None:
    """Killing RabbitMQ's own process ends the `epmd` too that it left behind as a daemon."""
    with held("RabbitMQServer") as (_, guardian, folder):
        processes = [Owner.of(pid) for pid in descendants(guardian)]
        names = {
            Path(f"/proc/{process.pid}/comm").read_text().strip()
            for process in processes
            if process.is_alive
        }
        assert "epmd" in names
        os.kill(processes[0].pid, signal.SIGKILL)
        wait_until(lambda: not any(process.is_alive for process in processes))
    shutil.rmtree(folder)


def at(uri: str) -> RedisServer:
    """Name a server that runs, to ask it something."""
    where = urlsplit(uri)
    return RedisServer(port=where.port or 0, password=where.password or "")


@pytest.mark.service
def test_a_run_shares_one_server_and_ends_it() -> None:
    """Two that ask within one run get the same server; the end of the run ends it and forgets the
    run.
    """
    with subprocess.Popen(["sleep", "600"]) as leader:
        run = TestRun(Owner.of(leader.pid))
        uri = run.server("redis", lambda owner: RedisServer(owner=owner))
        assert (
            TestRun(Owner.of(leader.pid)).server("redis", lambda owner: RedisServer(owner=owner))
            == uri
        )
        assert run.folder.exists()
        run.end()
        assert not run.folder.exists()
        assert not at(uri).answers()
        leader.kill()


@pytest.mark.service
def test_a_run_whose_leader_is_killed_ends_its_servers() -> None:
    """A shared server ends with the leader of the run, though another process started it."""
    with subprocess.Popen(["sleep", "600"]) as leader:
        run = TestRun(Owner.of(leader.pid))
        uri = run.server("redis", lambda owner: RedisServer(owner=owner))
        server = at(uri)
        assert server.answers()
        leader.kill()
    wait_until(lambda: not server.answers())
    assert run.folder.exists()
    TestRun(Owner(pid=0, start="")).end()  # any later run cleans up
    assert not run.folder.exists()


@pytest.mark.process
def test_a_process_is_known_by_id_and_start() -> None:
    """An owner is this process, not a later one that got its id; a zombie counts as gone."""
    assert Owner.of().is_alive
    assert not Owner(pid=os.getpid(), start="1").is_alive
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: not start_time(ended.pid))
