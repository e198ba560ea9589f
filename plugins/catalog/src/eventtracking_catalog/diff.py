"""The differences between two catalogs, each with a word: docs, minor, major, privacy.

The table in `docs/reference/catalog.md` lists the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import attrs

from eventtracking_catalog.canonical import plain
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.notation import text_of
from eventtracking_catalog.types import MISSING, Field, Type

__all__ = ["WORDS", "Change", "Word", "compare"]

Word = Literal["docs", "minor", "major", "privacy"]
WORDS: Final = ("docs", "minor", "major", "privacy")
"""From the mildest to the most severe."""

_UPPER: Final = ("le", "lt", "max_length")
_LOWER: Final = ("ge", "gt", "min_length")
_PAIRED: Final = (
    "object",
    "list",
    "map",
    "tuple",
    "enum",
    "int",
    "float",
    "str",
    "bytes",
    "decimal",
)


class Change(NamedTuple):
    """One difference."""

    word: Word
    event: str
    path: str
    """`data.author.id`; empty for the event type as a whole."""
    text: str


Found = Iterator[tuple[Word, str, str]]


def compare(
    old: Mapping[str, Declaration], new: Mapping[str, Declaration], part: str = "data"
) -> list[Change]:
    """List the differences of two catalogs, by name.

    Args:
        part: The part of the event that the fields stand in: `data`, or `context`.
    """
    kind = "event type" if part == "data" else "context"
    found = []
    for name in sorted({*old, *new}):
        if name not in new:
            word: Word = "minor" if old[name].deprecated else "major"
            found.append(Change(word, name, "", f"{kind} removed"))
        elif name not in old:
            found.append(Change("minor", name, "", f"{kind} added"))
        else:
            changes = _declarations(old[name], new[name], part)
            found += [Change(word, name, path, text) for word, path, text in changes]
    return found


def _declarations(old: Declaration, new: Declaration, part: str) -> Found:
    for key in ("description", "owner", "version", "deprecated"):
        if getattr(old, key) != getattr(new, key):
            yield "docs", "", f"{key} changed"
    yield from _fields(old.fields, new.fields, part)


def _fields(old: Sequence[Field], new: Sequence[Field], path: str) -> Found:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    renamed = {
        one.renamed_from: one
        for one in new
        if one.renamed_from in before and one.name not in before and one.renamed_from not in after
    }
    for name, one in before.items():
        own = f"{path}.{name}"
        if name in after:
            yield from _field(one, after[name], own)
        elif name in renamed:
            now = renamed[name]
            yield "major", own, f"renamed to {now.name}"
            yield from _field(one, attrs.evolve(now, renamed_from=one.renamed_from), own)
        else:
            yield _removed(one, own)
    tracked = {one.name for one in renamed.values()}
    for name, one in after.items():
        if name not in before and name not in tracked:
            word: Word = "major" if one.required else "minor"
            kind = "required" if one.required else "optional"
            yield word, f"{path}.{name}", f"{kind} field added"


def _removed(one: Field, path: str) -> tuple[Word, str, str]:
    if one.required:
        return "major", path, "required field removed"
    if one.deprecated:
        return "minor", path, "optional field removed, which was deprecated"
    return "major", path, "optional field removed"


def _field(old: Field, new: Field, path: str) -> Found:
    if new.required and not old.required:
        yield "major", path, "optional field made required"
    if old.required and not new.required:
        yield "minor", path, "required field made optional; readers will meet events without it"
    yield from _types(old.type, new.type, path)
    yield from _marks(old.pii, new.pii, path)
    if old.unit != new.unit:
        word: Word = "major" if old.unit else "docs"
        yield word, path, f"unit changed from {old.unit or 'none'} to {new.unit or 'none'}"
    for key in ("description", "example", "default", "deprecated", "renamed_from"):
        if _documented(getattr(old, key)) != _documented(getattr(new, key)):
            yield "docs", path, f"{key} changed"


def _documented(value: Any) -> Any:
    return None if value is MISSING else plain(value)


def _marks(old: Sequence[str], new: Sequence[str], path: str) -> Found:
    before, after = set(old) - {"none"}, set(new) - {"none"}
    for word in sorted(after - before):
        yield "minor", path, f"PII mark added: {word}"
    for word in sorted(before - after):
        yield "privacy", path, f"PII mark removed: {word}"
    if "none" in new and not before and "none" not in old:
        yield "privacy", path, "marked as free of personal information"
    if "none" in old and not after and "none" not in new:
        yield "minor", path, "no longer marked as free of personal information"


def _types(old: Type, new: Type, path: str) -> Found:
    """Compare option by option: those of one kind on both sides are compared in depth."""
    olds, news = list(old.options), list(new.options)
    for kind in _PAIRED:
        one = [option for option in olds if option.kind == kind]
        other = [option for option in news if option.kind == kind]
        if len(one) == len(other) == 1 and len(one[0].members) == len(other[0].members):
            olds.remove(one[0])
            news.remove(other[0])
            yield from _pair(one[0], other[0], path)
    same = [option for option in olds if option in news]
    lost = [option for option in olds if option not in same]
    gained = [option for option in news if option not in same]
    wanted = [option for option in lost if not any(_covers(one, option) for one in new.options)]
    texts = f"from {text_of(old)} to {text_of(new)}"
    if lost and wanted:
        narrower = all(any(_covers(one, other) for one in old.options) for other in news)
        yield "major", path, f"type {'narrowed' if narrower else 'changed'} {texts}"
    elif lost or any(not any(_covers(one, other) for one in old.options) for other in gained):
        yield "minor", path, f"type widened {texts}; readers will meet new kinds of values"


def _covers(wide: Type, narrow: Type) -> bool:
    """Tell whether every value of one type is a value of the other."""
    if wide.kind == "any" or wide == narrow:
        return True
    if wide.limits:
        return False
    if narrow.kind == "enum":
        return all(type(value).__name__ == wide.kind for value in narrow.values)
    return wide.kind == narrow.kind or (wide.kind == "float" and narrow.kind == "int")


def _pair(old: Type, new: Type, path: str) -> Found:
    if old.kind == "object":
        yield from _fields(old.fields, new.fields, path)
    elif old.kind == "enum":
        yield from _members(old, new, path)
    else:
        places = {"list": "[*]", "map": ".*"}
        for index, (one, other) in enumerate(zip(old.members, new.members, strict=True)):
            yield from _types(one, other, path + places.get(old.kind, f"[{index}]"))
    yield from _limits(dict(old.limits), dict(new.limits), path)


def _members(old: Type, new: Type, path: str) -> Found:
    before = {(type(value), value) for value in old.values}
    after = {(type(value), value) for value in new.values}
    for _, value in sorted(before - after, key=str):
        yield "major", path, f"enum member removed: {value!r}"
    for _, value in sorted(after - before, key=str):
        yield "minor", path, f"enum member added: {value!r}; readers will meet a new value"


def _limits(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Found:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        text = f"limit {name} changed from {_limit(before)} to {_limit(after)}"
        if after is None:
            yield "minor", path, text
        elif before is None or name not in (*_UPPER, *_LOWER):
            yield "major", path, text
        else:
            is_wider = after > before if name in _UPPER else after < before
            yield ("minor" if is_wider else "major"), path, text


def _limit(value: Any) -> str:
    return "none" if value is None else repr(value)
