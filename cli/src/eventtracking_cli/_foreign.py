"""Files that hold no JSON lines: compressed, in another encoding, or one document of many lines."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

import click

__all__ = ["ForeignFileError", "require_lines", "require_text"]

_BY_START: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\x1f\x8b", "gzip", "zcat {}"),
    (b"BZh", "bzip2", "bzcat {}"),
    (b"\xfd7zXZ\x00", "xz", "xzcat {}"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat {}"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4cat {}"),
    (b"PK\x03\x04", "a zip archive", "unzip -p {}"),
    (b"\xff\xfe\x00\x00", "UTF-32", "iconv -f UTF-32 -t UTF-8 {}"),
    (b"\x00\x00\xfe\xff", "UTF-32", "iconv -f UTF-32 -t UTF-8 {}"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8 {}"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8 {}"),
    (b"\x00\x00\x00", "UTF-32", "iconv -f UTF-32BE -t UTF-8 {}"),
)
_BY_NULS: Final = (
    (re.compile(rb"[^\x00]\x00\x00\x00"), "UTF-32", "iconv -f UTF-32LE -t UTF-8 {}"),
    (re.compile(rb"\x00[^\x00]"), "UTF-16", "iconv -f UTF-16BE -t UTF-8 {}"),
    (re.compile(rb"[^\x00]\x00"), "UTF-16", "iconv -f UTF-16LE -t UTF-8 {}"),
)
_BY_LAYOUT: Final = (
    (re.compile(rb"\s*\[\s*(\{|$)"), "an array of events", "jq -c '.[]' {}"),
    (re.compile(rb"\s*\{\s*$"), "JSON over several lines", "jq -c . {}"),
    (re.compile(rb"\s*\{[^\r]*\}\r+\s*\{"), "lines that end in CR", "tr '\\r' '\\n' < {}"),
)
_BOM: Final = b"\xef\xbb\xbf"


class ForeignFileError(click.ClickException):
    """Raised when a file holds no JSON lines, with the command that makes some of it."""


def require_lines(first: bytes, source: Any) -> None:
    """Look at the first line of a file once, instead of a complaint about each of its lines.

    Args:
        first: The line, as it stands in the file.
        source: The file; its name is told.

    Raises:
        ForeignFileError: If the file holds no JSON lines.
    """
    require_text(first, source)
    _require_none(_BY_LAYOUT, first, source, " of JSON, one event a line")


def require_text(start: bytes, source: Any) -> None:
    """Refuse a compressed file, and an encoding other than UTF-8.

    Raises:
        ForeignFileError: If it is one of them.
    """
    for begins, found, command in _BY_START:
        if start.startswith(begins):
            raise _foreign(found, command, source, "")
    _require_none(_BY_NULS, start, source, "")


def _require_none(
    forms: tuple[tuple[re.Pattern[bytes], str, str], ...], start: bytes, source: Any, lines: str
) -> None:
    for pattern, found, command in forms:
        if pattern.match(start.removeprefix(_BOM)):
            raise _foreign(found, command, source, lines)


def _foreign(found: str, command: str, source: Any, lines: str) -> ForeignFileError:
    name = getattr(source, "name", "<stdin>")
    is_file = isinstance(name, str) and not name.startswith("<")
    text = command.format(shlex.quote(str(name)) if is_file else "FILE")
    context = click.get_current_context(silent=True)
    ours = context.command_path if context else "eventtracking replay"
    return ForeignFileError(
        f"{name if is_file else 'the input'}: expected UTF-8 text{lines}; found {found};"
        f" for example: {text} | {ours} -"
    )
