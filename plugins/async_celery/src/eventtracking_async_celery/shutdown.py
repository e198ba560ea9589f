"""The end of a pool process: it leaves without the exit functions of Python, so what it holds is
delivered on Celery's signal.

That holds for every tracker of the process, whether its events came from this plugin's tasks or
from the application's.
"""

from __future__ import annotations

from typing import Any

from celery import signals

from eventtracking.tracker import live_trackers

__all__: list[str] = []


@signals.worker_process_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _close_trackers(**_: Any) -> None:
    for tracker in live_trackers():
        tracker.close()
