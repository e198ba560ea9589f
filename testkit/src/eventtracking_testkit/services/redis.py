"""Start a real Redis."""

from __future__ import annotations

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
    """

    name: ClassVar[str] = "redis-server"

    persistent: bool = False
    databases: int = 1024

    @property
    def uri(self) -> str:
        """The URL of its first database."""
        return self.database_uri(0)

    def database_uri(self, number: int) -> str:
        """Give the URL of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

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
        return [str(find_redis()), *where, *keeping, "--databases", str(self.databases)]

    def answers(self) -> bool:
        """Send PING."""
        return port_answers(self.port, b"PING\r\n", b"+PONG\r\n")
