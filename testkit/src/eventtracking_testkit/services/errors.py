"""Say why a server is not to be had."""

from __future__ import annotations

__all__ = ["ServiceFailedError", "ServiceUnavailableError"]


class ServiceUnavailableError(Exception):
    """A server's program cannot be had on this machine.

    Attributes:
        service: Which one, such as `mongod`.
        reason: Why, and what to do about it.
    """

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(service, reason)
        self.service = service
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.service} cannot be had here: {self.reason}"


class ServiceFailedError(Exception):
    """A server was started and does not answer.

    Attributes:
        service: Which one.
        reason: What happened.
        output: The end of what it printed.
    """

    def __init__(self, service: str, reason: str, output: str) -> None:
        super().__init__(service, reason, output)
        self.service = service
        self.reason = reason
        self.output = output

    def __str__(self) -> str:
        return f"{self.service} {self.reason}; the end of its output:\n{self.output}"
