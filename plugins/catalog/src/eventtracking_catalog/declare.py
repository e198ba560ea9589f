"""Declaring event types and contexts in code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from eventtracking_catalog.classes import fields_of_class, is_declarable, is_pydantic
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.hints import Reader
from eventtracking_catalog.registry import OWN_PREFIX, Source, registry

__all__ = ["context", "event", "register", "register_context"]

_Class = TypeVar("_Class", bound=type)


def event(
    name: str, *, version: object = "", owner: str = "", deprecated: str | bool = ""
) -> Callable[[_Class], _Class]:
    """Declare an event type: its fields are those of the decorated class.

    The class is an attrs class, a dataclass, a msgspec Struct, a TypedDict or a pydantic model. Its
    docstring is the description. Stand above the decorator that makes it one::

        @event("course.enrolled", owner="learning")
        @attrs.define
        class CourseEnrolled:
            \"\"\"A learner enrolled.\"\"\"

            course: Annotated[str, field(description="The course.", pii="none")]

    Args:
        name: The name of the event.
        version: The version, for people; the shape identifies it.
        owner: The team to ask.
        deprecated: The replacement or the reason.
    """
    return _decorator("event", name, version=version, owner=owner, deprecated=deprecated)


def context(
    name: str, *, version: object = "", owner: str = "", deprecated: str | bool = ""
) -> Callable[[_Class], _Class]:
    """Declare a context, as `event` does an event type: documented and marked, never checked."""
    return _decorator("context", name, version=version, owner=owner, deprecated=deprecated)


def _decorator(kind: str, name: str, **facts: Any) -> Callable[[_Class], _Class]:
    frame = sys._getframe(2)

    def declare(declared: _Class) -> _Class:
        try:
            _declare(kind, name, declared, frame.f_code.co_filename, frame.f_locals, facts)
        except Exception as error:  # noqa: BLE001 - a declaration must never stop an import
            registry.problem(f"{name!r}: cannot be declared ({type(error).__name__})")
        return declared

    return declare


def _declare(
    kind: str, name: Any, declared: Any, file: str, names: Mapping[str, Any], facts: dict[str, Any]
) -> None:
    place = f"{file} ({getattr(declared, '__qualname__', declared)!s:.100})"
    if not is_declarable(declared):
        registry.problem(
            f"{place}: no attrs class, dataclass, Struct, TypedDict or pydantic model; put"
            f" @{kind} above the decorator that makes it one"
        )
        return
    if not _is_free_name(name, kind, place):
        return
    if kind == "event":
        declared.__eventtracking_name__ = name
        if is_pydantic(declared) and not hasattr(declared, "__eventtracking_data__"):
            declared.__eventtracking_data__ = declared.model_dump
    is_local = "<locals>" in declared.__qualname__
    local = dict(names) if is_local else {}
    read = partial(_read_class, kind, name, declared, place, local, facts)
    source = Source(name, read, place, kind, is_local and _is_test(file))
    if is_local:
        _ = source.declaration  # now: the names that its annotations use are gone later
    registry.add(source)


def _is_free_name(name: Any, kind: str, place: str) -> bool:
    if type(name) is not str or not name:
        registry.problem(f"{place}: the name of an {kind} must be text")
        return False
    if name.startswith(OWN_PREFIX):
        registry.problem(f"{place}: names that begin with {OWN_PREFIX!r} are eventtracking's own")
        return False
    return True


def _read_class(
    kind: str,
    name: str,
    declared: type[Any],
    place: str,
    local: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Declaration:
    def fields_of(one: type[Any], reader: Reader, path: str) -> Any:
        return fields_of_class(one, reader, path, local)

    reader = Reader(fields_of)
    found = reader.read(declared, "")
    return Declaration(
        name=name,
        kind=kind,
        fields=found.fields,
        description=_docstring(declared),
        place=_with_line(declared, place),
        problems=tuple(reader.problems),
        is_open=found.kind != "object",
        **_texts(facts),
    )


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    found = {key: str(facts.get(key) or "") for key in ("version", "owner", "deprecated")}
    return found | ({"deprecated": "yes"} if facts.get("deprecated") is True else {})


def _docstring(declared: type[Any]) -> str:
    import inspect

    text = inspect.cleandoc(declared.__dict__.get("__doc__") or "")
    made = f"{declared.__name__}("  # dataclasses write the signature where there is no docstring
    return "" if text.startswith((made, "Method generated by attrs")) else text


def _with_line(declared: type[Any], place: str) -> str:
    import inspect

    try:
        _, line = inspect.getsourcelines(declared)
    except (OSError, TypeError):  # no source is there
        return short(place)
    file, _, rest = place.rpartition(" (")
    return f"{short(file)}:{line} ({rest}"


def short(file: str) -> str:
    """Write a path relative to the working folder, where it is below it."""
    folder = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - as above
    return file.removeprefix(folder)


def register(
    name: str,
    description: str = "",
    fields: Mapping[str, Any] | None = None,
    *,
    version: object = "",
    owner: str = "",
    deprecated: str | bool = "",
) -> None:
    """Declare an event type by a call.

    `register("course.enrolled", "A start.", fields={"course": str, "mode": "int | None"})`

    Args:
        name: The name of the event.
        description: The meaning of the event.
        fields: By name: a type, with its facts in `Annotated`; a type as text; the table that a
            file would have; or any other text, the description of a field of any type.
        version: The version, for people.
        owner: The team to ask.
        deprecated: The replacement or the reason.
    """
    _register("event", name, description, fields, version, owner, deprecated)


def register_context(
    name: str,
    description: str = "",
    fields: Mapping[str, Any] | None = None,
    *,
    version: object = "",
    owner: str = "",
    deprecated: str | bool = "",
) -> None:
    """Declare a context by a call, as `register` does an event type."""
    _register("context", name, description, fields, version, owner, deprecated)


def _register(kind: str, name: str, description: str, fields: Any, *facts: Any) -> None:
    frame = sys._getframe(2)
    place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    if not _is_free_name(name, kind, place):
        return
    table = {"description": description, "fields": {} if fields is None else fields}
    table |= dict(zip(("version", "owner", "deprecated"), facts, strict=True))
    read = partial(declaration_from, kind, name, table, short(place))
    is_local = frame.f_code.co_name != "<module>"
    registry.add(Source(name, read, place, kind, is_local and _is_test(frame.f_code.co_filename)))


def _is_test(file: str) -> bool:
    """Tell whether a file holds tests, whose functions declare for themselves alone."""
    name = os.path.basename(file)  # noqa: PTH119 - text that may be no path: "<stdin>"
    return name.startswith("test_") or name.endswith("_test.py")
