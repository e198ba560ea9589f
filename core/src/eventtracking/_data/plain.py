"""The plain forms of values: which builtin stands for an instance of a type.

A form takes a value one step nearer to plain data. It may return a value that needs another step.
"""

from __future__ import annotations

import base64
import math
import numbers
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from datetime import time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import UNSET

from eventtracking._data.copy import MAX_VALUES, genuine_date, genuine_datetime
from eventtracking._data.snapshot import Values, as_utc

__all__ = ["as_text", "field_values", "form_of", "has_fields"]

Form = Callable[[Any], Any]


def form_of(kind: type, values: Values) -> Form | None:
    """Return the function that gives the plain form of a type's instances, or None.

    Args:
        values: The forms that plugins have registered; they win.
    """
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    for table in (values, _BY_NAME):
        for name in names:
            if name in table:
                return table[name]
    form = _form_by_base(kind, _BUILTINS)
    if form is None and not issubclass(kind, type):
        form = _form_by_behaviour(kind)
    return form


def _form_by_base(kind: type, forms: Iterable[tuple[Any, Form]]) -> Form | None:
    return next((form for base, form in forms if issubclass(kind, base)), None)


def _form_by_behaviour(kind: type) -> Form | None:
    if hasattr(kind, "__wrapped__") or any(
        isinstance(vars(base).get("__class__"), property) for base in kind.__mro__
    ):
        return _behind
    if callable(getattr(kind, "casefold", None)) and hasattr(kind, "encode"):
        return str  # a lazy string: UserString, a proxy of text
    form = _form_by_base(kind, _ABSTRACT)
    if form is not None:
        return form
    if has_fields(kind):
        return field_values
    if hasattr(kind, "__fspath__"):
        return _path
    if hasattr(kind, "__index__") and not hasattr(kind, "__array__"):
        return _index
    return None


def has_fields(kind: type) -> bool:
    """Tell whether it is an attrs class, a dataclass or a msgspec Struct."""
    return (
        isinstance(getattr(kind, "__attrs_attrs__", None), tuple)
        or issubclass(kind, msgspec.Struct)
        or isinstance(getattr(kind, "__dataclass_fields__", None), dict)
    )


def field_values(value: Any) -> dict[str, Any]:
    """Return the fields of an instance of an attrs class, a dataclass or a msgspec Struct.

    Fields that are `msgspec.UNSET` are left out.
    """
    kind = type(value)
    attributes = getattr(kind, "__attrs_attrs__", None)
    if isinstance(attributes, tuple):
        names: Iterable[str] = [field.name for field in attributes]
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    else:
        import dataclasses  # loaded already, or there would be none of its classes

        names = [field.name for field in dataclasses.fields(value)]  # without class variables
    found = {name: getattr(value, name, None) for name in names}
    return {name: member for name, member in found.items() if member is not UNSET}


def as_text(value: Any) -> str:
    """Return the text that stands for a native scalar: RFC 3339, base64, or its digits."""
    if isinstance(value, str):
        return value
    return str(value if isinstance(value, int | float) else msgspec.to_builtins(value))


def _some(values: Iterable[Any]) -> list[Any]:
    """List no more values than an event may have, because user code may yield without end."""
    return list(islice(values, MAX_VALUES + 1))


def _moment(value: Any) -> Any:
    if getattr(value, "nanosecond", 0):  # of pandas
        return value.isoformat()
    try:
        return as_utc(value)
    except OverflowError:  # a year that UTC does not have
        return genuine_datetime().isoformat(value)


def _day(value: Any) -> Any:
    return genuine_date().fromordinal(genuine_date().toordinal(value))


def _time(value: Any) -> str:
    return time.isoformat(value)


def _duration(value: Any) -> str:
    return str(msgspec.to_builtins(timedelta.__pos__(value)))


def _path(value: Any) -> str:
    path = os.fspath(value)
    return path if isinstance(path, str) else os.fsdecode(path)


def _index(value: Any) -> int:
    return int(value.__index__())


def _number(value: Any) -> Any:
    """Return the float that a number is, unless it is past all floats."""
    number = float(value)
    if math.isinf(number) and number != value:
        raise OverflowError
    return number


def _behind(value: Any) -> Any:
    """Return the value behind a proxy."""
    wrapped = getattr(type(value), "__wrapped__", None)
    if wrapped is not None:
        return value.__wrapped__
    claimed = value.__class__
    for base in (str, bool, int, float):
        if issubclass(claimed, base):
            return base(value)
    raise TypeError


def _numpy(value: Any) -> Any:
    """Return the bool, integer or float that a scalar of numpy is.

    Its durations are integers, too, to Python, and its complex numbers and moments have a float.
    """
    return _NUMPY[value.dtype.kind](value)


def _model(value: Any) -> Any:
    return value.model_dump() if hasattr(type(value), "model_dump") else value.dict()


def _lazy_object(value: Any) -> Any:
    if value._wrapped is sys.modules["django.utils.functional"].empty:
        value._setup()
    return value._wrapped


_NUMPY: Final[dict[str, Form]] = {
    "b": bool,
    "i": int,
    "u": int,
    "f": _number,
    "U": str.__str__,
    "S": lambda value: bytes.__getitem__(value, slice(None)),
}

_BY_NAME: Final[dict[str, Form]] = {
    "numpy.generic": _numpy,
    "pydantic.main.BaseModel": _model,
    "pydantic.v1.main.BaseModel": _model,
    "pydantic.networks._BaseUrl": str,
    "pydantic.networks._BaseMultiHostUrl": str,
    "pydantic_core._pydantic_core.Url": str,
    "pydantic_core._pydantic_core.MultiHostUrl": str,
    "django.utils.functional.LazyObject": _lazy_object,
    "django.utils.functional.Promise": lambda value: value._proxy____cast(),
    "werkzeug.local.LocalProxy": lambda value: value._get_current_object(),
    "ipaddress._IPAddressBase": str,
    "zoneinfo.ZoneInfo": str,
    "types.SimpleNamespace": lambda value: dict(vars(value)),
    "uuid_utils.UUID": lambda value: uuid.UUID(int=value.int),
}
"""By the qualified name, so that nothing is imported for it."""

_BUILTINS: Final[tuple[tuple[Any, Form], ...]] = (
    (Enum, lambda value: value.value),
    (str, str.__str__),
    (bool, bool),
    (int, int.__int__),
    (float, float.__float__),
    (genuine_datetime(), _moment),
    (genuine_date(), _day),
    (uuid.UUID, lambda value: uuid.UUID(int=value.int)),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    ((bytearray, memoryview), lambda value: base64.b64encode(bytes(value)).decode()),
    (Decimal, Decimal.__str__),
    (timedelta, _duration),
    (time, _time),
    (dict, lambda value: dict(dict.items(value))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: list(tuple.__iter__(value))),
    (set, lambda value: list(set.__iter__(value))),
    (frozenset, lambda value: list(frozenset.__iter__(value))),
)
"""Subclasses of builtins become their base by the base's own methods: their own may raise."""

_ABSTRACT: Final[tuple[tuple[Any, Form], ...]] = (
    (Mapping, lambda value: dict(_some(value.items()))),
    ((AbstractSet, Sequence, ValuesView), _some),
    (numbers.Integral, int),
    (numbers.Real, _number),
)
