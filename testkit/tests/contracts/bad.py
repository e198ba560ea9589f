"""Plugins that break the contract, each in one thing, and the test that must catch it
(`CAUGHT_BY`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
from good import GoodBackend, GoodProcessor, GoodRouter

from eventtracking import DropEvent, Event, Rejected, Undelivered

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
        with self.locked() as file, file.open("a") as target:
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
    size: int | str | float | list[Any] | dict[str, Any] | None = attrs.field(
        default=1, metadata={"help": "A size."}
    )


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
        cut = [
            e.replace(data={k: v[:1024] if isinstance(v, str) else v for k, v in e.data.items()})
            for e in events
        ]
        super().send(cut)


@attrs.define(eq=False)
class RemembersInMemory(GoodBackend):
    seen: ClassVar[set[str]] = set()

    def send(self, events: Sequence[Event]) -> None:
        with self.locked() as file, file.open("a") as target:
            target.write(
                "".join(event.to_json() + "\n" for event in events if event.id not in self.seen)
            )
        self.seen.update(event.id for event in events)


@attrs.define(eq=False)
class NeverReopens(GoodBackend):
    failure: Exception | None = attrs.field(init=False, default=None)

    def open(self) -> None:
        if self.failure is None and Path(self.path).is_dir():
            self.failure = ConnectionError("down")
        if self.failure is not None:
            raise self.failure


@attrs.define(eq=False)
class ClosesOnlyWhatOpened(NeedsOpen):
    def open(self) -> None:
        if Path(self.path).is_dir():
            raise ConnectionError("down")
        super().open()


@attrs.define(eq=False)
class DropsExtra(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        super().send([event.replace(extra={}) for event in events])


@attrs.define(eq=False)
class ConnectsOnFirstBuild(GoodBackend):
    connection: ClassVar[Any] = None

    def __attrs_post_init__(self) -> None:
        if self.connection is None:
            type(self).connection = socket.socketpair()


@attrs.define(eq=False)
class StartsOnFirstBuild(GoodBackend):
    thread: ClassVar[threading.Thread | None] = None

    def __attrs_post_init__(self) -> None:
        if self.thread is None:
            type(self).thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
            type(self).thread.start()  # type: ignore[union-attr]  # it was just made


@attrs.define(eq=False)
class SharedOptions(GoodBackend):
    last: ClassVar[str] = ""

    def __attrs_post_init__(self) -> None:
        type(self).last = self.path

    def send(self, events: Sequence[Event]) -> None:
        GoodBackend(path=self.last).send(events)


@attrs.define(eq=False)
class TalksUnmarked(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        with socket.socket() as connection, contextlib.suppress(OSError):
            connection.connect(("127.0.0.1", 9))
        super().send(events)


@attrs.define(eq=False)
class SlowFlush(GoodBackend):
    def flush(self, timeout_s: float) -> None:
        time.sleep(2.1)


@attrs.define(eq=False)
class SendsLater(GoodBackend):
    async def send(self, events: Sequence[Event]) -> None:  # type: ignore[override]  # it is bad
        super().send(events)


@attrs.define(eq=False)
class YieldsWhatItSends(GoodBackend):
    def send(self, events: Sequence[Event]) -> Iterator[None]:  # type: ignore[override]  # it is bad
        yield super().send(events)


@attrs.define(eq=False)
class ClosesLater(GoodBackend):
    async def close(self) -> None:  # type: ignore[override]  # it is bad
        """Never run."""


class _Promise:
    def __await__(self) -> Iterator[None]:
        yield


@attrs.define(eq=False)
class ReturnsAPromise(GoodBackend):
    def send(self, events: Sequence[Event]) -> Any:
        super().send(events)
        return _Promise()


@attrs.define(eq=False)
class ProbesBlindly(GoodBackend):
    def probe(self) -> None:
        """Look at nothing."""


@attrs.define(eq=False)
class ProbesBySending(GoodBackend):
    def probe(self) -> None:
        self.send([Event(name="probe")])


@attrs.define(eq=False)
class FindsWhatIsNotThere(GoodBackend):
    def probe(self) -> None:
        raise ConnectionError("down")


@attrs.define(eq=False)
class WantsWhatIsNoOption(GoodBackend):
    def exclusive(self) -> dict[str, str]:
        return {"file": self.path}


@attrs.define(eq=False)
class ForgetsOnFlush(GoodBackend):
    """A flush within `send` empties the list that `send` is about to write."""

    waiting: list[Event] = attrs.field(init=False, factory=list)

    def send(self, events: Sequence[Event]) -> None:
        self.waiting = list(events)
        time.sleep(0.0005)  # a system call, in which the signal comes
        if self.waiting:
            super().send(self.waiting)

    def flush(self, timeout_s: float) -> None:
        self.waiting = []


@attrs.define(eq=False)
class LetsDataHideTheName(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        super().send([e.replace(name=str(e.data.get("name", e.name))) for e in events])


@attrs.define(eq=False)
class OpensFilesByName(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        super().send(events)
        for event in events:
            file = Path(f"{self.path}.names/{event.name}")
            with contextlib.suppress(OSError, ValueError):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(event.id)


@attrs.define(eq=False)
class KeepsEveryId(GoodBackend):
    seen: list[str] = attrs.field(init=False, factory=list)

    def send(self, events: Sequence[Event]) -> None:
        super().send(events)
        self.seen += [event.id for event in events]


@attrs.define(eq=False)
class NeverHasEnough(GoodBackend):
    def send(self, events: Sequence[Event]) -> None:
        raise Undelivered({events[0].id: "busy"})


@attrs.define(eq=False)
class ShowsItsDsn(GoodBackend):
    dsn: str = attrs.field(default="", metadata={"help": "Where to."})


@attrs.define
class Login:
    user: str = attrs.field(default="", metadata={"help": "A name."})
    hash_salt: str = attrs.field(default="", metadata={"help": "A secret."})


@attrs.define(eq=False)
class ShowsANestedSecret(GoodBackend):
    login: Login = attrs.field(factory=Login, metadata={"help": "Who."})


@attrs.define(eq=False)
class AcceptsNothing(GoodProcessor):
    def accepts(self, name: str) -> bool:
        return False

    def __call__(self, event: Event) -> Event:
        return event


@attrs.define(eq=False)
class NaiveTime(GoodProcessor):
    def __call__(self, event: Event) -> Event:
        return event.replace(timestamp=event.timestamp.replace(tzinfo=None))


@attrs.define(eq=False)
class LeaksBetweenEvents(GoodProcessor):
    known: dict[str, Event] = attrs.field(init=False, factory=dict)

    def __call__(self, event: Event) -> Event:
        return event.replace(data=self.known.setdefault(event.name, event).data)


@attrs.define(eq=False)
class YieldsEvents(GoodProcessor):
    def __call__(self, event: Event) -> Any:
        yield event


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


@attrs.define(eq=False)
class IgnoresErrors(GoodRouter):
    def send(self, events: Sequence[Event]) -> None:
        self.downstream.deliver(events)


@attrs.define(eq=False)
class RetriesEverybody(GoodRouter):
    def send(self, events: Sequence[Event]) -> None:
        while self.downstream.deliver(events):
            """Nobody is left out."""


@attrs.define(eq=False)
class GivesUpAtOnce(GoodRouter):
    def send(self, events: Sequence[Event]) -> None:
        for leaf, errors in self.downstream.deliver(events).items():
            self.give_up(leaf, errors)


@attrs.define(eq=False)
class KeepsRejections(GoodRouter):
    """They stay pending for ever."""

    def give_up(self, leaf: str, errors: Mapping[str, Exception]) -> None:
        super().give_up(
            leaf, {key: error for key, error in errors.items() if not isinstance(error, Rejected)}
        )


@attrs.define(eq=False)
class RetriesRejected(GoodRouter):
    def finish(
        self, leaf: str, by_id: Mapping[str, Event], errors: Mapping[str, Exception]
    ) -> None:
        while errors:
            errors = self.downstream.deliver(
                [by_id[event_id] for event_id in errors], only={leaf}
            ).get(leaf, {})


@attrs.define(eq=False)
class SlowFlushRouter(GoodRouter):
    def flush(self, timeout_s: float) -> bool:
        time.sleep(2.1)
        return True


@attrs.define(eq=False)
class MixesItsInstances(GoodRouter):
    last: ClassVar[Any] = None

    def bind(self, downstream: Any) -> None:
        super().bind(downstream)
        type(self).last = downstream

    def send(self, events: Sequence[Event]) -> None:
        self.last.deliver(events)


@attrs.define(eq=False)
class PicksAtRandom(GoodRouter):
    def send(self, events: Sequence[Event]) -> None:
        path = random.choice(list(self.downstream.children.values()))
        self.downstream.deliver(events, only=[path])


@attrs.define(eq=False)
class DeliversOnAThread(GoodRouter):
    """It passes through, but the delivery does not join the one from above."""

    def send(self, events: Sequence[Event]) -> None:
        thread = threading.Thread(target=self.downstream.deliver, args=(events,))
        thread.start()
        thread.join()


@attrs.define(eq=False)
class SendsWithoutEvents(GoodBackend):
    def send(self) -> None:  # type: ignore[override]  # it is bad
        """Take nothing."""


@attrs.define(eq=False)
class WantsCode(GoodBackend):
    encode: Callable[[Event], str] | None = attrs.field(default=None, metadata={"help": "Code."})


@attrs.define(eq=False)
class BindsToNothing(GoodRouter):
    def bind(self) -> None:  # type: ignore[override]  # it is bad
        """Take no routes."""


@attrs.define(eq=False)
class BindsByConnecting(GoodRouter):
    def bind(self, downstream: Any) -> None:
        raise ConnectionError("down")


REFUSED_BY_CORE: tuple[type[Any], ...] = (
    SendsLater,
    YieldsWhatItSends,
    YieldsEvents,
    SendsWithoutEvents,
    WantsCode,
    BindsToNothing,
)
"""What core does not even register: each gets a distribution of its own, so that it does not take
the others along.
"""

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
    RemembersInMemory: "test_a_forked_child",
    NeverReopens: "test_opening_a_broken_destination",
    ClosesOnlyWhatOpened: "test_opening_a_broken_destination",
    DropsExtra: "test_odd_names_and_extra_keys",
    ConnectsOnFirstBuild: "test_the_first_instance_does_nothing_outside",
    StartsOnFirstBuild: "test_the_first_instance_does_nothing_outside",
    SharedOptions: "test_two_destinations_do_not_mix",
    TalksUnmarked: "test_what_talks_to_a_network_says_so",
    SlowFlush: "test_flush_with_nothing_to_do",
    SendsLater: "test_its_methods_are_plain_functions",
    YieldsWhatItSends: "test_its_methods_are_plain_functions",
    ClosesLater: "test_its_methods_are_plain_functions",
    ReturnsAPromise: "test_one_event",
    ProbesBlindly: "test_a_probe_of_a_broken_destination",
    ProbesBySending: "test_a_probe_of_a_good_destination",
    FindsWhatIsNotThere: "test_a_probe_of_a_good_destination",
    WantsWhatIsNoOption: "test_what_it_wants_for_itself_alone",
    ForgetsOnFlush: "test_signals_in_the_middle",
    LetsDataHideTheName: "test_identity",
    OpensFilesByName: "test_hostile_names",
    KeepsEveryId: "test_memory_is_flat",
    NeverHasEnough: "test_many_events",
    ShowsItsDsn: "test_secrets_do_not_show",
    ShowsANestedSecret: "test_secrets_do_not_show",
    AcceptsNothing: "test_accepts_is_an_answer_to_a_name",
    NaiveTime: "test_it_returns_an_event_or_drops",
    LeaksBetweenEvents: "test_events_keep_to_themselves",
    YieldsEvents: "test_its_methods_are_plain_functions",
    IgnoresErrors: "test_a_child_that_fails_for_a_while",
    RetriesEverybody: "test_a_child_that_fails_for_a_while",
    GivesUpAtOnce: "test_a_child_that_fails_for_a_while",
    KeepsRejections: "test_a_child_that_rejects",
    RetriesRejected: "test_a_child_that_rejects",
    SlowFlushRouter: "test_flush_with_nothing_to_do",
    PicksAtRandom: "test_a_choice_follows_from_the_event_alone",
    DeliversOnAThread: "test_below_a_buffer",
    SendsWithoutEvents: "test_an_entry_point_declares_the_name",
    WantsCode: "test_an_entry_point_declares_the_name",
    BindsToNothing: "test_an_entry_point_declares_the_name",
    BindsByConnecting: "test_one_event",
    MixesItsInstances: "test_two_destinations_do_not_mix",
}
