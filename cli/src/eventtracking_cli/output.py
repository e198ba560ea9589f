"""What a command says: text that is safe for a terminal, and JSON for scripts.

For the commands of plugins too.

An event's name is whatever somebody emitted. What may hold one goes through `printable`::

    click.echo(printable(event.name))
"""

from __future__ import annotations

import re
from typing import Any, Final

import click
import msgspec

__all__ = ["json_option", "print_json", "printable", "warn"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
"""Add `--json` to a command; its function is given `as_json`."""

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, what breaks a line or turns its direction, and halves of characters that no
encoding takes.
"""
_UNSAFE_IN_LINES: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_UNSAFE_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SHORT: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable(text: object, *, keep_lines: bool = False) -> str:
    """Escape what a terminal would obey instead of show, as Python writes it: `\\x1b`, `\\t`.

    Other text stays as it is.

    Args:
        text: What is no text becomes text.
        keep_lines: Whether line feeds stay, for a message of several lines.
    """
    return (_UNSAFE_IN_LINES if keep_lines else _UNSAFE).sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def print_json(value: Any) -> None:
    """Print a value as indented JSON.

    What a terminal would obey is escaped, which leaves the values as they are.
    """
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    click.echo(
        _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    )  # only strings hold such


def warn(text: str) -> None:
    """Say something on the standard error that does not end the command."""
    click.echo(f"warning: {printable(text, keep_lines=True)}", err=True)
