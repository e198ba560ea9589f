"""Writing the site: an index, a page for each event type, and Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from eventtracking_catalog.canonical import digest
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.history import History
from eventtracking_catalog.routes import Routes
from eventtracking_catalog.show import markdown
from eventtracking_catalog.site.pages import Subject, index_page, type_page

__all__ = ["write_site"]


def write_site(
    folder: Path,
    types: Sequence[Declaration],
    contexts: Sequence[Declaration],
    routes: Routes,
    history: Mapping[str, History],
) -> Path:
    """Write the site, and return the path of its first page."""
    subjects = [_subject(one, routes, history) for one in [*types, *contexts]]
    (folder / "types").mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        _write(folder / subject.href, type_page(subject))
    _write(folder / "catalog.md", _markdown(types, contexts, routes))
    first = folder / "index.html"
    _write(first, index_page(subjects))
    return first


def _subject(one: Declaration, routes: Routes, history: Mapping[str, History]) -> Subject:
    is_event = one.kind == "event"
    takes = routes[one.name].takes if is_event and one.name in routes else None
    known = history.get(one.name) if is_event else None
    return Subject(one, f"types/{_file_name(one)}.html", takes, known)


def _file_name(one: Declaration) -> str:
    """Make a file name of any name; one that is not plain gets a hash, so that no two are equal."""
    prefix = "" if one.kind == "event" else "context-"
    if re.fullmatch(r"[a-z0-9_][a-z0-9_.\-]{0,79}", one.name):
        return f"{prefix}{one.name}"
    plain = re.sub(r"[^a-z0-9_.\-]+", "-", one.name.casefold())[:40].strip(".-")
    return f"{prefix}{plain}~{digest(one.name)}"


def _markdown(types: Sequence[Declaration], contexts: Sequence[Declaration], routes: Routes) -> str:
    takes = {name: found.takes for name, found in routes.items()}
    parts = ["# Event catalog\n", *(markdown(one, takes.get(one.name)) for one in types)]
    if contexts:
        parts.append("# Contexts\n")
        parts += [markdown(one, None) for one in contexts]
    return "\n".join(parts)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
