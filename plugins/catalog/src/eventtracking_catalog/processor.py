"""The processor `catalog`: checks events against their declarations, stamps and documents them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec

from eventtracking import DropEvent, Event, OptionsError, Rejected, Tracker
from eventtracking import Problem as ConfigProblem
from eventtracking_catalog.entry_points import load_entry_points
from eventtracking_catalog.files import FileError, load_layer
from eventtracking_catalog.known import LONG_AGO, Known
from eventtracking_catalog.problems import Problem, first_problem, problems_of, pruned
from eventtracking_catalog.records import RECORD_EVERY_S, record_of
from eventtracking_catalog.registry import OWN_PREFIX, FileLayer, registry
from eventtracking_catalog.reports import Reports

__all__ = ["Catalog"]

Policy = Literal["allow", "warn", "tag", "drop", "dead_letter"]
FieldPolicy = Literal["allow", "warn", "tag", "drop_field", "drop", "dead_letter"]

_STRICTEST_FIRST: Final = ("dead_letter", "drop", "drop_field", "tag", "warn", "allow")
_LAYOUT: Final = (
    'dead letters need a router above, such as a buffer; the usual layout: catalog with "tag" at'
    ' the root, and again with "dead_letter" on the backend below the buffer'
)
_MAX_KNOWN_NAMES: Final = 4_096
_TOLD_ONE_BY_ONE: Final = 1_000
_TOLD_AT_A_TIME: Final = 100
"""Telling of an event of an unknown type costs as much as passing it on."""
_RECORD_EVERY: Final = timedelta(seconds=RECORD_EVERY_S)
_convert = msgspec.convert


def _help(kind: str) -> dict[str, str]:
    return {"help": f"Events {kind}."}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _say_nothing(_text: str | None, _count: int = 1) -> None:
    """Stand for the `remark` of a place, before there is one."""


@attrs.define(eq=False)
class Catalog:
    """Check events against their declarations, stamp them with their schema, and document them.

    Each kind of problem has its policy: `allow`, `warn` (count it), `tag` (add `schema_problems` to
    the event), `drop`, `dead_letter` (below a router), and for unknown fields `drop_field`.
    """

    files: list[str] = attrs.field(
        factory=list,
        metadata={"help": "Declaration files, TOML or JSON, relative to the working folder."},
    )
    unknown_type: Policy = attrs.field(
        default="warn", metadata=_help("whose name no declaration has")
    )
    missing_field: Policy = attrs.field(
        default="warn", metadata=_help("without a field that is required")
    )
    unknown_field: FieldPolicy = attrs.field(
        default="warn", metadata=_help("with a field that is not declared")
    )
    wrong_type: Policy = attrs.field(
        default="warn", metadata=_help("with a value that does not conform to its type")
    )
    too_large: Policy = attrs.field(default="warn", metadata=_help("larger than `max_event_bytes`"))
    max_event_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = attrs.field(
        default=None, metadata={"help": "The largest event, as JSON. None: no limit."}
    )
    records: bool = attrs.field(
        default=True,
        metadata={"help": "false: no record of an event type is sent by or passes this processor."},
    )
    _layers: list[FileLayer] = attrs.field(init=False, repr=False, factory=list)
    _known: dict[str, Known] = attrs.field(init=False, repr=False, factory=dict)
    _reports: Reports = attrs.field(init=False, repr=False, factory=Reports)
    _remark: Callable[..., Any] = attrs.field(init=False, repr=False, default=_say_nothing)
    _place: Any = attrs.field(init=False, repr=False, default=None)
    _relaxed: frozenset[str] = attrs.field(init=False, repr=False, default=frozenset())
    _clock: Callable[[], datetime] = attrs.field(init=False, repr=False, default=_now)

    def __attrs_post_init__(self) -> None:
        problems = {}
        for index, file in enumerate(self.files):
            try:
                self._layers.append(load_layer(file))
            except FileError as error:
                problems[f"files[{index}]"] = f"{file}: {error}"
        problems |= self._conflicts() if not problems else {}
        if problems:
            raise OptionsError(problems)
        policies = {kind: getattr(self, kind) for kind in _IN_DATA}
        self._relaxed = frozenset(kind for kind, policy in policies.items() if policy == "allow")
        registry.watch(self)
        _processors.add(self)

    def _conflicts(self) -> dict[str, str]:
        """The names that a file of this config and another declaration declare differently."""
        ours = {source.place for layer in self._layers for source in layer.sources}
        conflicts = registry.conflicts(self._layers) if ours else ()
        found = [one for one in conflicts if ours & set(one.places)]
        return {"files": "; ".join(map(str, found))} if found else {}

    def bind(self, place: Any) -> None:
        """Take the place in the tree, and the declarations of installed distributions.

        Raises:
            OptionsError: If events are to become dead letters where nothing keeps them.
        """
        self._place = place
        self._reports.remark = self._remark = place.remark
        kinds = ("unknown_type", *_IN_DATA, "too_large")
        if not place.above:
            wrong = [kind for kind in kinds if getattr(self, kind) == "dead_letter"]
            if wrong:
                raise OptionsError(dict.fromkeys(wrong, _LAYOUT))
        for problem in load_entry_points():
            self._reports.note(f"catalog: {problem}")

    @property
    def leaves_records_out(self) -> bool:
        """Whether records are left out here on purpose."""
        return not self.records

    def advice(self, tracker: Tracker) -> Iterator[ConfigProblem]:
        """Name the routes that take a declared type and drop its records, for `check`."""
        from eventtracking_catalog import routes  # few processes ask

        for path, names in routes.dropping(routes.routes_of(tracker, registry.all())).items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield ConfigProblem(
                path="backends." + path.replace("/", ".backends."),
                message=f"takes {names[0]}{more}, and drops the records that document it",
                hint=routes.HINT,
            )

    def forget(self) -> None:
        """Ask the registry anew for every name."""
        self._known = {}

    def __call__(self, event: Event) -> Event:
        """Return the event, stamped.

        Raises:
            DropEvent: If a policy drops it.
            Rejected: If a policy makes it a dead letter.
        """
        try:
            known = self._known[event.name]
        except KeyError:
            known = self._learn(event.name)
        if known.unknown_text is not None and not event.extra:
            known.unseen += 1
            if known.unseen >= known.told_every:
                self._tell(known)
            return event
        # Its own time stands for the clock, which costs more than the comparison.
        if known.fast is None or event.extra or event.timestamp >= known.record_due:
            return self._check(known, event)
        try:
            _convert(event.data, known.fast)
        except Exception:  # noqa: BLE001 - a failure of any kind is judged by the slow path
            return self._check(known, event)
        return event.replace(extra=known.stamp)

    def _tell(self, known: Known) -> None:
        """Count events of an unknown type: each of the first thousand, then a hundred at a time."""
        count, known.unseen = known.unseen, 0
        known.told += count
        if known.told >= _TOLD_ONE_BY_ONE:
            known.told_every = _TOLD_AT_A_TIME
        self._remark(known.unknown_text, count)

    def _learn(self, name: str) -> Known:
        is_own = name.startswith(OWN_PREFIX)
        declaration = None if is_own else registry.get(name, layers=self._layers)
        known = Known.of(name, declaration, self)
        is_simple = self.unknown_type == "warn" and self.max_event_bytes is None
        if known.declaration is None and not known.is_own and is_simple:
            known.unknown_text = self._reports.kept(f"catalog: unknown_type: {name:.100}")
        if len(self._known) >= _MAX_KNOWN_NAMES:
            self._known = {}
        self._known[name] = known
        return known

    def _check(self, known: Known, event: Event) -> Event:
        if known.is_own:
            return self._pass_own(event)
        stamp = event.extra.get("schema") if event.extra else None
        foreign = isinstance(stamp, str) and stamp != known.schema
        if foreign and (known.declaration is None or _name_in(stamp) != event.name):
            self._reports.note("catalog: schema not known here")
            return event
        problems = self._problems(known, event)
        if problems:
            event = self._judge(known, event, problems)
            if foreign:
                return event
        if known.declaration is None:
            return event
        self._document(known, stamp)
        extra = {**event.extra, "schema": known.schema}
        if not problems:
            extra.pop("schema_problems", None)  # those of a declaration before this one
        return event.replace(extra=extra)

    def _pass_own(self, event: Event) -> Event:
        if not self.records and event.name == f"{OWN_PREFIX}event_type":
            raise DropEvent("records are left out here")
        return event

    def _problems(self, known: Known, event: Event) -> list[Problem]:
        found = []
        if known.declaration is None:
            if self.unknown_type != "allow":
                found = [Problem("unknown_type", "")]
        else:
            found = self._data_problems(known, event)
        limit = None if self.too_large == "allow" else self.max_event_bytes
        if limit is not None and len(event.to_json().encode()) > limit:
            found.append(Problem("too_large", ""))
        return found

    def _data_problems(self, known: Known, event: Event) -> list[Problem]:
        if known.check is not None:
            try:
                _convert(event.data, known.check)
            except Exception as error:  # noqa: BLE001 - as above
                if not known.may_list(self._clock().timestamp()):
                    return self._in_short(known, event, error)
            else:
                return []
        return problems_of(known.fields, event.data, self._relaxed)

    def _in_short(self, known: Known, event: Event, error: Exception) -> list[Problem]:
        """Name one problem, that whose policy is the strictest, at the price of a fast check."""
        for policy in _STRICTEST_FIRST[:-1]:
            kinds = frozenset(kind for kind in _IN_DATA if getattr(self, kind) == policy)
            check = known.check_for(frozenset(_IN_DATA) - kinds) if kinds else None
            if check is not None:
                try:
                    _convert(event.data, check)
                except Exception as strictest:  # noqa: BLE001 - as above
                    return [first_problem(strictest)]
        return [first_problem(error)]

    def _judge(self, known: Known, event: Event, problems: list[Problem]) -> Event:
        """Apply the policies, the strictest first."""
        for kind, path in problems:
            self._reports.note(f"catalog: {kind}: {event.name:.100}{f' {path}' if path else ''}")
        policies = {getattr(self, problem.kind): problem for problem in reversed(problems)}
        for policy in ("dead_letter", "drop"):
            if policy in policies:
                kind, path = policies[policy]
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                reason = f"{kind}{f' {path}' if path else ''}{more}"
                raise Rejected({event.id: reason}) if policy == "dead_letter" else DropEvent(reason)
        if "drop_field" in policies:
            event = event.replace(data=pruned(known.fields, event.data))
        tags = [one for one in problems if getattr(self, one.kind) == "tag"]
        if tags:
            listed = [{"kind": kind, "path": path} for kind, path in tags]
            event = event.replace(extra={**event.extra, "schema_problems": listed})
        return event

    def _document(self, known: Known, stamp: object) -> None:
        """Submit the record of the type with the first event that is stamped, and on each day."""
        now = self._clock()
        if stamp == known.schema or now < known.record_due or known.declaration is None:
            return
        known.record_due = now + _RECORD_EVERY
        if self.records and self._place is not None:
            is_inline = not self._place.above
            if self._place.submit(record_of(known.declaration, is_inline)) is False:
                known.record_due = LONG_AGO  # it was only asked which way the event would take


_IN_DATA: Final = ("missing_field", "unknown_field", "wrong_type")
_processors: Final[weakref.WeakSet[Catalog]] = weakref.WeakSet()


def _name_in(stamp: Any) -> str:
    return str(stamp).rpartition("@")[0]


def _after_fork_in_child() -> None:
    """A child documents its own events: its parent may end before it has sent a record."""
    registry.after_fork()
    for processor in list(_processors):
        processor.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
