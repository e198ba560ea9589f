"""The processor `redact`: lets pass the fields that a declaration lets pass, and no other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import attrs

from eventtracking import DropEvent, Event, OptionsError, Rejected
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.entry_points import load_entry_points
from eventtracking_catalog.files import FileError, load_layer
from eventtracking_catalog.guard import MASK, Action, Guard
from eventtracking_catalog.registry import OWN_PREFIX, FileLayer, registry
from eventtracking_catalog.types import Field

__all__ = ["Redact"]

_SCHEMA: Final = re.compile(r"@[0-9a-f]{16}\Z")
_MAX_KNOWN_NAMES: Final = 4_096
_MIN_KEY_CHARS: Final = 16


@attrs.define(eq=False)
class Redact:
    """Remove, hash or mask every field that no declaration marks as free of personal information.

    It decides on data, context and extra, field by field and at every depth. A field passes if its
    declaration marks it `pii="none"`, or with words that are all in `keep`, and its value conforms.
    """

    keep: list[str] = attrs.field(
        factory=list, metadata={"help": "PII words whose fields pass as they are."}
    )
    hash: list[str] = attrs.field(
        factory=list,
        metadata={"help": "PII words whose fields are replaced by a keyed hash (HMAC-SHA256)."},
    )
    mask: list[str] = attrs.field(
        factory=list, metadata={"help": 'PII words whose fields are replaced by "***".'}
    )
    otherwise: Literal["remove", "hash", "mask"] = attrs.field(
        default="remove",
        metadata={"help": "For every other field: unmarked, undeclared, or not conforming."},
    )
    key: str = attrs.field(
        default="",
        repr=False,
        metadata={"help": "The key of the hash, 16 characters at least. Needed to hash."},
    )
    undeclared: Literal["dead_letter", "drop", "pass"] | None = attrs.field(
        default=None,
        metadata={
            "help": "Events without a declaration. None: dead_letter below a router, else drop."
        },
    )
    files: list[str] = attrs.field(
        factory=list,
        metadata={"help": "Declaration files, TOML or JSON, relative to the working folder."},
    )
    fails_closed: ClassVar[bool] = True
    """It is never passed over: an event that cannot be redacted goes nowhere."""

    _layers: list[FileLayer] = attrs.field(init=False, repr=False, factory=list)
    _guard: Guard = attrs.field(init=False, repr=False)
    _undeclared: str = attrs.field(init=False, repr=False, default="drop")
    _known: dict[str, Declaration | None] = attrs.field(init=False, repr=False, factory=dict)
    _context: tuple[Field, ...] | None = attrs.field(init=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        problems = {}
        hashes = bool(self.hash) or self.otherwise == "hash"
        if (hashes or self.key) and len(self.key) < _MIN_KEY_CHARS:
            problems["key"] = f"a keyed hash needs a key of {_MIN_KEY_CHARS} characters at least"
        for index, file in enumerate(self.files):
            try:
                self._layers.append(load_layer(file))
            except FileError as error:
                problems[f"files[{index}]"] = f"{file}: {error}"
        actions: dict[str, Action] = {"none": "keep"}
        for action in ("mask", "hash", "keep"):
            for word in getattr(self, action):
                if actions.get(word, action) != action:
                    problems[action] = f"{word!r} stands in {actions[word]}, too; choose one"
                actions[word] = action
        if problems:
            raise OptionsError(problems)
        self._guard = Guard(actions, self.otherwise, self.key.encode("utf-8", "surrogatepass"))
        self._undeclared = self.undeclared or "drop"
        registry.watch(self)

    def bind(self, place: Any) -> None:
        """Take the place in the tree.

        Raises:
            OptionsError: If events are to become dead letters where nothing keeps them.
        """
        if self.undeclared == "dead_letter" and not place.above:
            text = 'dead letters need a router above, such as a buffer; use "drop" here'
            raise OptionsError({"undeclared": text})
        self._undeclared = self.undeclared or ("dead_letter" if place.above else "drop")
        load_entry_points()

    def forget(self) -> None:
        """Ask the registry anew for every name."""
        self._known, self._context = {}, None

    def __call__(self, event: Event) -> Event:
        """Return the event with the fields that may pass.

        Raises:
            DropEvent: If it has no declaration, and such events are dropped.
            Rejected: If it has no declaration, and such events become dead letters.
        """
        if event.name.startswith(OWN_PREFIX):
            return event.replace(context={}, extra={}) if event.context or event.extra else event
        declaration = self._declaration(event.name)
        if declaration is None:
            if self._undeclared == "pass":
                return event
            text = "the event has no declaration"
            raise (
                Rejected({event.id: text}) if self._undeclared == "dead_letter" else DropEvent(text)
            )
        return self._redacted(event, declaration.fields)

    def shown(self, event: Event) -> Event:
        """Return an event as people may see it: of one without a declaration, its keys."""
        if event.name.startswith(OWN_PREFIX):
            return self(event)
        declaration = self._declaration(event.name)
        if declaration is not None:
            return self._redacted(event, declaration.fields)
        if self._undeclared == "pass":
            return event
        parts: dict[str, Any] = {
            part: dict.fromkeys(getattr(event, part), MASK) for part in ("data", "context", "extra")
        }
        return event.replace(**parts)

    def _redacted(self, event: Event, fields: tuple[Field, ...]) -> Event:
        return event.replace(
            data=self._guard.fields(fields, event.data),
            context=self._guard.fields(self._context_fields(), event.context),
            extra=self._extra(event),
        )

    def _extra(self, event: Event) -> dict[str, Any]:
        """Keys of the catalog pass; no declaration covers any other key."""
        stamp, found = event.extra.get("schema"), event.extra.get("schema_problems")
        others = {key: one for key, one in event.extra.items() if key not in _STAMPS}
        extra = self._guard.fields((), others)
        if isinstance(stamp, str) and _SCHEMA.search(stamp) and stamp[:-17] == event.name:
            extra["schema"] = stamp
        if _are_problems(found):
            extra["schema_problems"] = found
        return extra

    def _declaration(self, name: str) -> Declaration | None:
        try:
            return self._known[name]
        except KeyError:
            found = registry.get(name, layers=self._layers)
            if len(self._known) >= _MAX_KNOWN_NAMES:
                self._known = {}
            self._known[name] = found
            return found

    def _context_fields(self) -> tuple[Field, ...]:
        """The fields of all declared contexts; of one declared twice, the stricter."""
        if self._context is None:
            found: dict[str, Field] = {}
            for declaration in registry.all("context"):
                for field in declaration.fields:
                    known = found.get(field.name)
                    if known is None or self._guard.is_stricter(field, known):
                        found[field.name] = field
            self._context = tuple(found.values())
        return self._context


_STAMPS: Final = ("schema", "schema_problems")
_PROBLEM: Final = re.compile(r"[a-z_]{1,20}\Z")


def _are_problems(found: object) -> bool:
    """Tell whether the catalog wrote it, so that no other value travels under its name."""
    return isinstance(found, list) and all(
        isinstance(one, Mapping)
        and set(one) == {"kind", "path"}
        and isinstance(one["kind"], str)
        and bool(_PROBLEM.match(one["kind"]))
        and isinstance(one["path"], str)
        and (not one["path"] or one["path"].startswith("data"))
        for one in found
    )
