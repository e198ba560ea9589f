"""The request: one acknowledged batch through the official client, tried again within a time limit.

The client's own queue is not used: it holds events in memory, and loses them at exit and after a
fork.
"""

from __future__ import annotations

import email.utils
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import requests
import segment.analytics
import segment.analytics.request as sdk
import urllib3

from eventtracking import DeliveryError
from eventtracking_segment._session import LongAnswerError, new_session, until

__all__ = ["Refused", "Sender", "global_host", "global_write_key", "prepare"]

_DEFAULT_HOST: Final = "https://api.segment.io"
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0
_UNREADABLE: Final = (400, 413, 422)
"""Segment cannot read the batch: too large, or one of its messages is malformed."""
_PASSING: Final = (408, 425, 429, 460)
"""Beside 5xx: the next attempt may fare better. 460 is a load balancer whose client went away."""


class Refused(Exception):  # noqa: N818 - a verdict on a batch, which becomes part of a `Rejected`
    """Raised when Segment cannot read a batch.

    Args:
        status: What it answered.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Passing(Exception):  # noqa: N818 - never leaves this module
    """A failure that the next attempt may not meet."""

    def __init__(self, what: str, pause_s: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.pause_s = pause_s


class _Discretion(logging.Filter):
    """Keep what the client logs about our requests out of the logs: it holds the events and the
    write key.
    """

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def filter(self, _record: logging.LogRecord) -> bool:
        return not getattr(self._here, "active", False)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply to what this thread logs in the meantime."""
        self._here.active = True
        try:
            yield
        finally:
            self._here.active = False


_discretion = _Discretion()
_session_of: int | None = None
"""The process that made the client's session."""


def prepare() -> None:
    """Make the client safe to use in this process.

    The client keeps one session for the whole process. Its open connections are copied by a fork,
    and two processes that write to one connection read each other's answers; so the first `open()`
    in each process gives it a new one.
    """
    global _session_of  # noqa: PLW0603 - there is one client per process
    if _session_of != os.getpid():
        sdk._session = new_session()
        _session_of = os.getpid()
    logging.getLogger("segment").addFilter(
        _discretion
    )  # a filter that is there already is not added again


@attrs.define(eq=False)
class Sender:
    """Sends batches until a deadline. One per `send`, on the thread of its caller."""

    write_key: str = attrs.field(repr=False)
    host: str
    gzip: bool
    max_retries: int
    timeout_s: float
    _deadline: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadline = time.monotonic() + self.timeout_s

    def send(self, batch: Sequence[dict[str, Any]]) -> None:
        """Return when Segment has accepted the batch.

        Raises:
            Refused: If Segment cannot read it.
            DeliveryError: If it was not accepted, for a reason that lies outside the batch.
        """
        for retries_left in range(self.max_retries, -1, -1):
            try:
                self._try_once(batch)
            except _Passing as failure:
                pause_s = self._pause_s(failure, self.max_retries - retries_left)
                if not retries_left or pause_s >= self._left_s():
                    raise DeliveryError(
                        f"Segment at {self.place} {failure.what}; it may be tried again"
                    ) from None
                time.sleep(pause_s)
            else:
                return

    @property
    def place(self) -> str:
        """The host's name, without what else the URL may hold."""
        return urlsplit(self.host).hostname or "an unknown host"

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    @staticmethod
    def _pause_s(failure: _Passing, attempt: int) -> float:
        """How long to wait: what Segment asked for, else twice as long each time, and never all at
        the same moment.
        """
        if failure.pause_s is not None:
            return failure.pause_s
        return min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _try_once(self, batch: Sequence[dict[str, Any]]) -> None:
        left_s = self._left_s()
        if left_s <= 0:
            raise _Passing(f"had no answer within timeout_s={self.timeout_s:g}")
        try:
            with _discretion.applied(), until(self._deadline):
                response = sdk.post(
                    self.write_key,
                    self.host,
                    gzip=self.gzip,
                    timeout=urllib3.Timeout(total=left_s),
                    batch=list(batch),
                )
        except sdk.APIError as error:
            self._judge(error)
        except LongAnswerError:
            raise DeliveryError(
                f"Segment at {self.place}: the answer is too long to be Segment's; check `host`"
            ) from None
        except Exception as error:  # noqa: BLE001 - the text of a network error is not ours to show
            if (
                isinstance(error, requests.Timeout) or self._left_s() <= 0
            ):  # one in the middle of a body has another type
                raise _Passing(f"had no answer within timeout_s={self.timeout_s:g}") from None
            raise _Passing(f"could not be reached ({type(error).__name__})") from None
        else:
            self._require_acceptance(response)

    def _judge(self, error: Any) -> None:
        """Tell what an answer other than 200 means."""
        status = int(error.status)
        if status in _UNREADABLE:
            raise Refused(status) from None
        if status in _PASSING or status >= 500:
            raise _Passing(
                f"answered HTTP {status}", _asked_pause_s(getattr(error, "response", None))
            ) from None
        raise self._astray(status) from None

    def _require_acceptance(self, response: Any) -> None:
        """See that it was accepted: Segment says so with 200; other good news is somebody
        else's.
        """
        status = (
            200 if response is None else int(response.status_code)
        )  # a client without answers raises for bad ones
        if status != 200:
            raise self._astray(status)

    def _astray(self, status: int) -> DeliveryError:
        """The error of an answer that is not Segment's, or not for this key."""
        if 300 <= status < 400:
            return DeliveryError(
                f"Segment at {self.place} answered with a redirect, so nothing was sent; check"
                " `host`"
            )
        advice = "check `write_key`" if status in (401, 403) else "check `host`"
        return DeliveryError(f"Segment at {self.place} answered HTTP {status}; {advice}")


def _asked_pause_s(response: Any) -> float | None:
    """Read `Retry-After`: seconds, or a date."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    readers: tuple[Callable[[str], float], ...] = (float, _until)
    for read in readers:
        try:
            return max(0.0, read(asked))
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def _until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


def global_write_key() -> str | None:
    """Return the client's own write key, as sites set it: `segment.analytics.write_key = "..."`."""
    return segment.analytics.write_key or None


def global_host() -> str:
    """Return the client's own host, `segment.analytics.host`, or Segment's."""
    return segment.analytics.host or _DEFAULT_HOST
