"""Types as text: `list[str] | None`, in files, in records and on pages."""

from __future__ import annotations

import ast
import json
from typing import Any, Final

from eventtracking_catalog.canonical import plain
from eventtracking_catalog.types import ANY, NULL, SCALARS, Type, union

__all__ = ["NotationError", "text_of", "type_of"]

_WORDS: Final = {
    **{word: word for word in SCALARS},
    "none": "null",
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
}
_LISTS: Final = ("list", "array", "set", "frozenset", "sequence")
_MAPS: Final = ("dict", "map", "mapping")
_MAX_TEXT_CHARS: Final = 10_000


class NotationError(ValueError):
    """Raised for text that names no type."""


def text_of(one: Type) -> str:
    """Write a type as text; limits and the fields of objects stand beside it."""
    if one.kind == "list":
        return f"list[{text_of(one.members[0])}]"
    if one.kind == "map":
        return f"dict[str, {text_of(one.members[0])}]"
    if one.kind == "tuple":
        return f"tuple[{', '.join(map(text_of, one.members)) or '()'}]"
    if one.kind == "enum":
        return " | ".join(map(_literal, one.values))
    if one.kind == "union":
        return " | ".join(map(text_of, one.members))
    if one.kind == "opaque":
        return f"opaque[{json.dumps(one.label)}]"
    return "None" if one.kind == "null" else one.kind


def _literal(value: Any) -> str:
    value = plain(value)
    return str(value) if isinstance(value, bool) else json.dumps(value)


def type_of(text: str, inner: Type | None = None) -> Type:
    """Read a type from text.

    Args:
        inner: The object that the word `object` stands for.

    Raises:
        NotationError: If the text names no type.
    """
    if len(text) > _MAX_TEXT_CHARS:
        raise NotationError("the text is too long")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _read(tree.body, inner)
    except NotationError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotationError("it is no type") from None


def _read(node: ast.expr, inner: Type | None) -> Type:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return union([_read(node.left, inner), _read(node.right, inner)])
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return _read_generic(node.value.id.casefold(), node.slice, inner)
    if isinstance(node, ast.Name):
        return _read_word(node.id, inner)
    value = _constant(node)
    return NULL if value is None else Type(kind="enum", values=(value,))


def _constant(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        raise NotationError("it is no type") from None
    if value is not None and type(value) not in (str, int, float, bool):
        raise NotationError(f"a {type(value).__name__} is no member of an enum")
    return value


def _read_word(word: str, inner: Type | None) -> Type:
    folded = word.casefold()
    if folded in _LISTS:
        return Type(kind="list", members=(ANY,))
    if folded in _MAPS:
        return Type(kind="map", members=(ANY,))
    if folded == "object":
        return Type(kind="map", members=(ANY,)) if inner is None else inner
    if folded in ("true", "false"):
        return Type(kind="enum", values=(folded == "true",))
    if folded not in _WORDS:
        raise NotationError(f"{word!r} is no type; accepted are {', '.join(SCALARS)}")
    return Type(kind=_WORDS[folded])


def _read_generic(word: str, argument: ast.expr, inner: Type | None) -> Type:
    arguments = list(argument.elts) if isinstance(argument, ast.Tuple) else [argument]
    if word == "opaque" and len(arguments) == 1:
        return Type(kind="opaque", label=str(_constant(arguments[0])))
    if word == "tuple":
        return Type(kind="tuple", members=tuple(_read(one, inner) for one in arguments))
    if word in _LISTS and len(arguments) == 1:
        return Type(kind="list", members=(_read(arguments[0], inner),))
    if word in _MAPS and len(arguments) <= 2:  # the keys are text, as in every snapshot
        return Type(kind="map", members=(_read(arguments[-1], inner),))
    raise NotationError(f"{word}[...] is no type")
