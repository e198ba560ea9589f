"""The backend `acme_lake` of eventtracking."""

from collections.abc import Callable
from typing import Any

from eventtracking import hookimpl

__all__ = ["EVENTTRACKING_CONTRACT", "eventtracking_register_backends"]

EVENTTRACKING_CONTRACT = 1
"""The version of the plugin contract that this was written for."""


@hookimpl
def eventtracking_register_backends(register: Callable[[str, type[Any]], None]) -> None:
    """Register the backend."""
    from acme_lake.backend import LakeBackend

    register("acme_lake", LakeBackend)
