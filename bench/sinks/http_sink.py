"""The plugin `survival_sink`: a backend that posts events to the sink of the survival matrix, as
the clients of the peers do.
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence

import attrs

from eventtracking import Event, hookimpl
from eventtracking.hookspecs import Register


@attrs.define(eq=False)
class SinkBackend:
    """Post each batch on a connection of its own."""

    port: int
    timeout_s: float = 10.0
    blocking = True

    def send(self, events: Sequence[Event]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            connection.request(
                "POST", "/events", body="\n".join(event.to_json() for event in events).encode()
            )
            if connection.getresponse().status != 200:
                raise OSError("the sink refuses")
        finally:
            connection.close()


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend."""
    register("survival_sink", SinkBackend)
