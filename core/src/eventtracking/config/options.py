"""The options of a plugin: the fields of its attrs class.

That one definition drives validation, schema and documents. A field's type says which values are
accepted (constraints in `Literal` and `Annotated[..., msgspec.Meta(...)]`), its default which one
holds without it, `metadata={"help": ...}` its purpose, and `repr=False` that it is a secret.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from inspect import get_annotations
from pathlib import PurePath
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

from eventtracking._data.snapshot import snapshot
from eventtracking.config.words import in_words

__all__ = ["MISSING", "Option", "nested_in", "options_of", "unsupported"]

MISSING: Final = attrs.NOTHING


class Option(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One option of a plugin."""

    name: str
    type: Any
    default: Any
    """`MISSING` if it must be given."""
    help: str
    secret: bool

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema (2020-12), without the help."""
        try:
            (schema,), definitions = msgspec.json.schema_components(
                [self.type], schema_hook=_schema, ref_template="#/$defs/{name}"
            )
        except (TypeError, NotImplementedError):  # JSON Schema has no words for it
            return {}
        enums = {name: found for name, found in definitions.items() if "enum" in found}
        others = {name: found for name, found in definitions.items() if name not in enums}
        schema = _inline(schema, enums)
        return {**schema, "$defs": others} if others else schema

    @property
    def accepted(self) -> str:
        """The accepted values, in words."""
        return in_words(self.schema) or getattr(self.type, "__name__", "any value")

    def convert(self, value: Any, from_text: bool) -> Any:
        """Turn a value of the config into one of the option's type.

        Args:
            from_text: Whether the value came out of a `${VAR}`, so that "8" will do for a number.

        Raises:
            msgspec.ValidationError: If it does not fit.
        """
        try:
            return msgspec.convert(value, self.type, strict=not from_text, dec_hook=_decode)
        except (msgspec.ValidationError, TypeError):
            # A settings module has paths, lazy text, sets and enums; their plain form may do.
            plain = snapshot(value)
            if plain.problems or plain.value is value:
                raise
            return msgspec.convert(plain.value, self.type, strict=not from_text, dec_hook=_decode)


def options_of(plugin_class: type[Any]) -> dict[str, Option]:
    """Return the options of a plugin's class, by name, in their order.

    Raises:
        NameError: If the type of an option names an object that its module does not have.
    """
    fields = [field for field in attrs.fields(plugin_class) if field.init]
    hints = _hints(plugin_class)  # type: ignore[arg-type]  # mypy takes a class for unhashable
    return {
        field.alias or field.name: _option(field, hints.get(field.name, Any)) for field in fields
    }


@lru_cache(maxsize=256)
def _hints(plugin_class: type[Any]) -> dict[str, Any]:
    """Resolve the annotations of the options alone: other fields may have types that are imported
    for type checkers only.
    """
    names = {field.name for field in attrs.fields(plugin_class) if field.init}
    hints: dict[str, Any] = {}
    for base in reversed(plugin_class.__mro__):
        own = {name: hint for name, hint in get_annotations(base).items() if name in names}
        module = vars(sys.modules[base.__module__])
        hints |= get_type_hints(
            SimpleNamespace(__annotations__=own), module, dict(vars(base)), include_extras=True
        )
    return hints


def _option(field: attrs.Attribute[Any], hint: Any) -> Option:
    default: Any = field.default
    if hasattr(default, "takes_self"):  # an attrs.Factory
        default = None if default.takes_self else default.factory()
    return Option(
        name=field.alias or field.name,
        type=Any if hint is None else hint,
        default=default,
        help=str(field.metadata.get("help", "")),
        secret=field.repr is False,
    )


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Put definitions in the place of their references."""
    if isinstance(schema, list):
        return [_inline(member, definitions) for member in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in definitions:
        return {"enum": definitions[name]["enum"]}
    return {key: _inline(member, definitions) for key, member in schema.items()}


_TABLES: Final = (dict, Mapping)
_LISTS: Final = (list, tuple, set, frozenset, Sequence, AbstractSet)
_SCALARS: Final = (str, int, float, bytes, enum.Enum, PurePath, NoneType, msgspec.Struct)
_BY_MODULE: Final = ("datetime", "decimal", "uuid")


def nested_in(hint: Any) -> tuple[str, type[Any]] | None:
    """Return the attrs class in an option's type, and whether it stands there by itself
    (`"one"`), in a list (`"list"`) or as the values of a table (`"table"`).
    """
    origin, arguments = _parts(hint)
    if origin is Union:
        return next((found for one in arguments if (found := nested_in(one))), None)
    if isinstance(origin, type) and not arguments and attrs.has(origin):
        return "one", origin
    kind = "table" if origin in _TABLES else "list" if origin in _LISTS else ""
    inner = nested_in(arguments[-1 if kind == "table" else 0]) if kind and arguments else None
    return (kind, inner[1]) if inner is not None and inner[0] == "one" else None


def unsupported(hint: Any) -> str | None:
    """Return the name of a type that no config can express, or None."""
    origin, arguments = _parts(hint)
    if origin is Any or origin is Literal or origin is object or origin is Ellipsis:
        return None
    if origin is Union or origin in _TABLES or origin in _LISTS:
        return next((found for one in arguments if (found := unsupported(one))), None)
    if not isinstance(origin, type):
        return str(origin)
    if attrs.has(origin):
        hints = (option.type for option in options_of(origin).values())
        return next((found for one in hints if (found := unsupported(one))), None)
    if issubclass(origin, _SCALARS + _LISTS + _TABLES) or origin.__module__ in _BY_MODULE:
        return None
    return None if hasattr(origin, "__dataclass_fields__") else origin.__qualname__


def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type and its arguments, without aliases and annotations."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            break
    origin = get_origin(hint) or hint
    return (Union if origin is UnionType else origin), get_args(hint)


def _decode(kind: type[Any], value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`")


def _schema(kind: type[Any]) -> dict[str, Any]:
    if issubclass(kind, PurePath):
        return {"type": "string", "format": "path"}
    raise NotImplementedError
