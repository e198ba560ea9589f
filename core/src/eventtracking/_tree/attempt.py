"""One delivery from a router to the routes below it.

The attempt notes every outcome in `Failures` as it goes, so that the answer is right also when a
`BaseException` passes through. Where a router above counts (`defers`), the attempt counts nothing.
Where none does, each route's own ledger counts: an event enters on arrival, and `settle` ends it.
"""

from __future__ import annotations

import time
from _thread import get_ident
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
from msgspec.structs import replace

from eventtracking._pipeline.answers import failures_of
from eventtracking._pipeline.chain import Verdict
from eventtracking._pipeline.route import Group, Route
from eventtracking._tree.batches import batches_of
from eventtracking._tree.leaf import Leaf
from eventtracking.counts import ENTER, Outcome, reason_text
from eventtracking.errors import (
    DeliveryError,
    Rejected,
    describe_error,
    locate,
    pause_of,
    reason_of,
)
from eventtracking.event import Event
from eventtracking.failures import Failures

__all__ = ["DeliveryAttempt", "Passage"]

_DELIVERED: Final = Outcome.DELIVERED
_FAILED: Final = Outcome.FAILED
_FILTERED: Final = Outcome.FILTERED
_PENDING: Final = Outcome.PENDING
_PAUSED: Final = "not tried, because it is paused"


class DeliveryAttempt(msgspec.Struct, eq=False, kw_only=True):
    """One delivery to some leaves, and its answer so far.

    Timeline of a router that passes through (P) below one that holds (H)::

        H.deliver -> attempt -> P.send -> P.deliver -> narrowed attempt -> leaf.send
                        ^                                   |
                        +---- outcomes, errors, reasons ----+  merged when P.deliver ends
    """

    only: frozenset[str] | None = None
    """The leaves that it goes to; None for all."""
    first: bool = True
    """Whether the leaves have these events for the first time; a retry otherwise."""
    failures: Failures = msgspec.field(default_factory=Failures)
    ledgers: bool = False
    """Whether the routes' ledgers count, because no router above does."""
    entered: dict[str, tuple[Route, set[str]]] = msgspec.field(default_factory=dict)
    """The routes whose ledgers have events of it pending, and the ids of these."""
    resting: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Leaves that are not tried, because they are paused, and for how many seconds yet."""
    skipped: dict[str, str] | None = None
    """Of a dry delivery, which sends nothing: the reasons of routes that a router passed over."""

    def narrowed(self, leaves: Iterable[str] | None) -> DeliveryAttempt:
        """Return a part of this attempt, with an answer of its own, to be merged."""
        only = self.only
        if leaves is not None:
            only = frozenset(leaves) if only is None else only.intersection(leaves)
        return replace(self, only=only, failures=Failures())

    def wants(self, route: Route) -> bool:
        """Whether it goes to any leaf at or below a route."""
        return self.only is None or any(leaf.path in self.only for leaf in route.leaves)

    def wanted(self, route: Route) -> Sequence[Leaf]:
        """Return the leaves at or below a route that it goes to."""
        if self.only is None:
            return route.leaves
        return [leaf for leaf in route.leaves if leaf.path in self.only]

    # Down the tree

    def spread(self, routes: Sequence[Route], events: Sequence[Event]) -> None:
        """Deliver to each route that is wanted, isolated from the others."""
        escaped: BaseException | None = None
        for route in routes if events else ():
            if self.wants(route):
                try:
                    self._deliver(route, events)
                except BaseException as error:  # noqa: BLE001 - it is noted, and goes on when the siblings have the events
                    escaped = error
        if escaped is not None:
            raise escaped

    def _deliver(self, route: Route, events: Sequence[Event]) -> None:
        self._enter(route, [event.id for event in events])
        passed: Sequence[Event] = ()
        try:
            if isinstance(route, Group):
                passed = self._screen(route, events)
                self.spread(route.children, passed)
            elif isinstance(route, Passage):
                passed = self._screen(route, events)
                self.pass_through(route, passed)
            elif isinstance(route, Leaf):
                self._set(route, events, _PENDING)
                passed = self._screen(route, events)
                self._send(route, passed)
        finally:
            if isinstance(route, Group | Passage):
                self._sum_up(route, events)
            if route.tap is not None:
                route.tap.note_batch(events, passed, self.failures.outcomes[route.path])

    def _set(self, route: Route, events: Iterable[Event], outcome: Outcome) -> None:
        ids = dict.fromkeys([event.id for event in events], outcome)
        self.failures.outcomes.setdefault(route.path, {}).update(ids)

    def _screen(self, route: Route, events: Sequence[Event]) -> Sequence[Event]:
        """Run a route's processors; return the events that they let through."""
        chain = route.chain
        if chain is None:
            return events
        passed = []
        for event in events:
            try:
                result = chain.apply(event)
            except Exception as error:  # noqa: BLE001 - the chain lets none through, but for exhausted memory or stack in itself
                result = Verdict(_FAILED, describe_error(error), route.path)
            if not isinstance(result, Verdict):
                passed.append(result)
            elif result.rejected:
                for leaf in self.wanted(route):
                    self._fail(leaf, {event.id: Rejected({event.id: result.reason})})
            else:
                self._end(route, event.id, result.outcome)
                self._remark(route, result.remark, place=result.place)
        return passed

    def _remark(self, route: Route, text: str, count: int = 1, place: str = "") -> None:
        if self.ledgers:
            route.ledger.remark(text, count, place)
            return
        texts = self.failures.reasons.setdefault(route.path, {})
        texts[text] = texts.get(text, 0) + count

    def _end(self, route: Route, event_id: str, outcome: Outcome) -> None:
        """End an event at a route, and at each wanted leaf below, which it never comes to."""
        outcomes = self.failures.outcomes
        leaves = self.wanted(route)
        if isinstance(route, Group | Passage):
            self.failures.groups.add(route.path)
            fresh = not any(event_id in outcomes.get(leaf.path, ()) for leaf in leaves)
            if self.first and fresh:
                self.failures.ended.setdefault(route.path, {})[event_id] = outcome
            outcomes.setdefault(route.path, {})[event_id] = outcome
        for leaf in leaves:
            found = outcomes.setdefault(leaf.path, {})
            if found.get(event_id) is not _DELIVERED:
                found[event_id] = outcome
                self.failures.forget_error(leaf.path, event_id)

    def _sum_up(self, route: Route, events: Sequence[Event]) -> None:
        """Note the outcomes at a group: of each event the worst of the wanted leaves below."""
        outcomes = self.failures.outcomes
        self.failures.groups.add(route.path)
        below = [outcomes.get(leaf.path, {}) for leaf in self.wanted(route)]
        ended = self.failures.ended.get(route.path, {})
        own = outcomes.setdefault(route.path, {})
        for event in events:
            key = event.id
            if key in ended:
                own[key] = ended[key]
            else:
                own[key] = max(found.get(key, _PENDING) for found in below)

    # At a leaf

    def _send(self, leaf: Leaf, events: Sequence[Event]) -> None:
        """Send batches within the backend's limits; one that fails as a whole ends the rest.

        The batches behind it are not tried, and that is no attempt of theirs.
        """
        if self.skipped is not None:
            self._set(leaf, events, _DELIVERED)
            return
        if (rest_s := self.resting.get(leaf.path, 0.0)) > 0.0:
            paused = DeliveryError(_PAUSED, rest_s)
            self._fail(leaf, dict.fromkeys([event.id for event in events], paused))
            return
        stop: Exception | None = None
        for batch in batches_of(leaf.backend, events) if events else ():
            if stop is not None:
                self._fail(leaf, dict.fromkeys((event.id for event in batch), stop))
                continue
            started = time.monotonic()
            failed: dict[str, Exception] = {}
            try:
                leaf.open()
                leaf.backend.send(batch)
            except Exception as error:  # noqa: BLE001 - any exception of a backend is accounted for
                failed = failures_of(error, batch)
                stop = _stop_after(error, failed, len(batch))
            delivered = [event for event in batch if event.id not in failed]
            self._set(leaf, delivered, _DELIVERED)
            self._fail(leaf, failed)
            if delivered and leaf.on_delivered is not None:
                leaf.on_delivered(leaf.path, len(delivered), time.monotonic() - started)

    def _fail(self, leaf: Route, errors: Mapping[str, Exception]) -> None:
        """Note errors at a leaf; its events stay pending."""
        if not errors:
            return
        failures, path = self.failures, leaf.path
        failures.outcomes.setdefault(path, {}).update(dict.fromkeys(errors, _PENDING))
        failures.setdefault(path, {}).update(errors)
        for pause_s in {pause_of(error) for error in set(errors.values())}:
            if pause_s is not None:
                failures.pauses[path] = max(failures.pauses.get(path, 0.0), pause_s)

    # Through a router

    def pass_through(self, passage: Passage, events: Sequence[Event]) -> dict[str, Exception]:
        """Let a router without `defers` deliver within its `send`; return the errors of its own."""
        inner = self.narrowed(None)
        errors: dict[str, Exception] = {}
        try:
            if events:
                passage.run(inner, events)
        except Exception as error:  # noqa: BLE001 - any exception of a router is accounted for
            errors = failures_of(error, events)
        finally:
            self.failures.merge(inner.failures)
            self._note_unreached(passage, events, errors)
        if self.first:
            self._filter_unchosen(passage, [e for e in events if e.id not in errors])
        return errors

    def _note_unreached(
        self, passage: Passage, events: Sequence[Event], errors: Mapping[str, Exception]
    ) -> None:
        """Note the errors of a router at each leaf below that has no outcome or error yet."""
        for leaf in self.wanted(passage) if errors else ():
            found = self.failures.outcomes.get(leaf.path, {})
            known = self.failures.get(leaf.path, {})
            left = [e.id for e in events if found.get(e.id, _PENDING) is _PENDING]
            self._fail(leaf, {k: errors[k] for k in left if k in errors and k not in known})

    def _filter_unchosen(self, passage: Passage, events: Sequence[Event]) -> None:
        """Filter each event at the children that a router did not give it to."""
        for child in passage.below.children:
            known = self.failures.outcomes.get(child.path, {})
            self.skip(child, [event.id for event in events if event.id not in known], "not chosen")

    def skip(self, route: Route, event_ids: Collection[str], reason: str) -> None:
        """Filter events at a route; of a group, nothing below receives them."""
        known = self.failures.outcomes.get(route.path, {})
        ids = [key for key in event_ids if known.get(key) is not _DELIVERED]
        if not ids or not self.wants(route):
            return
        self._enter(route, ids)
        if self.skipped is not None:
            self.skipped[route.path] = reason
        for event_id in ids:
            self._end(route, event_id, _FILTERED)
        self._remark(route, reason_text(_FILTERED, reason), len(ids))

    def settle(
        self, leaf: Route, event_ids: Collection[str], outcome: Outcome, reason: str
    ) -> None:
        """Give events their final outcome at a leaf."""
        if not event_ids or not self.wants(leaf):
            return
        self._enter(leaf, event_ids)
        for event_id in event_ids:
            self.failures.outcomes.setdefault(leaf.path, {})[event_id] = outcome
            self.failures.forget_error(leaf.path, event_id)
        if reason:
            self._remark(leaf, reason_text(outcome, reason), len(event_ids))

    # The ledgers, where no router above counts

    def _enter(self, route: Route, event_ids: Iterable[str]) -> None:
        """Count events as received and pending, each once in an attempt."""
        if not self.ledgers:
            return
        _, known = self.entered.setdefault(route.path, (route, set()))
        fresh = set(event_ids) - known
        change = ENTER * len(fresh)
        known |= fresh  # no call between this and the addition
        route.ledger.total += change

    def settle_ledgers(self) -> None:
        """Settle every event that entered: one that still waits has failed."""
        for path in list(self.entered):
            found = self.entered.get(path)
            if found is None:
                continue
            route, ids = found
            self._note_failures(route, ids)
            outcomes = self.failures.outcomes.get(path, {})
            change = sum(_final(outcomes.get(key, _PENDING)).settle for key in ids)
            try:
                del self.entered[path]  # no call between this and the addition
            except KeyError:  # another thread has settled it meanwhile
                continue
            route.ledger.total += change

    def _note_failures(self, route: Route, ids: Collection[str]) -> None:
        for event_id, error in self.failures.get(route.path, {}).items():
            if event_id in ids:
                route.ledger.note(_FAILED, reason_of(error, event_id), 1, locate(error))


class Passage(Leaf):
    """The route of a router without `defers`, which delivers within its `send`."""

    __slots__ = ("_unsettled", "below", "joined")
    is_direct: ClassVar[bool] = False

    def __init__(self, *args: Any) -> None:
        self.joined: dict[int, DeliveryAttempt] = {}
        """The delivery from above that runs on each thread, which `deliver` joins."""
        self._unsettled: dict[int, DeliveryAttempt] = {}
        self.below = Group("", None)
        super().__init__(*args)

    @property
    def counts_itself(self) -> bool:
        """Never: core counts the events that pass through, or the router above does."""
        return False

    def take_below(self, below: Group) -> None:
        """Take the routes below."""
        self.below = below
        self.leaves = below.leaves

    def run(self, attempt: DeliveryAttempt, events: Sequence[Event]) -> None:
        """Call the router's `send`; its deliveries on this thread join the attempt."""
        if attempt.skipped is None:
            self.open()
        thread = get_ident()
        outer = self.joined.get(thread)  # a signal handler may flush within a `send`
        self.joined[thread] = attempt
        try:
            self.backend.send(events)
        finally:
            if outer is not None:
                self.joined[thread] = outer
            elif thread in self.joined:  # not in a child that was forked inside
                del self.joined[thread]

    def pass_on(self, event: Event) -> Outcome:
        """Send one event from the application; a failure below is final."""
        if not self.opened:
            self._open(patient=False)
        thread = get_ident()
        if thread in self._unsettled:  # a signal handler's exception kept it from being settled
            self._unsettled[thread].settle_ledgers()
        attempt = self._unsettled[thread] = DeliveryAttempt(ledgers=True)
        try:
            errors = attempt.pass_through(self, (event,))
        finally:
            attempt.settle_ledgers()
            self._unsettled.pop(thread, None)
        if errors:
            raise errors[event.id]
        outcomes = attempt.failures.outcomes
        found = [outcomes.get(leaf.path, {}).get(event.id, _PENDING) for leaf in self.leaves]
        return _final(max(found, default=_FILTERED))

    def settle_interrupted(self) -> None:
        """Settle the deliveries that a signal handler's exception left unsettled."""
        for thread, attempt in list(self._unsettled.items()):
            if thread not in self.joined:
                attempt.settle_ledgers()

    def reset(self) -> None:
        """Start anew in a forked child."""
        super().reset()
        self.joined.clear()
        self._unsettled.clear()


def _final(outcome: Outcome) -> Outcome:
    """Turn pending into failed: no router above will retry."""
    return _FAILED if outcome is _PENDING else outcome


def _stop_after(error: Exception, failed: Mapping[str, Exception], size: int) -> Exception | None:
    """Return the error of the batches behind a failed one; None to go on."""
    pause_s = pause_of(error)
    if pause_s is None and (len(failed) < size or isinstance(error, Rejected)):
        return None
    text = f"not tried, because the batch before failed: {describe_error(error)}"
    return DeliveryError(text, retry_after_s=pause_s or 0.0)
