"""One event type, declared in every way."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pydantic

from eventtracking_catalog import UNSET, event, field, register
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.files import sources_of
from eventtracking_catalog.registry import registry

Course = Annotated[str, field(description="The course.", example="botany", pii="none")]
Seconds = Annotated[float, field(unit="s", renamed_from="time", deprecated="use duration")]
Limited = Annotated[str, msgspec.Meta(max_length=5)]
FACTS: Any = {"version": 2, "owner": "learning", "deprecated": "course.joined"}
NAME = "kinds.enrolled"


@attrs.define
class AttrsAuthor:
    id: int
    email: Annotated[str, field(pii="email")]


@event(NAME, **FACTS)
@attrs.define
class AttrsEnrolled:
    """A learner enrolled."""

    course: Course
    mode: Literal["audit", "verified"]
    at: dt.datetime | None
    seconds: Seconds
    author: AttrsAuthor
    tags: list[Limited]
    scores: dict[str, list[int]]
    key: uuid.UUID | msgspec.UnsetType = UNSET
    attempt: int = 1


@dataclass
class DataAuthor:
    id: int
    email: Annotated[str, field(pii="email")]


@event(NAME, **FACTS)
@dataclass
class DataEnrolled:
    """A learner enrolled."""

    course: Course
    mode: Literal["audit", "verified"]
    at: dt.datetime | None
    seconds: Seconds
    author: DataAuthor
    tags: list[Limited]
    scores: dict[str, list[int]]
    key: uuid.UUID | msgspec.UnsetType = UNSET
    attempt: int = 1


class StructAuthor(msgspec.Struct):
    id: int
    email: Annotated[str, field(pii="email")]


@event(NAME, **FACTS)
class StructEnrolled(msgspec.Struct):
    """A learner enrolled."""

    course: Course
    mode: Literal["audit", "verified"]
    at: dt.datetime | None
    seconds: Seconds
    author: StructAuthor
    tags: list[Limited]
    scores: dict[str, list[int]]
    key: uuid.UUID | msgspec.UnsetType = UNSET
    attempt: int = 1


class ModelAuthor(pydantic.BaseModel):
    id: int
    email: Annotated[str, field(pii="email")]


@event(NAME, **FACTS)
class ModelEnrolled(pydantic.BaseModel):
    """A learner enrolled."""

    course: Course
    mode: Literal["audit", "verified"]
    at: dt.datetime | None
    seconds: Seconds
    author: ModelAuthor
    tags: list[Annotated[str, pydantic.Field(max_length=5)]]
    scores: dict[str, list[int]]
    key: Annotated[uuid.UUID, pydantic.Field(default_factory=uuid.uuid4)]
    attempt: int = 1


class DictAuthor(TypedDict):
    id: int
    email: Annotated[str, field(pii="email")]


class DictNeeded(TypedDict):
    course: Course
    mode: Literal["audit", "verified"]
    at: dt.datetime | None
    seconds: Seconds
    author: DictAuthor
    tags: list[Limited]
    scores: dict[str, list[int]]


@event(NAME, **FACTS)
class DictEnrolled(DictNeeded, total=False):
    """A learner enrolled."""

    key: uuid.UUID
    attempt: int


def by_class(declared: type[Any]) -> Declaration:
    """Return the declaration of a class."""
    place = f"({declared.__qualname__})"
    found = [one for one in registry.sources(NAME) if one.place.endswith(place)]
    return found[0].declaration


FIELDS: dict[str, Any] = {
    "course": {"type": "str", "description": "The course.", "example": "botany", "pii": "none"},
    "mode": {"enum": ["verified", "audit"]},
    "at": {"type": "None | datetime"},
    "seconds": {
        "type": "float",
        "unit": "s",
        "renamed_from": "time",
        "deprecated": "use duration",
    },
    "author": {"fields": {"id": "int", "email": {"type": "str", "pii": ["email"]}}},
    "tags": {"type": "list", "items": {"type": "str", "max_length": 5}},
    "scores": {"type": "dict[str, list[int]]"},
    "key": {"type": "uuid", "required": False},
    "attempt": {"type": "int", "default": 1},
}


def by_call() -> Declaration:
    """Declare it by a call."""
    register(NAME, "A learner enrolled.", FIELDS, **FACTS)
    return registry.sources(NAME)[-1].declaration


def by_file(suffix: str) -> Declaration:
    """Declare it in a file's text."""
    table = {"description": "A learner enrolled.", "fields": FIELDS, **FACTS}
    text = json.dumps({"events": {NAME: table}})
    if suffix == ".toml":
        text = (Path(__file__).parent / "enrolled.toml").read_text(encoding="utf-8")
    return sources_of(text, suffix, "a file")[0].declaration
