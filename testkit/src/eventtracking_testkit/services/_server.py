"""Hold what every server has in common: start, stop, kill, pause, and start again where it was."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import attrs
from typing_extensions import Self

from eventtracking_testkit.services._process import Owner, ServerProcess, free_port
from eventtracking_testkit.services.errors import ServiceFailedError

__all__ = ["Server"]

_LOOK_AGAIN_S = 0.05
_START_ATTEMPTS = 3
_END_TIMEOUT_S = 30.0
_OUTPUT_SHOWN = 2_000


@attrs.define(eq=False, kw_only=True)
class Server:
    """A real server on a free loopback port, with a folder of its own.

    The port and the folder stay the same over `stop`, `kill` and `start`, so that clients find it
    again and what it had stored is there; `close` gives both up. It never outlives its owner, even
    when that is killed. Use one from a single thread.

    Attributes:
        port: Where it listens, on 127.0.0.1; 0 until the first start chooses one.
        folder: What it stores and prints; made at the first start, removed by `close`.
    """

    name: ClassVar[str]
    start_timeout_s: ClassVar[float] = 60.0
    grace_s: ClassVar[float] = 10.0

    owner: Owner = attrs.field(factory=Owner.of)
    port: int = 0
    folder: Path | None = attrs.field(default=None, init=False)
    _process: ServerProcess | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start it, and wait until it answers in its own protocol; nothing happens if it runs.

        Raises:
            ServiceUnavailableError: Its program cannot be had here.
            ServiceFailedError: It ended, or did not answer in time.
        """
        if self.is_running:
            return
        first = self.folder is None
        attempts = _START_ATTEMPTS if first and not self.port else 1
        self.folder = self.folder or Path(tempfile.mkdtemp(prefix=f"eventtracking-{self.name}-"))
        try:
            self._start_somewhere(first, attempts)
        except BaseException:
            self.kill()
            if first:
                self.close()
            raise

    def stop(self) -> None:
        """End it in order; a paused one goes on first. What it stored stays."""
        if self._process is not None:
            self._process.stop(self.grace_s + _END_TIMEOUT_S)
            self._process = None

    def kill(self) -> None:
        """End it as `kill -9` does, with all that it started. What it stored stays."""
        if self._process is not None:
            self._process.kill(_END_TIMEOUT_S)
            self._process = None

    def restart(self) -> None:
        """Stop it in order, and start it on the same port and folder."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, new ones are taken by the kernel, and nothing
        answers.
        """
        self._running().signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._running().signal(signal.SIGCONT)

    def close(self) -> None:
        """End it at once, and remove its folder. Doing it twice is fine."""
        self.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    @property
    def is_running(self) -> bool:
        """Tell whether its process is there; a paused one is."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        return self._running().pid

    @property
    def guardian_pid(self) -> int:
        """The process id of the guardian that ends it, while it runs."""
        return self._running().guardian.pid

    @property
    def address(self) -> str:
        """Where it listens, as `127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    def output(self) -> str:
        """Read all that it printed, over all of its runs."""
        log = self._own_folder() / "output.log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    # What a kind of server says about itself

    @property
    def uri(self) -> str:
        """Where it is, as its clients want it, with the user and the password if it wants them."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """Give the program and its arguments."""
        raise NotImplementedError

    def variables(self) -> Mapping[str, str]:
        """Give the variables that it needs beside those of this process."""
        return {}

    def answers(self) -> bool:
        """Ask it something in its own protocol, and tell whether the answer is right."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Write what must be in the folder before the first start."""

    def set_up(self) -> None:
        """Tell it, once it answers for the first time, what it must know."""

    # Machinery

    def _start_somewhere(self, first: bool, attempts: int) -> None:
        """Try again on another port while that is still open."""
        for left in range(attempts - 1, -1, -1):
            try:
                self._start_once(first)
            except ServiceFailedError:
                if not left:
                    raise
                self._start_over()
            else:
                return

    def _start_once(self, first: bool) -> None:
        self.port = self.port or free_port()
        if first:
            self.prepare()
        folder, command = self._own_folder(), self.command()
        self._process = ServerProcess.start(
            command, folder=folder, env=self.variables(), owner=self.owner, grace_s=self.grace_s
        )
        self._wait()
        if first:
            self.set_up()

    def _start_over(self) -> None:
        """Take another port and an empty folder: somebody was quicker at the first one."""
        self.kill()
        self.port = 0
        shutil.rmtree(self._own_folder(), ignore_errors=True)
        self._own_folder().mkdir()

    def _wait(self) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.answers():
            if not self.is_running:
                raise self._failed("ended while it started")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer within {self.start_timeout_s:g} s")
            time.sleep(_LOOK_AGAIN_S)
        if not self.is_running:
            raise self._failed("found its port taken by another server")

    def _failed(self, reason: str) -> ServiceFailedError:
        return ServiceFailedError(self.name, reason, self.output()[-_OUTPUT_SHOWN:])

    def _running(self) -> ServerProcess:
        if self._process is None:
            message = f"{self.name} is not running: call start() first"
            raise RuntimeError(message)
        return self._process

    def _own_folder(self) -> Path:
        if self.folder is None:
            message = f"{self.name} was never started, or is closed: it has no folder"
            raise RuntimeError(message)
        return self.folder
