"""An event type as text for a terminal, and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from eventtracking_catalog.canonical import plain
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.notation import text_of
from eventtracking_catalog.types import MISSING, Field, walk

__all__ = ["about", "markdown", "shown"]


def shown(one: Declaration, routes: Sequence[str] | None) -> str:
    """Describe an event type in lines of text."""
    return "\n".join(_lines(one, routes))


def _lines(one: Declaration, routes: Sequence[str] | None) -> Iterator[str]:
    yield one.schema
    if one.description:
        yield from ("", one.description)
    yield ""
    for key in ("version", "owner", "deprecated"):
        if getattr(one, key):
            yield f"{key}: {getattr(one, key)}"
    yield f"declared at: {one.place}"
    if routes is not None:
        yield f"routes: {', '.join(routes) or 'none takes it'}"
    for path, field in walk(one.fields):
        needed = "" if field.required else " (optional)"
        yield ""
        yield f"{path}: {text_of(field.type)}{needed}"
        for line in about(field):
            yield f"    {line}"
    for problem in one.problems:
        yield f"problem: {problem}"


def about(field: Field) -> Iterator[str]:
    """Describe a field, type and requirement apart, in one line for each fact."""
    if field.description:
        yield field.description
    limits = [limit for option in field.type.options for limit in option.limits]
    if limits:
        yield "limits: " + ", ".join(f"{name} {value}" for name, value in limits)
    for key in ("unit", "deprecated"):
        if getattr(field, key):
            yield f"{key}: {getattr(field, key)}"
    if field.renamed_from:
        yield f"renamed from: {field.renamed_from}"
    if field.pii:
        yield f"PII: {', '.join(field.pii)}"
    for key, value in (("example", field.example), ("default", field.default)):
        if value is not MISSING:
            yield f"{key}: {json.dumps(plain(value), ensure_ascii=False)}"


def markdown(one: Declaration, routes: Sequence[str] | None) -> str:
    """Describe an event type, or a context, as a section of a Markdown page."""
    return "\n".join(_markdown(one, routes)) + "\n"


def _markdown(one: Declaration, routes: Sequence[str] | None) -> Iterator[str]:
    yield f"## {_cell(one.name)}"
    yield ""
    if one.deprecated:
        yield from (f"**Deprecated:** {_cell(one.deprecated)}", "")
    if one.description:
        yield from (one.description, "")
    for key, text in (("schema", one.schema), ("version", one.version), ("owner", one.owner)):
        if text:
            yield f"- {key}: `{_cell(text)}`"
    if routes is not None:
        yield f"- routes: {_cell(', '.join(routes)) or 'none takes it'}"
    yield ""
    if one.fields:
        yield "| field | type | required | about |"
        yield "| --- | --- | --- | --- |"
        for path, field in walk(one.fields):
            needed = "yes" if field.required else "no"
            text = "; ".join(about(field))
            yield f"| `{_cell(path)}` | `{_cell(text_of(field.type))}` | {needed} | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
