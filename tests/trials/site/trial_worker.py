"""The Celery app of the trials' workers: the plugin's own, which also writes its counts down after
each task.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
from celery import signals

from eventtracking.tracker import get_tracker
from eventtracking_async_celery.worker import app

__all__ = ["app"]


@signals.task_postrun.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _write_counts(**_: Any) -> None:
    """Replace this process's file of counts in one step: a kill leaves the former or the
    new one.
    """
    counts = {path: attrs.asdict(count) for path, count in get_tracker().stats().items()}
    file = Path(os.environ["TRIAL_COUNTS"], f"counts.{os.getpid()}")
    draft = file.with_name(f"draft.{os.getpid()}")
    draft.write_text(json.dumps(counts), encoding="utf-8")
    draft.replace(file)
