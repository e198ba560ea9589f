"""The plugins of core's own tests: a distribution that is really installed (its `.dist-info` is in
the folder `installed`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import attrs
import msgspec

from eventtracking import DeliveryError, DropEvent, Event, Rejected, hookimpl
from eventtracking.counts import Counts
from eventtracking.protocols import Downstream

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
    downstream: Downstream = attrs.field(init=False)

    def bind(self, downstream: Downstream) -> None:
        self.downstream = downstream
        ROUTERS[self.key] = self

    def send(self, events: Sequence[Event]) -> None:
        self.downstream.deliver(events)


@attrs.define(eq=False)
class Holding:
    """A router that holds everything until the test moves it, and counts itself."""

    key: str = ""
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
