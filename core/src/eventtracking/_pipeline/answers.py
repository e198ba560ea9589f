"""The meaning of an exception from `Backend.send`, for each event of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from eventtracking.errors import DeliveryError, Rejected, Undelivered
from eventtracking.event import Event

__all__ = ["failures_of"]

_REASON: Final = "no reason given"


def failures_of(error: Exception, events: Sequence[Event]) -> dict[str, Exception]:
    """Return the error of each event that was not delivered, by its id.

    A `Rejected` is final, any other error may be tried again. An answer that contradicts itself
    says nothing that can be trusted: the whole batch has failed, and the reason says so.
    """
    ids = [event.id for event in events]
    if isinstance(error, Rejected):
        fault = _fault(error, ids, error.reasons, {})
        found: dict[str, Exception] = {} if fault else _rejections(error.reasons)
    elif isinstance(error, Undelivered):
        fault = _fault(error, ids, error.retry, error.rejected)
        found = {} if fault else _rejections(error.rejected)
        if not fault:
            pause_s = error.retry_after_s
            found |= {
                key: Undelivered({key: _text(reason)}, retry_after_s=pause_s)
                for key, reason in error.retry.items()
            }
    else:
        return dict.fromkeys(ids, error)
    return dict.fromkeys(ids, DeliveryError(fault)) if fault else found


def _rejections(reasons: Mapping[str, str]) -> dict[str, Exception]:
    return {key: Rejected({key: _text(reason)}) for key, reason in reasons.items()}


def _text(reason: object) -> str:
    return reason if isinstance(reason, str) and reason else _REASON


def _fault(
    error: Exception, ids: Sequence[str], first: Mapping[str, str], second: Mapping[str, str]
) -> str:
    """Say how an answer contradicts itself; empty if it does not."""
    name = type(error).__name__
    if not first and not second:
        return f"{name} names no event; name at least one, or return"
    if not first.keys().isdisjoint(second):
        return f"{name} names an event both to be retried and rejected; name it once"
    unknown = len((first.keys() | second.keys()).difference(ids))
    if unknown:
        return f"{name} names {unknown} id(s) that are not in the batch; use the ids of `events`"
    return ""
