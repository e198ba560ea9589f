"""The worker of the OpenTelemetry SDK for logs: its batch processor before an exporter that forgets
everything.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from _events import CONTEXT, LARGE, NAME, SMALL
from _worker import serve

sdk: Any = importlib.import_module(
    "opentelemetry.sdk._logs"
)  # by name: it is in an environment of its own
export: Any = importlib.import_module("opentelemetry.sdk._logs.export")
severity: Any = importlib.import_module("opentelemetry._logs").SeverityNumber.INFO


class NullExporter(export.LogRecordExporter):  # type: ignore[misc]  # the base is imported by name
    """Forget everything."""

    def export(self, _batch: Any) -> Any:
        return export.LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, _timeout_millis: int = 0) -> bool:
        return True


def emitting(data: dict[str, Any]) -> Callable[[], object]:
    """Return what emits one record, with the context as its attributes."""
    provider = sdk.LoggerProvider()
    provider.add_log_record_processor(export.BatchLogRecordProcessor(NullExporter()))
    emit = provider.get_logger("bench").emit
    return lambda: emit(
        timestamp=time.time_ns(),
        severity_number=severity,
        event_name=NAME,
        body=data,
        attributes=CONTEXT,
    )


if __name__ == "__main__":
    serve({"null": lambda: emitting(SMALL), "large": lambda: emitting(LARGE)})
