"""The plugin `segment`: acknowledged batches to Segment."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend."""
    from eventtracking_segment.backend import SegmentBackend

    register("segment", SegmentBackend)
