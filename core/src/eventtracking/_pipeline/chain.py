"""A chain of processors, compiled into steps that either pass an event on or return a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, Final

import msgspec

from eventtracking.counts import Outcome, reason_text
from eventtracking.errors import DropEvent, Rejected, locate
from eventtracking.event import Event

__all__ = ["Chain", "Link", "Verdict"]

_MAX_REMEMBERED_NAMES: Final = 4_096
_MAX_REMEMBERED_NAME_CHARS: Final = 256


class Verdict(msgspec.Struct, eq=False):
    """The end of an event's way through a chain."""

    outcome: Outcome
    reason: str
    processor: str
    """The path of the processor in the config."""
    place: str = ""
    """Where the processor broke, `plugin.py:15`."""
    rejected: bool = False
    """Whether the processor refused the event for good, which a router above turns into a dead
    letter."""
    remark: str = ""
    """The reason as the books have it."""

    def __post_init__(self) -> None:
        """Make the remark once: a remembered verdict ends many events."""
        self.remark = reason_text(self.outcome, self.reason)


class Link(msgspec.Struct, frozen=True, eq=False):
    """One processor of a chain and its config."""

    path: str
    plugin: str
    processor: Any
    pass_on_error: bool = False
    remark: Callable[[str], object] = str
    """Counts a text among the reasons of the route."""

    def on_error(self, error: BaseException) -> Verdict | None:
        """Judge a processor's error: return the verdict, or None to pass the event on."""
        if not self.pass_on_error:
            return self.failure(error)
        self.remark(f"passed: {self.plugin} raised {type(error).__name__}")
        return None

    def on_rejection(self, rejection: Rejected, event: Event) -> Verdict | None:
        """Judge a processor's `Rejected`, which must name the event, and no other."""
        if list(rejection.reasons) != [event.id]:
            return self.on_error(ValueError("Rejected must name the event that was given"))
        reason = rejection.reasons[event.id]
        return Verdict(
            Outcome.FAILED, f"{self.plugin} rejected: {reason}", self.path, rejected=True
        )

    def failure(self, error: BaseException) -> Verdict:
        """The verdict when the processor broke.

        Only the error's type: its text may hold the event's values.
        """
        return Verdict(
            Outcome.FAILED, f"{self.plugin} raised {type(error).__name__}", self.path, locate(error)
        )

    def drop(self, reason: str) -> Verdict:
        """The verdict when the processor said no."""
        return Verdict(
            Outcome.FILTERED, f"{self.plugin}: {reason}" if reason else self.plugin, self.path
        )


class Chain:
    """The processors of one route, in order."""

    __slots__ = ("_gate", "_steps", "apply", "links")

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = tuple(links)
        self._gate: _NameStep | None = None
        """The decision of the first processors by the name alone, before any call."""
        self._steps: list[Callable[[Event], Event | Verdict]] = []
        for link in links:
            if hasattr(link.processor, "accepts"):
                self._add_name_step(link)
            if not (
                hasattr(link.processor, "accepts") and getattr(link.processor, "name_only", False)
            ):
                self._steps.append(_CallStep(link).run)
        only = len(self._steps) == 1 and self._gate is None
        self.apply: Callable[[Event], Event | Verdict] = self._steps[0] if only else self._apply
        """Returns the event that came out, or the verdict that ended its way."""

    def _add_name_step(self, link: Link) -> None:
        if self._steps:  # one before it may change the name
            self._steps.append(_NameStep(link).run)
        elif self._gate is None:
            self._gate = _NameStep(link)
        else:
            self._gate.links.append(link)

    def _apply(self, event: Event) -> Event | Verdict:
        gate = self._gate
        if gate is not None:
            try:
                verdict = gate.verdicts[event.name]
            except KeyError:
                verdict = gate.decide(event.name)
            if verdict is not None:
                return verdict
        result: Event | Verdict = event
        for step in self._steps:
            result = step(result)  # type: ignore[arg-type]  # a verdict has left the loop
            if result.__class__ is Verdict:
                return result
        return result


class _NameStep:
    """Ask each processor's `accepts` once per name and remember the answer."""

    __slots__ = ("links", "verdicts")

    def __init__(self, link: Link) -> None:
        self.links = [link]
        self.verdicts: dict[str, Verdict | None] = {}

    def run(self, event: Event) -> Event | Verdict:
        try:
            verdict = self.verdicts[event.name]
        except KeyError:
            verdict = self.decide(event.name)
        return event if verdict is None else verdict

    def decide(self, name: str) -> Verdict | None:
        """Ask the processors. An error is not remembered: the next call may succeed."""
        verdict = None
        remember = len(name) <= _MAX_REMEMBERED_NAME_CHARS
        for link in self.links:
            try:
                accepted = bool(link.processor.accepts(name))
            except Exception as error:  # noqa: BLE001 - any exception of a processor is a verdict
                remember = False
                verdict = link.on_error(error)
            else:
                verdict = None if accepted else link.drop("the name is not accepted")
            if verdict is not None:
                break
        if remember:
            self._remember(name, verdict)
        return verdict

    def _remember(self, name: str, verdict: Verdict | None) -> None:
        if len(self.verdicts) >= _MAX_REMEMBERED_NAMES:
            self.verdicts = {}
        self.verdicts[name] = verdict


class _CallStep:
    """Call a processor and hold it to its contract."""

    __slots__ = ("_link", "_process")

    def __init__(self, link: Link) -> None:
        self._link = link
        # A bound method of Python's is called without the detour that calling an instance takes.
        call = getattr(type(link.processor), "__call__", None)  # noqa: B004 - it is called, not looked for
        self._process = (
            MethodType(call, link.processor) if isinstance(call, FunctionType) else link.processor
        )

    def run(self, event: Event) -> Event | Verdict:
        try:
            result = self._process(event)
            if result is event or (
                isinstance(result, Event) and result.id == event.id and type(result.name) is str
            ):
                return result
        except DropEvent as drop:
            return self._link.drop(_reason_of(drop))
        except Rejected as rejection:
            return self._link.on_rejection(rejection, event) or event
        except Exception as error:  # noqa: BLE001 - any exception of a processor is a verdict
            return self._link.on_error(error) or event
        return self._link.on_error(_broken_contract(result)) or event


def _reason_of(drop: DropEvent) -> str:
    """The reason, as text; a subclass may not have called the constructor, or was given
    another type.
    """
    reason = getattr(drop, "reason", "")
    return reason if isinstance(reason, str) else type(reason).__name__


def _broken_contract(result: object) -> Exception:
    if isinstance(result, Event):
        return ValueError("a processor must keep the event's id, and its name must be text")
    return TypeError(f"a processor must return an Event, not {type(result).__name__}")
