"""The plugins of core's own tests: a distribution that is really installed (its `.dist-info` is in
the folder `installed`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import attrs
import msgspec

from eventtracking import (
    Counts,
    DeliveryError,
    DropEvent,
    Event,
    OptionsError,
    Outcome,
    Rejected,
    hookimpl,
)
from eventtracking.counts import ENTER, Ledger
from eventtracking.protocols import Downstream, Failures
from eventtracking.standing import Tally

RECORDED: defaultdict[str, list[Event]] = defaultdict(list)
"""What `Recording` received, by its `key`."""
CALLS: defaultdict[str, list[str]] = defaultdict(list)
"""The life of `Recording`, by its `key`."""
ACTIONS: dict[str, Callable[[Sequence[Event]], None]] = {}
"""What `Failing` does with a batch, by its `key`."""
ROUTERS: dict[str, Any] = {}
"""The routers, by their `key`."""


def forget_everything() -> None:
    """Start a test with nothing recorded."""
    for memory in (RECORDED, CALLS, ACTIONS, ROUTERS):
        memory.clear()


@attrs.define(eq=False)
class Recording:
    """Remember what was sent."""

    key: str = attrs.field(default="", metadata={"help": "Under which key to remember."})
    size: Annotated[int, msgspec.Meta(ge=1, le=9)] = attrs.field(
        default=1, metadata={"help": "A number."}
    )
    mode: Literal["fast", "safe"] = attrs.field(default="fast", metadata={"help": "A choice."})
    password: str | None = attrs.field(default=None, repr=False, metadata={"help": "A secret."})
    ratio: float = attrs.field(default=0.5, validator=attrs.validators.lt(1.0))

    def open(self) -> None:
        CALLS[self.key].append("open")

    def send(self, events: Sequence[Event]) -> None:
        RECORDED[self.key].extend(events)

    def flush(self, timeout_s: float) -> None:
        CALLS[self.key].append("flush")

    def close(self) -> None:
        CALLS[self.key].append("close")


@attrs.define(eq=False)
class Failing:
    """Do to each batch what the test says."""

    key: str = ""
    blocking: ClassVar[bool] = True

    def send(self, events: Sequence[Event]) -> None:
        ACTIONS[self.key](events)


@attrs.define(eq=False)
class Owning:
    """Want a thing for itself alone."""

    thing: str = "t"

    def __attrs_post_init__(self) -> None:
        1 / len(self.thing)

    def exclusive(self) -> Any:
        return "no mapping" if self.thing == "wrong" else {"thing": self.thing}

    def send(self, events: Sequence[Event]) -> None:
        pass


@attrs.define(eq=False)
class Telling:
    """Quote a secret in an error."""

    secret: str = attrs.field(default="", repr=False)

    def __attrs_post_init__(self) -> None:
        raise ValueError(f"no such thing as {self.secret!r} or {json.dumps(self.secret)}")

    def send(self, events: Sequence[Event]) -> None:
        pass


@attrs.define(eq=False)
class Unopenable:
    """Never open."""

    def open(self) -> None:
        raise DeliveryError("the door is locked")

    def send(self, events: Sequence[Event]) -> None:
        pass


@attrs.define(eq=False)
class Passing:
    """A router that holds nothing: it delivers while it is sent to."""

    key: str = ""
    refuses: str | None = None
    downstream: Downstream = attrs.field(init=False)
    act: Callable[[Downstream, Sequence[Event]], object] | None = attrs.field(
        init=False, default=None
    )
    """What `send` does instead."""

    def bind(self, downstream: Downstream) -> None:
        if self.refuses is not None:
            raise OptionsError({"refuses": self.refuses})
        self.downstream = downstream
        ROUTERS[self.key] = self

    def send(self, events: Sequence[Event]) -> None:
        if self.act is not None:
            self.act(self.downstream, events)
        else:
            self.downstream.deliver(events)


@attrs.define(eq=False)
class Deferring:
    """A router that holds events, delivers them when the test says so, and keeps all counts."""

    key: str = ""
    defers: ClassVar[bool] = True
    downstream: Downstream = attrs.field(init=False)
    ledger: Ledger = attrs.field(init=False, factory=Ledger)
    tally: Tally = attrs.field(init=False)
    held: dict[str, Event] = attrs.field(init=False, factory=dict)
    standings: dict[str, dict[str, Outcome]] = attrs.field(init=False, factory=dict)

    def bind(self, downstream: Downstream) -> None:
        self.downstream = downstream
        self.tally = Tally(downstream.routes)
        ROUTERS[self.key] = self

    def send(self, events: Sequence[Event]) -> None:
        for event in events:
            self.held[event.id] = event
            self.standings[event.id] = {}
            self.ledger.total += ENTER

    def deliver(self, lane: str | None = None) -> Failures:
        """Deliver what is held to one lane, or to all: first where it never was, then again."""
        answer, routes = Failures(), self.downstream.routes
        leaves = routes.leaves if lane is None else self.downstream.lanes[lane]
        parts: dict[tuple[bool, frozenset[str]], list[Event]] = {}
        for event in self.held.values():
            standing = self.standings[event.id]
            new = frozenset(leaf for leaf in leaves if leaf not in standing)
            again = frozenset(leaf for leaf in leaves if routes.waits_at(leaf, standing)) - new
            for first, wanted in ((True, new), (False, again)):
                if wanted:
                    parts.setdefault((first, wanted), []).append(event)
        for (first, wanted), events in parts.items():
            try:
                self.downstream.deliver(events, only=wanted, first=first, into=answer)
            finally:
                for event in events:
                    self.move(event.id, answer.standing(event.id))
        self.tally.remark(answer.reasons)
        return answer

    def move(self, event_id: str, new: Mapping[str, Outcome]) -> None:
        """Note how an event stands now."""
        before = self.standings[event_id]
        after = self.standings[event_id] = {**before, **new}
        self.tally.move(before, after)
        if self.downstream.routes.is_settled(after) and event_id in self.held:
            del self.held[event_id]
            change = self.downstream.routes.worst(after).settle
            self.ledger.total += change

    def counts(self) -> dict[str, Counts]:
        return {self.downstream.path: self.ledger.counts(), **self.tally.counts()}


@attrs.define(eq=False)
class Holding:
    """A router that holds everything for good, and counts its own path alone."""

    key: str = ""
    defers: ClassVar[bool] = True
    downstream: Downstream = attrs.field(init=False)
    held: list[Event] = attrs.field(init=False, factory=list)
    refusing: bool = attrs.field(init=False, default=False)

    def bind(self, downstream: Downstream) -> None:
        self.downstream = downstream
        ROUTERS[self.key] = self

    def send(self, events: Sequence[Event]) -> None:
        if self.refusing:
            raise OSError
        self.held.extend(events)

    def counts(self) -> dict[str, Counts]:
        return {self.downstream.path: Counts(received=len(self.held), pending=len(self.held))}


@attrs.define(eq=False)
class Stamp:
    """Add a key to the data."""

    key: str = "stamped"

    def __call__(self, event: Event) -> Event:
        return event.replace(data={**event.data, self.key: True})


@attrs.define(eq=False)
class Picky:
    """Break on an event with a `poison` in its data."""

    def __call__(self, event: Event) -> Event:
        if "poison" in event.data:
            raise KeyError(event.data["poison"])
        return event


@attrs.define(eq=False)
class Drop:
    """Filter everything out."""

    reason: str = "not wanted"

    def __call__(self, event: Event) -> Event:
        raise DropEvent(self.reason)


@attrs.define(eq=False)
class ByName:
    """Accept one name, and count how often it was asked."""

    name: str
    asked: ClassVar[list[str]] = []

    def accepts(self, name: str) -> bool:
        self.asked.append(name)
        return name == self.name

    def __call__(self, event: Event) -> Event:
        return event


@attrs.define(eq=False)
class Returns:
    """Return something that is no event."""

    what: Literal["none", "list", "other id"] = "none"

    def __call__(self, event: Event) -> Any:
        return {"none": None, "list": [event], "other id": event.replace(id="other")}[self.what]


@hookimpl
def eventtracking_register_backends(register: Any) -> None:
    register("recording", Recording)
    register("failing", Failing)
    register("holding", Holding)
    register("owning", Owning)
    register("telling", Telling)
    register("unopenable", Unopenable)
    register("passing", Passing)
    register("deferring", Deferring)


@hookimpl
def eventtracking_register_processors(register: Any) -> None:
    register("stamp", Stamp)
    register("picky", Picky)
    register("drop", Drop)
    register("by_name", ByName)
    register("returns", Returns)


def reject(reason: str = "bad") -> Callable[[Sequence[Event]], None]:
    """Refuse every event for good."""

    def action(events: Sequence[Event]) -> None:
        raise Rejected({event.id: reason for event in events})

    return action


def fail(error: BaseException) -> Callable[[Sequence[Event]], None]:
    """Raise an error."""

    def action(events: Sequence[Event]) -> None:
        raise error

    return action
