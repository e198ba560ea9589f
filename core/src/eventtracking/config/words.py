"""Words for the values in a config, and for those accepted, which show no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["did_you_mean", "hide", "in_words", "is_at", "join", "show"]

_MAX_CHARS: Final = 100
_CREDENTIALS: Final = re.compile(
    r"[^\s\"'=,;(]*:[^\s/@][^\s@]*@[^\s\"']*"
    r"|[^\s\"']*(?:password|passwd|secret|token|api_?key|access_?key|credential|signature)"
    r"[\w-]*=[^\s\"']*",
    re.IGNORECASE,
)
"""Text that holds a password, as far as it can be told: a URI with a user, or a query."""
_WORD: Final = re.compile(r"\S+")
_LONGEST_WORD: Final = 1_000
"""Characters without a space; longer text is not searched, which would take too long, nor shown."""


def join(path: str, name: object) -> str:
    """Return the path of a name inside a path."""
    return f"{path}.{name}" if path else str(name)


def is_at(path: str, place: str) -> bool:
    """Tell whether a path is that of a place, or of a part of it."""
    return path == place or path.startswith((f"{place}.", f"{place}["))


def hide(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without secrets, in each form that Python and JSON write them, and without
    likely passwords, such as those in a URI.
    """
    forms = {
        form for secret in secrets for form in (secret, repr(secret)[1:-1], _json(secret)[1:-1])
    }
    for form in sorted(filter(None, forms), key=len, reverse=True):
        text = text.replace(form, "***")
    return _WORD.sub(_without_credentials, text)


def _without_credentials(word: re.Match[str]) -> str:
    return "***" if len(word[0]) > _LONGEST_WORD else _CREDENTIALS.sub("***", word[0])


def did_you_mean(name: str, known: Any, cutoff: float = 0.6) -> str | None:
    """Suggest the nearest of the known names, if one is near: by `difflib`'s ratio, from 0 to 1 for
    equal, at least `cutoff`.
    """
    from difflib import get_close_matches  # for a mistake alone

    near = get_close_matches(str(name), [str(one) for one in known], n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else None


def _json(value: Any, **how: Any) -> str:
    import json  # for a mistake alone

    return json.dumps(value, **how)


def show(value: Any) -> str:
    """Quote a value of a config, shortly."""
    try:
        text = _json(_told(value), ensure_ascii=False, default=_type_in_words)
    except (TypeError, ValueError, RecursionError):
        text = _type_in_words(value)
    text = text.replace('"***"', "***")
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 3]}..."


def _told(value: Any) -> Any:
    """Return the part of a value that may be shown: of a table, its keys."""
    if isinstance(value, str):
        return value if hide(value) == value else "***"
    if isinstance(value, Mapping):
        return {str(key): "..." for key in value}
    return [_told(member) for member in value] if isinstance(value, list | tuple) else value


def _type_in_words(value: object) -> str:
    return f"a {type(value).__name__}"


_BOUNDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matching {}",
}
_KINDS: Final = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
    "object": "a table",
}


def in_words(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON Schema accepts."""
    if "anyOf" in schema:
        return " or ".join(in_words(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(_json(value) for value in schema["enum"])
    if schema.get("type") == "array":
        items = in_words(schema.get("items") or {})
        words = f"a list (each {items})" if items else "a list"
    else:
        words = _KINDS.get(schema.get("type", ""), "")
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return f"{words}, {' and '.join(bounds)}" if bounds else words
