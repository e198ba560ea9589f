"""Read the fenced blocks of the documents, and the mark above each that says how it is checked.

The marks are comments, so that a reader does not see them; CONTRIBUTING.md explains them.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import workspace

CHECKED_LANGUAGES = ("python", "toml", "console")
MARKS = ("file", "installed", "not-run", "output", "part", "run", "served")
NEEDS = {
    "file": "the file's name",
    "installed": "the folder",
    "not-run": "the reason",
    "part": "the file's name",
    "served": "the path of a page",
}
"""What must follow the colon of a mark."""

_BLOCK = re.compile(
    r"^(?:<!--\ *(?P<mark>[a-z-]+)(?::\ *(?P<argument>.*?))?\ *-->\n\n?)?"
    r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```\ *$",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block: what it is, where, and what its mark says."""

    language: str
    mark: str
    argument: str
    text: str
    line: int


def documents() -> list[Path]:
    """Find every document that belongs to the repository."""
    return [path for path in workspace.tracked("*.md") if path.exists()]


def blocks_of(document: Path) -> list[Block]:
    """Read the fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [_block(found, text) for found in _BLOCK.finditer(text)]


def _block(found: re.Match[str], text: str) -> Block:
    fields = {name: value or "" for name, value in found.groupdict().items()}
    return Block(**fields, line=text.count("\n", 0, found.start()) + 1)


def found_in(text: str, part: str) -> str:
    """Return a part of a file as it stands there, at any indentation; empty if it does not."""
    forms = (textwrap.indent(part, "    " * depth) for depth in range(3))
    return next((form for form in forms if form in text), "")


def problem_with(block: Block) -> str:
    """Say what is wrong with a block's mark; empty if nothing is."""
    if block.mark and block.mark not in MARKS:
        return f"unknown mark <!-- {block.mark} -->: one of {', '.join(MARKS)}"
    if block.mark in NEEDS and not block.argument:
        wanted = NEEDS[block.mark]
        return f"<!-- {block.mark} --> without {wanted}: write <!-- {block.mark}: {wanted} -->"
    if block.language in CHECKED_LANGUAGES and not block.mark:
        return (
            f"a {block.language} block that nothing checks: mark it <!-- run --> or <!-- not-run:"
            " the reason -->"
        )
    return ""
