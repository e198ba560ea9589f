"""The Celery application of the survival matrix: a task that emits, and is not done yet when its
worker is killed.
"""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

from survival_scene import FEW, emit_some, emitter

__all__ = ["app"]

celery: Any = importlib.import_module("celery")  # by name: it is in the environments of others
app = celery.Celery("survival", broker=os.environ["SURVIVAL_BROKER"])
app.conf.task_default_queue = os.environ["SURVIVAL_QUEUE"]
app.conf.broker_connection_retry_on_startup = True

_emit = emitter(os.environ["SURVIVAL_SYSTEM"])


@app.task(name="survival.work")  # type: ignore[untyped-decorator]  # imported by name
def work() -> None:
    """Emit, say so, and go on with something else."""
    emit_some(_emit, FEW)
    Path(os.environ["SURVIVAL_FOLDER"], "emitted").touch()
    time.sleep(60)
