"""Declared events: instances whose class carries the name of the event.

`emit(CourseEnrolled(course="botany"))` asks here, and only where the name is no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    import msgspec
    from attrs import AttrsInstance

__all__ = ["Declared", "data_of", "name_of"]


class _Named(Protocol):
    """A class that carries the name itself."""

    @property
    def __eventtracking_name__(self) -> str: ...


class _Dataclass(Protocol):
    """A dataclass, to type checkers; a decorator has added the name."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Model(Protocol):
    """A pydantic model, to type checkers; a decorator has added the name."""

    __pydantic_fields__: ClassVar[dict[str, Any]]


if TYPE_CHECKING:
    Declared: TypeAlias = _Named | AttrsInstance | _Dataclass | msgspec.Struct | _Model
else:
    Declared = Any  # resolved by `typing.get_type_hints`, too
"""An instance of a declared event's class, as type checkers see one."""


def name_of(value: object) -> str | None:
    """Return the event name that the value's class declares, or None."""
    try:
        name = getattr(type(value), "__eventtracking_name__", None)
    except Exception:  # noqa: BLE001 - a metaclass may raise any exception; the value is then no declared event
        return None
    return name if type(name) is str else None


def data_of(value: Any) -> tuple[Any, str | None]:
    """Return the data of a declared event, and a problem, if there was one.

    `__eventtracking_data__()` gives it where the class has one. Otherwise, or where that raises,
    its fields do. `msgspec.UNSET` is left out.
    """
    problem = None
    try:
        if hasattr(type(value), "__eventtracking_data__"):
            return value.__eventtracking_data__(), None
    except Exception as error:  # noqa: BLE001 - the class's own code may raise any exception
        kind = type(value).__qualname__
        problem = f"{kind}.__eventtracking_data__ raised {type(error).__name__}"
    from eventtracking._data.plain import field_values, has_fields  # with its imports

    return (field_values(value) if has_fields(type(value)) else value), problem
