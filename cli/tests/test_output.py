"""What a command says: `eventtracking_cli.output`, for the commands of plugins too."""

from __future__ import annotations

import json

import pytest

from eventtracking_cli.output import print_json, printable, warn


def test_what_a_terminal_would_obey_is_escaped() -> None:
    """C0, DEL, C1, what turns or breaks lines or shows nothing, and halves of characters.

    All other text is as it was.
    """
    unsafe = [
        *range(0x20),
        *range(0x7F, 0xA0),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *(0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFF9, 0xE0041),
        0xD800,
    ]
    for number in unsafe:
        assert printable(chr(number)).isascii()
        assert printable(chr(number)).encode().decode("unicode_escape") == chr(number)
    same = "edx.course \\x1b é 日本 🎉 [bold] \xa0"
    assert printable(same) == same
    assert printable(5) == "5"


def test_lines_are_kept_on_request() -> None:
    """Line feeds alone, for a message of several lines."""
    assert printable("a\nb\r\tc", keep_lines=True) == "a\nb\\r\\tc"
    assert printable("a\nb") == "a\\nb"


def test_json_means_the_same_and_holds_nothing_that_a_terminal_would_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Escaped in the way of JSON, keys too."""
    value = {"a\x9b": ["\x1b[31m", "\x7f", "\u202e", "\u200f\ufeff", "\U000e0041", "é"]}
    print_json(value)
    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert printable(shown, keep_lines=True) == shown
    assert "é" in shown


def test_a_warning_is_safe_too(capsys: pytest.CaptureFixture[str]) -> None:
    """On the standard error."""
    warn("a \x1b[31m name")
    assert capsys.readouterr().err == "warning: a \\x1b[31m name\n"
