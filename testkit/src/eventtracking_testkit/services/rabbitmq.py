"""Start a real RabbitMQ, apart from any other on the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from eventtracking_testkit.services._binaries import find_rabbitmq
from eventtracking_testkit.services._process import free_port, port_answers
from eventtracking_testkit.services._server import Server

__all__ = ["RabbitMQServer"]

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01\x00\x00"
"""How the server's first frame begins, connection.start: a method, on channel 0."""


@attrs.define(eq=False, kw_only=True)
class RabbitMQServer(Server):
    """A RabbitMQ node of the tests' own: its name, folder, cookie, ports and `epmd` are shared with
    nobody.

    The user is `guest` with the password `guest`, the virtual host `/`. It starts in five to
    fifteen seconds.
    """

    name: ClassVar[str] = "rabbitmq-server"
    start_timeout_s: ClassVar[float] = 120.0
    grace_s: ClassVar[float] = 20.0

    epmd_port: int = attrs.field(factory=free_port, init=False)
    cluster_port: int = attrs.field(factory=free_port, init=False)

    @property
    def uri(self) -> str:
        """Its URL, with the user and the password."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def prepare(self) -> None:
        """Write its settings, and an empty list of plugins."""
        folder = self._own_folder()
        (folder / "rabbitmq.conf").write_text(_SETTINGS.format(port=self.port), encoding="utf-8")
        (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")

    def command(self) -> Sequence[str]:
        """Give the script of RabbitMQ; all else is in its variables."""
        return [str(find_rabbitmq())]

    def variables(self) -> Mapping[str, str]:
        """Give every name, folder and port of its own."""
        folder = self._own_folder()
        return {
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "HOME": str(folder),  # where the Erlang cookie is written
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_DIST_PORT": str(self.cluster_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_NODENAME": f"eventtracking{self.port}@localhost",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # No shell stays before the Erlang machine, so that signals reach the server itself.
            "RUNNING_UNDER_SYSTEMD": "1",
        }

    def answers(self) -> bool:
        """Open the protocol, and see whether the server offers a connection."""
        return port_answers(self.port, _PROTOCOL_HEADER, _METHOD_FRAME)


_SETTINGS = """\
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.relative = 0.4
log.console = true
log.console.level = warning
"""
