"""Let Celery tasks run in the context of the code that sent them."""

from __future__ import annotations

import json
from typing import Any, Final

from celery import signals

from eventtracking import Event
from eventtracking.tracker import get_tracker

__all__ = ["connect"]

_HEADER: Final = "eventtracking_context"
_NAME: Final = "eventtracking_django.task"


def connect() -> None:
    """Carry the context along with every task of this process.

    Connecting twice is connecting once.
    """
    signals.before_task_publish.connect(_add_context, weak=False, dispatch_uid=f"{_HEADER}.publish")
    signals.task_prerun.connect(_enter, weak=False, dispatch_uid=f"{_HEADER}.enter")
    signals.task_postrun.connect(_leave, weak=False, dispatch_uid=f"{_HEADER}.leave")


def _add_context(headers: Any = None, **_: Any) -> None:
    context = get_tracker().resolve_context()
    if context and isinstance(headers, dict):
        headers.setdefault(_HEADER, _as_json(context))


def _as_json(context: dict[str, Any]) -> str:
    """Write values in the form that every store shows, so that a key has one form everywhere."""
    event = json.loads(Event(name="task", context=context).to_json())
    return json.dumps(event["context"])


def _enter(task: Any = None, **_: Any) -> None:
    get_tracker().enter_context(_NAME, _context_of(task))


def _leave(**_: Any) -> None:
    get_tracker().exit_context(_NAME)


def _context_of(task: Any) -> dict[str, Any]:
    try:
        context = json.loads(getattr(task.request, _HEADER, None) or "{}")
    except (TypeError, ValueError):  # somebody else's header of that name
        return {}
    return context if isinstance(context, dict) else {}
