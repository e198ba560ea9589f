"""Makes the line of an event: one line for every reader, whatever its encoding."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ascii_line", "visible_line"]

_NOT_ASCII: Final = "[\x7f-\U0010ffff]"
"""Compiled when the first line needs it: that costs as much as importing a module."""


def ascii_line(line: str) -> str:
    """Escape all but ASCII, as JSON does: the same value for a reader of JSON."""
    if line.isascii() and "\x7f" not in line:
        return line
    return re.sub(_NOT_ASCII, _escape, line)


def visible_line(line: str) -> str:
    """Escape the characters that show nothing: they break a line, or turn its direction."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else _escape_char(char) for char in line)


def _escape(match: re.Match[str]) -> str:
    return _escape_char(match[0])


def _escape_char(char: str) -> str:
    number = ord(char)
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
