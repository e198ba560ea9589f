"""Plugins that break the contract, each in one thing, and the test that must catch it (`CAUGHT_BY`)."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
from good import GoodBackend, GoodProcessor, GoodRouter

from eventtracking import DropEvent, Event, Rejected

_SENDING = threading.Lock()


@attrs.define(eq=False)
class ChangesEvents(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        for event in events:
            event.data["_id"] = 1
        super().send(events)


@attrs.define(eq=False)
class SendsTheFirstOnly(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        super().send(events[:1])


@attrs.define(eq=False)
class ActsWhenBuilt(GoodBackend):
    def __attrs_post_init__(self) -> None:
        Path(self.path).touch()


@attrs.define(eq=False)
class StoresAgain(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        with self.exclusive() as file, file.open("a") as target:
            target.write("".join(event.to_json() + "\n" for event in events))


@attrs.define(eq=False)
class StopsHalfWay(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        for event in events:
            json.dumps(event.data, default=self._refuse_objects)
            super().send([event])

    def _refuse_objects(self, value: Any) -> str:
        if type(value) is object:
            raise TypeError("no JSON")
        return str(value)


@attrs.define(eq=False)
class RaisesWhatCannotPickle(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        if any("poison" in event.data for event in events):
            raise NeedsTwoError(1, 2)
        super().send(events)


class NeedsTwoError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


@attrs.define(eq=False)
class ClosesOnce(GoodBackend):
    closed: bool = attrs.field(init=False, default=False)

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True


@attrs.define(eq=False)
class FlushesWhileOpen(ClosesOnce):
    def flush(self, timeout_s: float) -> None:
        if self.closed:
            raise ValueError("closed")

    def close(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class NeedsOpen(GoodBackend):
    connection: list[str] | None = attrs.field(init=False, default=None)

    def open(self) -> None:
        self.connection = []

    def close(self) -> None:
        assert self.connection is not None, "never opened"


@attrs.define(eq=False)
class ShowsItsPassword(GoodBackend):
    password: str = attrs.field(default="", metadata={"help": "A secret."})


@attrs.define(eq=False)
class TellsItsPassword(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        try:
            super().send(events)
        except OSError:
            raise ConnectionError(f"cannot log in with {self.password}") from None


@attrs.define(eq=False)
class SaysNoHelp(GoodBackend):
    size: int = 1


@attrs.define(eq=False)
class TakesAnything(GoodBackend):
    size: int | str | float | list[Any] | dict[str, Any] | None = attrs.field(default=1, metadata={"help": "A size."})


@attrs.define(eq=False)
class SwallowsErrors(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        with contextlib.suppress(OSError):
            super().send(events)


@attrs.define(eq=False)
class BlamesTheEvents(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        try:
            super().send(events)
        except OSError:
            raise Rejected({event.id: "down" for event in events}) from None


@attrs.define(eq=False)
class ParentsOnly(GoodBackend):
    pid: int = attrs.field(init=False, default=0)

    def open(self) -> None:
        self.pid = self.pid or os.getpid()

    def send(self, events: Sequence[Event]) -> None:
        if self.pid != os.getpid():
            return
        super().send(events)


@attrs.define(eq=False)
class OneThreadOnly(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        if not _SENDING.acquire(blocking=False):
            raise RuntimeError("busy")
        try:
            super().send(events)
        finally:
            _SENDING.release()


@attrs.define(eq=False)
class CutsText(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        cut = [e.replace(data={k: v[:1024] if isinstance(v, str) else v for k, v in e.data.items()}) for e in events]
        super().send(cut)


@attrs.define(eq=False)
class ReturnsNothing(GoodProcessor):
    def __call__(self, event: Event) -> Any:
        return None


@attrs.define(eq=False)
class GivesAnotherId(GoodProcessor):
    def __call__(self, event: Event) -> Event:
        return Event(name=event.name, data=event.data)


@attrs.define(eq=False)
class ChangesInPlace(GoodProcessor):
    def __call__(self, event: Event) -> Event:
        event.context["seen"] = True
        return event


@attrs.define(eq=False)
class TellsValues(GoodProcessor):
    def __call__(self, event: Event) -> Event:
        raise DropEvent(f"the data is {event.data}")


@attrs.define(eq=False)
class ChangesItsMind(GoodProcessor):
    answers: list[bool] = attrs.field(init=False, factory=list)

    def accepts(self, name: str) -> bool:
        self.answers.append(True)
        return len(self.answers) % 2 == 0


@attrs.define(eq=False)
class MoreThanTheName(GoodProcessor):
    name_only: ClassVar[bool] = True

    def __call__(self, event: Event) -> Event:
        raise DropEvent("no")


@attrs.define(eq=False)
class BreaksOnOddNames(GoodProcessor):
    def __call__(self, event: Event) -> Event:
        event.name.encode()
        return super().__call__(event)


@attrs.define(eq=False)
class Forgets(GoodRouter):
    def send(self, events: Sequence[Event]) -> None:
        """Take the events and do nothing."""


@attrs.define(eq=False)
class NeverFinishes(GoodRouter):
    def flush(self, timeout_s: float) -> bool:
        return False


CAUGHT_BY: dict[type[Any], str] = {
    ChangesEvents: "test_events_are_not_changed",
    SendsTheFirstOnly: "test_many_events",
    ActsWhenBuilt: "test_the_constructor_does_nothing_outside",
    StoresAgain: "test_the_same_events_again",
    StopsHalfWay: "test_an_error_leaves_nothing_half_done",
    RaisesWhatCannotPickle: "test_an_error_leaves_nothing_half_done",
    ClosesOnce: "test_close_twice",
    FlushesWhileOpen: "test_flush_after_close",
    NeedsOpen: "test_close_without_open",
    ShowsItsPassword: "test_secrets_do_not_show",
    TellsItsPassword: "test_a_broken_destination_and_a_retry",
    SaysNoHelp: "test_every_option_has_a_help_and_a_fitting_default",
    TakesAnything: "test_options_refuse_nonsense",
    SwallowsErrors: "test_a_broken_destination_and_a_retry",
    BlamesTheEvents: "test_opening_a_broken_destination",
    ParentsOnly: "test_a_forked_child",
    OneThreadOnly: "test_many_threads",
    CutsText: "test_data_of_every_kind",
    ReturnsNothing: "test_it_returns_an_event_or_drops",
    GivesAnotherId: "test_it_returns_an_event_or_drops",
    ChangesInPlace: "test_events_are_not_changed",
    TellsValues: "test_drops_say_why_and_nothing_more",
    ChangesItsMind: "test_accepts_is_an_answer_to_a_name",
    MoreThanTheName: "test_accepts_is_an_answer_to_a_name",
    BreaksOnOddNames: "test_it_returns_an_event_or_drops",
    Forgets: "test_one_event",
    NeverFinishes: "test_one_event",
}
