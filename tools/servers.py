"""Start a web server that a document shows, on a socket of its own, and ask it for a page."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PATIENCE_S = 60.0
ADDRESSES = {
    "--bind 127.0.0.1:8000": "--bind unix:{}",
    "--bind 0.0.0.0:8000": "--bind unix:{}",
    "--host 127.0.0.1 --port 8000": "--uds {}",
}
"""The addresses of the documents, and a socket in their place: a port may be taken."""


def at_socket(command: str, address: str) -> str:
    """Return the command with the socket as its address; empty if it names none."""
    for shown, replaced in ADDRESSES.items():
        if shown in command:
            return command.replace(shown, replaced.format(address))
    return ""


class Server:
    """A process that serves, and its output."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self.process, self.output = process, output
        self.told = ""

    def answer(self, address: str, page: str) -> str:
        """Return a page, as soon as the server answers."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < end:
            with suppress(OSError):
                return asked(address, page)
            time.sleep(0.05)
        return ""

    def stop(self) -> None:
        """Stop it as a supervisor does."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.output.seek(0)
            self.told = self.output.read().decode()

    def problem(self) -> str:
        """Return its output, if it did not end well: uvicorn ends by the signal itself."""
        status = self.process.returncode
        return "" if status in (0, -signal.SIGTERM) else f"exit status {status}:\n{self.told}"


@contextmanager
def started(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Iterator[Server]:
    """Start a server in a folder, and stop it at the end."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        server = Server(process, output)
        try:
            yield server
        finally:
            server.stop()


def asked(address: str, page: str) -> str:
    """Ask the server at a socket for a page."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(address)
        connection.request("GET", page)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
