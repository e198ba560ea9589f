"""The output of commands: text that is safe for a terminal, and JSON for scripts.

For the commands of plugins too.

An event's name is any text. Text that may hold one goes through `printable`::

    click.echo(printable(event.name))
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import click
import msgspec

__all__ = ["json_option", "print_json", "printable", "warn"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
"""Add `--json` to a command; its function is given `as_json`."""

_INVISIBLE: Final = (
    "\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Characters that break a line, turn its direction, or show nothing. Joiners are no such: scripts
and emoji need them.
"""
_UNSAFE: Final = re.compile(f"[\x00-\x1f{_INVISIBLE}\ud800-\udfff]")
"""Also control characters, and halves of characters that no encoding takes."""
_UNSAFE_IN_LINES: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_UNSAFE_IN_JSON: Final = re.compile(f"[{_INVISIBLE}]")
_SHORT: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable(text: object, *, keep_lines: bool = False) -> str:
    """Escape characters that a terminal would obey instead of show: `\\x1b`, `\\t`.

    Other text stays as it is.

    Args:
        text: Other values become text.
        keep_lines: Whether line feeds stay, for a message of several lines.
    """
    return (_UNSAFE_IN_LINES if keep_lines else _UNSAFE).sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number > 0xFFFF:
        return f"\\U{number:08x}"
    return _SHORT.get(match[0]) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def print_json(value: Any) -> None:
    """Print a value as indented JSON.

    Control characters are escaped, which leaves the values as they are.
    """
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    click.echo(
        _UNSAFE_IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)
    )  # only strings hold such


def warn(text: str) -> None:
    """Print a warning on the standard error that does not end the command."""
    click.echo(f"warning: {printable(text, keep_lines=True)}", err=True)
