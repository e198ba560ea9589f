"""Start a real Redis."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import ClassVar

import attrs

from eventtracking_testkit.services._binaries import find_redis
from eventtracking_testkit.services._process import port_answers
from eventtracking_testkit.services._server import Server

__all__ = ["RedisServer"]


@attrs.define(eq=False, kw_only=True)
class RedisServer(Server):
    """A `redis-server` of the tests' own.

    Attributes:
        persistent: Whether it keeps its data over `kill` and `start` (an append-only file, synced
            on each command).
        databases: How many numbered databases it has.
        password: Its password, new for each server. Empty: it asks for none.
    """

    name: ClassVar[str] = "redis-server"

    persistent: bool = False
    databases: int = 1024
    password: str = attrs.field(factory=lambda: secrets.token_hex(8), repr=False)

    @property
    def uri(self) -> str:
        """The URL of its first database."""
        return self.database_uri(0)

    def database_uri(self, number: int) -> str:
        """Give the URL of one of its databases, with the password if it wants one."""
        who = f":{self.password}@" if self.password else ""
        return f"redis://{who}127.0.0.1:{self.port}/{number}"

    def prepare(self) -> None:
        """Write the password where the list of processes does not show it."""
        settings = self._own_folder() / "settings"
        settings.touch(mode=0o600)
        settings.write_text(f"requirepass {self.password}\n" if self.password else "")

    def command(self) -> Sequence[str]:
        """Give `redis-server` and its arguments."""
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        keeping = [
            "--appendonly",
            "yes" if self.persistent else "no",
            "--appendfsync",
            "always",
            "--save",
            "",
        ]
        settings = str(self._own_folder() / "settings")
        return [str(find_redis()), settings, *where, *keeping, "--databases", str(self.databases)]

    def answers(self) -> bool:
        """Send PING, after the password."""
        login = f"AUTH {self.password}\r\n".encode() if self.password else b""
        expected = b"+OK\r\n" if login else b""
        return port_answers(self.port, login + b"PING\r\n", expected + b"+PONG\r\n")
