"""Reading a class: attrs, dataclass, msgspec Struct, TypedDict, NamedTuple or pydantic model."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import msgspec

from eventtracking_catalog.facts import Facts, limits_in
from eventtracking_catalog.hints import MAX_FIELDS, Reader, limited
from eventtracking_catalog.types import MISSING, Field

__all__ = ["fields_of_class", "is_declarable", "is_pydantic"]

_NO_DEFAULT: Final = object()
_FACTORIES: Final[dict[Any, Any]] = {list: [], tuple: [], set: [], frozenset: [], dict: {}}


class _Slot(typing.NamedTuple):
    """A field as its class has it."""

    name: str
    default: Any = _NO_DEFAULT
    optional: bool = False
    description: str = ""
    metadata: tuple[Any, ...] = ()
    hint: Any = None


def is_pydantic(kind: type[Any]) -> bool:
    """Tell whether a class is a pydantic model, without importing pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def is_declarable(kind: Any) -> bool:
    """Tell whether a class is of a kind that has fields."""
    return isinstance(kind, type) and _slots_of(kind) is not None


def fields_of_class(
    kind: type[Any], reader: Reader, path: str, local: Mapping[str, Any] | None = None
) -> tuple[Field, ...] | None:
    """Read the fields of a class; None for a class of another kind."""
    listing = _slots_of(kind)
    if listing is None:
        return None
    if len(getattr(kind, "__annotations__", ())) > MAX_FIELDS:
        reader.problem(path, f"more than {MAX_FIELDS} fields, none of which is checked")
        return None
    slots = list(listing(kind))
    if not reader.spend(len(slots)):
        reader.problem(path, f"more than {MAX_FIELDS} fields, none of which is checked")
        return None
    hints = _hints(kind, reader, path, local)
    return tuple(_field(slot, hints, reader, path) for slot in slots)


def _hints(
    kind: type[Any], reader: Reader, path: str, local: Mapping[str, Any] | None
) -> dict[str, Any]:
    names = dict(local or {}) | {kind.__name__: kind}
    try:
        return typing.get_type_hints(kind, localns=names, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations are code of the application; one that fails must not hide the others
        return _hints_one_by_one(kind, reader, path, names)


def _hints_one_by_one(
    kind: type[Any], reader: Reader, path: str, names: Mapping[str, Any]
) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        module = vars(sys.modules.get(base.__module__, typing))
        for name, hint in getattr(base, "__annotations__", {}).items():
            one = type("one", (), {"__annotations__": {name: hint}})
            try:
                hints |= typing.get_type_hints(one, dict(module), dict(names), include_extras=True)
            except Exception as error:  # noqa: BLE001 - as above
                where = f"{path}.{name}" if path else name
                reader.problem(where, f"the annotation raised {type(error).__name__}")
                hints[name] = Any
    return hints


def _field(slot: _Slot, hints: Mapping[str, Any], reader: Reader, path: str) -> Field:
    own = f"{path}.{slot.name}" if path else slot.name
    found, facts, optional = reader.field_type(hints.get(slot.name, slot.hint or Any), own)
    may_be_absent = slot.optional if optional is None else optional
    undocumented = slot.default is _NO_DEFAULT or slot.default is msgspec.UNSET
    return Field(
        name=slot.name,
        type=limited(found, limits_in(slot.metadata)),
        required=slot.default is _NO_DEFAULT and not may_be_absent,
        default=MISSING if undocumented else _default(slot.default),
        **{a.name: getattr(facts, a.name) for a in attrs.fields(Facts) if a.name != "description"},
        description=facts.description or slot.description,
    )


def _default(value: Any) -> Any:
    """Return the default to document; of a factory, only that of an empty container."""
    factory = getattr(value, "factory", None) or getattr(value, "default_factory", None)
    if factory is None:
        return value
    return _FACTORIES.get(factory, MISSING)


def _slots_of(kind: type[Any]) -> Callable[[type[Any]], Iterator[_Slot]] | None:
    """Return the function that lists the fields of a class, by the kind of the class."""
    if isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
        return _attrs_slots
    if issubclass(kind, msgspec.Struct):
        return _struct_slots
    if is_pydantic(kind):
        return _pydantic_slots
    if isinstance(getattr(kind, "__dataclass_fields__", None), dict):
        return _dataclass_slots
    if hasattr(kind, "__total__") and hasattr(kind, "__required_keys__"):
        return _typed_dict_slots
    return None


def _attrs_slots(kind: type[Any]) -> Iterator[_Slot]:
    for one in kind.__attrs_attrs__:
        default = _NO_DEFAULT if one.default is attrs.NOTHING else one.default
        yield _Slot(one.name, default, hint=one.type)


def _struct_slots(kind: type[Any]) -> Iterator[_Slot]:
    names, defaults = kind.__struct_fields__, kind.__struct_defaults__
    first = len(names) - len(defaults)
    for index, name in enumerate(names):
        default = defaults[index - first] if index >= first else _NO_DEFAULT
        yield _Slot(name, _NO_DEFAULT if default is msgspec.NODEFAULT else default)


def _pydantic_slots(kind: type[Any]) -> Iterator[_Slot]:
    for name, info in kind.model_fields.items():
        default = _NO_DEFAULT if info.is_required() else info.default
        if info.default_factory is not None:
            default = _FACTORIES.get(info.default_factory, msgspec.UNSET)
        yield _Slot(
            name, default, description=info.description or "", metadata=tuple(info.metadata)
        )
    for name, info in getattr(kind, "model_computed_fields", {}).items():
        yield _Slot(name, msgspec.UNSET, description=info.description or "", hint=info.return_type)


def _dataclass_slots(kind: type[Any]) -> Iterator[_Slot]:
    import dataclasses

    for one in dataclasses.fields(kind):
        default: Any = _NO_DEFAULT if one.default is dataclasses.MISSING else one.default
        if one.default_factory is not dataclasses.MISSING:
            default = _FACTORIES.get(one.default_factory, msgspec.UNSET)
        yield _Slot(one.name, default)


def _typed_dict_slots(kind: type[Any]) -> Iterator[_Slot]:
    required = kind.__required_keys__
    for name in kind.__annotations__:
        yield _Slot(name, optional=name not in required)
