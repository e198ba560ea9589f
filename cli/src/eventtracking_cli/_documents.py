"""Events as people keep them: JSON documents, in our form and in the older one of Open edX tracking
logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from eventtracking import Event
from eventtracking_cli._foreign import require_lines

__all__ = ["Line", "describe_json_error", "read_event", "read_lines"]


@attrs.frozen(kw_only=True)
class Line:
    """One line of a file of events."""

    number: int
    length_bytes: int
    event: Event | None
    problem: str = ""
    """Why there is no event, without the line's text. Empty for a blank line too."""


def read_lines(lines: Iterable[bytes], as_written: bool = False) -> Iterator[Line]:
    """Read JSON lines, one event each.

    A problem with one is told with it; blank ones have no event. Any line may begin with a
    byte order mark: files that were put together have several.

    Raises:
        ForeignFileError: If the file holds no JSON lines.
    """
    for number, raw in enumerate(lines, 1):
        event, problem = None, ""
        if number == 1:
            require_lines(raw, lines)
        try:
            text = raw.decode("utf-8-sig").strip()
            event = read_event(text, as_written) if text else None
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 at byte {error.start + 1}"
        except ValueError as error:
            problem = str(error)
        yield Line(number=number, length_bytes=len(raw), event=event, problem=problem)


def read_event(text: str, as_written: bool = False) -> Event:
    """Read one event from JSON.

    Args:
        text: The JSON.
        as_written: Whether data that is no object is kept, for `Tracker.submit`.

    Raises:
        ValueError: If it is none, in words that hold nothing of the text.
    """
    try:
        document = json.loads(text, object_pairs_hook=_table)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {describe_json_error(error)}") from None
    except _TwiceError as error:
        raise ValueError(str(error)) from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"no usable JSON ({type(error).__name__})") from None
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    key = "data" if "data" in document else "event"
    if as_written and not isinstance(document.get(key, {}), dict):
        written = document.pop(key)
        return Event.from_dict(_in_our_form(document)).replace(data=written)
    return Event.from_dict(_in_our_form(document))


class _TwiceError(ValueError):
    """Raised when an object has a key twice: one of the values would be lost."""


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _TwiceError("a key stands twice in one object")
    return table


def describe_json_error(error: json.JSONDecodeError) -> str:
    """Tell the problem and its place, in words that hold nothing of the text."""
    line = f"line {error.lineno} " if "\n" in error.doc else ""
    # some of Python's messages end in it
    return f"{error.msg.removesuffix(' at')} at {line}column {error.colno}"


def _in_our_form(document: Mapping[str, Any]) -> dict[str, Any]:
    """Read the keys `event_type`, `time` and `event` where ours are missing, and data that is text,
    as browsers sent it.
    """
    ours = dict(document)
    if not ours.get("name") and "event_type" in ours:
        ours["name"] = ours["event_type"]
    for key, older in (("timestamp", "time"), ("data", "event")):
        if key not in ours and older in ours:
            ours[key] = ours.pop(older)
    if isinstance(ours.get("data"), str):
        ours["data"] = _data_from_text(ours["data"])
    return ours


def _data_from_text(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (RecursionError, ValueError):
        value = text
    return value if isinstance(value, dict) else {"value": value}
