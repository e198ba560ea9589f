"""The processor `trace_context`: the ids of the current trace and span, in the context."""

from __future__ import annotations

import attrs
from opentelemetry import trace

from eventtracking import Event

__all__ = ["TraceContext"]


@attrs.define(eq=False)
class TraceContext:
    """Put `trace_id` and `span_id` into the context of events that are emitted inside a span.

    Only where a span is recording; an event that has a `trace_id` keeps it. Place it at the root:
    below a router that defers, the span of the caller is gone.
    """

    def __call__(self, event: Event) -> Event:
        """Add the ids, in the form of the W3C trace context."""
        span = trace.get_current_span()
        if not span.is_recording() or "trace_id" in event.context:
            return event
        found = span.get_span_context()
        if not found.is_valid:
            return event
        ids = {
            "trace_id": trace.format_trace_id(found.trace_id),
            "span_id": trace.format_span_id(found.span_id),
        }
        return event.replace(context={**event.context, **ids})
