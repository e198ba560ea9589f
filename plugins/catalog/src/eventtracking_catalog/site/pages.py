"""The pages: readable without script, at a phone's width, in print and in both colour schemes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.diff import compare
from eventtracking_catalog.findings import marked_share
from eventtracking_catalog.history import History
from eventtracking_catalog.notation import text_of
from eventtracking_catalog.show import about
from eventtracking_catalog.site.html import Html, element, join, page, raw, table
from eventtracking_catalog.types import Field, walk

__all__ = ["Subject", "index_page", "type_page"]


@attrs.frozen
class Subject:
    """An event type or a context, and all that is known of it."""

    declaration: Declaration
    href: str
    """The page, relative to the index."""
    routes: tuple[str, ...] | None
    """None where no routing tree was there to ask."""
    history: History | None


def index_page(subjects: Sequence[Subject]) -> str:
    """Make the first page: every event type and context, to be searched."""
    types = [one for one in subjects if one.declaration.kind == "event"]
    contexts = [one for one in subjects if one.declaration.kind == "context"]
    marked, total = marked_share(one.declaration for one in subjects)
    count = f"{len(types)} event type{'' if len(types) == 1 else 's'}"
    share = f", {marked} of {total} fields with a PII mark or an explicit none" if total else ""
    parts = [element("p", f"{count}{share}.", **{"class": "lead"})]
    parts.append(element("p", _search_box(), **{"class": "search", "hidden": "hidden"}))
    parts.append(_overview(types, "type", "Event types"))
    if contexts:
        parts.append(_overview(contexts, "context", "Contexts"))
    parts.append(element("p", "Nothing found.", id="nothing", hidden="hidden"))
    return page("Event catalog", element("h1", "Event catalog"), join(parts), script=True)


def _search_box() -> Html:
    box = raw(
        '<input type="search" id="search" autocomplete="off" placeholder="name, field, owner">'
    )
    return element("label", join([raw("Search "), box]))


def _overview(subjects: Sequence[Subject], kind: str, title: str) -> Html:
    rows = [_overview_row(one) for one in subjects]
    listed = table((kind, "about", "owner", "fields"), rows) if rows else element("p", "None.")
    return element("section", join([element("h2", title), listed]))


def _overview_row(subject: Subject) -> tuple[Sequence[Html | str], str]:
    one = subject.declaration
    link = element("a", one.name, href=subject.href)
    about_it = [_tag("deprecated")] if one.deprecated else []
    first = join([*about_it, one.description.partition("\n")[0]])
    paths = " ".join(path for path, _ in walk(one.fields))
    words = f"{one.name} {one.description} {one.owner} {paths}"
    return (link, first, one.owner, str(len(one.fields))), words


def type_page(subject: Subject) -> str:
    """Make the page of one event type, or of one context."""
    one = subject.declaration
    back = element("p", element("a", "All event types", href="../index.html"), **{"class": "back"})
    parts = [*_description(one), _facts(subject), *_fields(one), *_history(subject.history)]
    parts += [element("p", f"Problem: {text}", **{"class": "problem"}) for text in one.problems]
    title = one.name if one.kind == "event" else f"{one.name} (context)"
    return page(title, join([back, element("h1", title)]), join(parts))


def _description(one: Declaration) -> Iterator[Html]:
    if one.deprecated:
        text = "" if one.deprecated == "yes" else f": {one.deprecated}"
        yield element("p", f"Deprecated{text}", **{"class": "problem"})
    for paragraph in one.description.split("\n\n"):
        if paragraph:
            yield element("p", paragraph)


def _facts(subject: Subject) -> Html:
    one, history = subject.declaration, subject.history
    facts: list[tuple[str, str]] = [("Version", one.version), ("Owner", one.owner)]
    if one.kind == "event":
        facts.insert(0, ("Schema", one.schema))
    facts.append(("Declared at", one.place))
    if subject.routes is not None:
        facts.append(("Routes", ", ".join(subject.routes) or "none takes it"))
    if history is not None:
        emitters = [place for version in history.versions for place in version.emitters]
        facts.append(("Emitted by", ", ".join(dict.fromkeys(emitters))))
        since = min((version.since for version in history.versions), default=history.first)
        facts.append(("Since", min(since, history.first or since)))
        facts.append(("Stored events", f"{history.count}, the last {history.last}"))
    rows = [join([element("dt", name), element("dd", text)]) for name, text in facts if text]
    return element("dl", join(rows))


def _fields(one: Declaration) -> Iterator[Html]:
    yield element("h2", "Fields")
    if one.fields:
        rows = [(_field_row(path, field), "") for path, field in walk(one.fields)]
        yield table(("field", "type", "about"), rows)
    else:
        yield element("p", "None.")


def _field_row(path: str, field: Field) -> Sequence[Html | str]:
    tags: list[Html] = []
    if not field.required:
        tags.append(_tag("optional"))
    if field.deprecated:
        tags.append(_tag("deprecated"))
    tags += [_tag(f"PII: {word}", "pii") for word in field.pii if word != "none"]
    lines = [line for line in about(field) if not line.startswith("PII: ") or line == "PII: none"]
    texts = [element("div", line) for line in lines]
    name = join([element("code", path), *tags])
    return name, element("code", text_of(field.type)), join(texts)


def _tag(text: str, kind: str = "tag") -> Html:
    return element("span", text, **{"class": f"tag {kind}"})


def _history(history: History | None) -> Iterator[Html]:
    """List the versions, the newest first, each with its differences from the one before."""
    if history is None or not history.versions:
        return
    yield element("h2", "Versions")
    before: Declaration | None = None
    sections = []
    for version in history.versions:
        one = version.declaration
        label = f"version {one.version}, " if one.version else ""
        head = element("h3", join([element("code", one.schema)]))
        since = element("p", f"{label}documented since {version.since}")
        changes = [] if before is None else compare({one.name: before}, {one.name: one})
        listed = _items(f"{one.word}: {one.path} {one.text}" for one in changes)
        sections.append(element("section", join([head, since, listed])))
        before = one
    yield join(reversed(sections))


def _items(texts: Iterable[str]) -> Html:
    return element("ul", join([element("li", text) for text in texts]))
