"""Keep one server process, through a guardian that ends it when its owner is gone."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from eventtracking_testkit.services import _guardian
from eventtracking_testkit.services._guardian import descendants, send, start_time

__all__ = ["Owner", "ServerProcess", "free_port", "port_answers"]

_LOWEST_PORT = 15_000


@attrs.frozen(kw_only=True)
class Owner:
    """The process whose end is the server's end; a start time tells it from a later one with the
    same id.
    """

    pid: int
    start: str

    @classmethod
    def of(cls, pid: int | None = None) -> Owner:
        """Name a process as owner; this one by default."""
        number = os.getpid() if pid is None else pid
        return cls(pid=number, start=start_time(number))

    @property
    def is_alive(self) -> bool:
        """Tell whether that very process still runs."""
        return self.start != "" and start_time(self.pid) == self.start


@attrs.define(eq=False)
class ServerProcess:
    """One run of one server. Not restarted: a server that starts again gets a new one."""

    guardian: subprocess.Popen[str]
    pid: int

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        owner: Owner,
        grace_s: float,
    ) -> ServerProcess:
        """Start a server under a guardian.

        Args:
            command: The program and its arguments.
            folder: What belongs to the server alone; its output goes to `output.log` in it.
            env: Variables beside those of this process.
            owner: The process that the server must not outlive.
            grace_s: Seconds that an orderly end may take.
        """
        options = [
            "--owner",
            str(owner.pid),
            "--owner-start",
            owner.start,
            "--grace-s",
            str(grace_s),
        ]
        options += ["--log", str(folder / "output.log"), "--folder", str(folder)]
        guardian = subprocess.Popen(
            [sys.executable, "-I", _guardian.__file__, *options, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **env},
            text=True,
            start_new_session=True,
        )
        assert guardian.stdout is not None  # it was asked for
        with guardian.stdout as told:
            line = told.readline()
        if not line:
            guardian.wait()
        return cls(guardian, int(line or 0))

    @property
    def is_running(self) -> bool:
        """Tell whether the server runs; a paused one does."""
        return self.guardian.poll() is None and bool(start_time(self.pid))

    def signal(self, number: int) -> None:
        """Send a signal to the server and everything it started."""
        for pid in descendants(self.guardian.pid):
            send(pid, number)

    def stop(self, timeout_s: float) -> None:
        """Let the server end in order, killing it when that takes longer than its grace."""
        self.signal(signal.SIGCONT)
        if self.guardian.poll() is None:
            self.guardian.terminate()
        self.guardian.wait(timeout_s)

    def kill(self, timeout_s: float) -> None:
        """End it as `kill -9` does, and wait until nothing of it is left."""
        self.signal(signal.SIGKILL)
        self.guardian.wait(timeout_s)


def free_port() -> int:
    """Find a free loopback port below those that the kernel gives to clients.

    A server that is down for a moment would otherwise lose its port to some client; and a client
    that knocks on a closed port of that range may reach itself.
    """
    highest = _lowest_client_port() - 1
    for _ in range(1000):
        port = random.randint(_LOWEST_PORT, highest)  # noqa: S311 - no secret, only spread
        if _is_free(port):
            return port
    message = (
        f"no free port found between {_LOWEST_PORT} and {highest} on 127.0.0.1: stop some servers"
        " and try again"
    )
    raise OSError(message)


def _lowest_client_port() -> int:
    try:
        return int(
            Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]
        )
    except (OSError, ValueError):
        return 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def port_answers(port: int, question: bytes, answer: bytes, timeout_s: float = 2.0) -> bool:
    """Ask a server on loopback something in its own protocol, and tell whether it answers as one of
    its kind.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(question)
            return connection.recv(len(answer)) == answer
    except OSError:
        return False
