"""The predecessor's name for the exceptions of processors."""

from eventtracking_legacy.exceptions import (
    EventEmissionExit,
    NoBackendEnabled,
    NoTransformerImplemented,
)

__all__ = ["EventEmissionExit", "NoBackendEnabled", "NoTransformerImplemented"]
