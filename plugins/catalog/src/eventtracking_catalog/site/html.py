"""HTML that is escaped by construction."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Final

__all__ = ["Html", "element", "join", "page", "raw", "table"]

_HERE: Final = Path(__file__).parent


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def raw(text: str) -> Html:
    """Take text of our own as HTML."""
    return Html(text)


def _escaped(content: Html | str) -> str:
    return content if isinstance(content, Html) else escape(content)


def element(name: str, content: Html | str = "", **attributes: str) -> Html:
    """Make an element; content and attributes are escaped."""
    given = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{_escaped(content)}</{name}>")


def join(parts: Iterable[Html | str]) -> Html:
    """Join parts, each escaped unless it is HTML."""
    return Html("".join(map(_escaped, parts)))


def table(head: Sequence[str], rows: Iterable[tuple[Sequence[Html | str], str]]) -> Html:
    """Make a table whose rows become cards on a phone.

    Args:
        rows: The cells, and the words by which a search finds the row.
    """
    heads = join([element("th", name, scope="col") for name in head])
    body = []
    for cells, words in rows:
        labelled = [
            element("td", cell, **{"data-label": name})
            for name, cell in zip(head, cells, strict=True)
        ]
        search = {"data-words": words.casefold()} if words else {}
        body.append(element("tr", join(labelled), **search))
    parts = [element("thead", element("tr", heads)), element("tbody", join(body))]
    return element("table", join(parts))


@lru_cache(maxsize=2)
def _asset(name: str) -> tuple[str, str]:
    """Return an asset's text, and its hash as a content security policy has it."""
    text = (_HERE / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return text, f"'sha256-{digest}'"


def page(title: str, head: Html, content: Html, script: bool = False) -> str:
    """Make a whole page, which loads nothing from anywhere."""
    style, style_hash = _asset("style.css")
    code, code_hash = _asset("search.js") if script else ("", "'none'")
    policy = f"default-src 'none'; style-src {style_hash}; script-src {code_hash}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header>{head}</header>\n<main>{content}</main>\n"
        + (f"<script>{code}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )
