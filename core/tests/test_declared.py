"""Declared events: `emit(instance)`, where the instance's class carries the name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import attrs
import msgspec
import pytest
from eventtracking_fakes import RECORDED

from eventtracking import DataError, Tracker, tracker


@attrs.define
class Author:
    name: str
    email: str | msgspec.UnsetType = msgspec.UNSET


@attrs.define
class InAttrs:
    __eventtracking_name__: ClassVar[str] = "declared"
    author: Author
    tags: list[Any] = attrs.field(factory=list)
    mode: str | msgspec.UnsetType = msgspec.UNSET


@dataclass
class AsDataclass:
    __eventtracking_name__: ClassVar[str] = "declared"
    author: Author
    tags: list[Any]
    mode: str | msgspec.UnsetType = msgspec.UNSET


class AsStruct(msgspec.Struct):
    __eventtracking_name__: ClassVar[str] = "declared"
    author: Author
    tags: list[Any]
    mode: str | msgspec.UnsetType = msgspec.UNSET


class WithData:
    __eventtracking_name__ = "declared"

    def __init__(self, data: Any) -> None:
        self.data = data

    def __eventtracking_data__(self) -> Any:
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


class Raising(type):
    @property
    def __eventtracking_name__(cls) -> str:
        raise ZeroDivisionError


def make(**top: Any) -> Tracker:
    return Tracker.from_config({**top, "backends": {"a": {"plugin": "recording", "key": ""}}})


@pytest.mark.parametrize("kind", [InAttrs, AsDataclass, AsStruct])
def test_the_fields_are_the_data_without_those_that_are_unset(kind: Any) -> None:
    """The class gives the name, the fields the data; unset fields are absent at every depth."""
    make(strict=True).emit(kind(author=Author("mara"), tags=[{"x": msgspec.UNSET, "y": 1}]))
    (event,) = RECORDED[""]
    assert (event.name, event.data) == (
        "declared",
        {"author": {"name": "mara"}, "tags": [{"y": 1}]},
    )


def test_a_class_may_give_the_data_itself() -> None:
    """`__eventtracking_data__()` wins over the fields, and its answer is copied."""
    data: dict[str, Any] = {"a": [1], "b": msgspec.UNSET}
    make(strict=True).emit(WithData(data))
    data["a"].append(2)
    assert RECORDED[""][0].data == {"a": [1]}


def test_a_class_that_breaks_still_gives_an_event() -> None:
    """A method that raises is counted, and the event goes on with the fields that there are."""

    class Broken(AsStruct):
        def __eventtracking_data__(self) -> Any:
            raise ValueError("secret")

    made = make()
    made.emit(Broken(Author("mara"), [1]))
    assert RECORDED[""][0].data == {"author": {"name": "mara"}, "tags": [1]}
    reasons = made.stats()[""].reasons
    assert [text for text in reasons if "__eventtracking_data__ raised ValueError" in text]
    assert "secret" not in str(reasons)
    with pytest.raises(DataError, match="__eventtracking_data__"):
        make(strict=True).emit(Broken(Author("mara"), [1]))


def test_data_beside_a_declared_event_is_reported() -> None:
    """A declared event brings its data; what stands beside it is ignored, and counted."""
    made = make()
    made.emit(WithData({"a": 1}), {"b": 2})  # type: ignore[call-overload]  # the fault shown
    assert RECORDED[""][0].data == {"a": 1}
    assert [text for text in made.stats()[""].reasons if "ignored" in text]


@pytest.mark.parametrize(
    "value",
    [
        WithData,
        type("Named", (), {"__eventtracking_name__": 5})(),
        Raising("OfARaisingType", (), {})(),
    ],
    ids=["a class", "a name that is no text", "a metaclass that raises"],
)
def test_anything_else_is_no_declared_event(value: Any) -> None:
    """Only an instance whose class has a name of text counts; the rest is mended as before."""
    made = make()
    made.emit(value)
    assert RECORDED[""][0].name != "declared"
    assert [text for text in made.stats()[""].reasons if "the name is a" in text]


def test_a_subclass_of_text_is_text() -> None:
    """A name that is text is never asked for a declaration."""

    class Text(str):
        __slots__ = ()
        __eventtracking_name__ = "declared"

    make().emit(Text("page.viewed"))
    assert RECORDED[""][0].name == "page.viewed"


def test_the_default_tracker_takes_declared_events() -> None:
    """`tracker.emit(declared)` is that of the default tracker."""
    tracker.get_tracker().configure({"backends": {"a": {"plugin": "recording", "key": ""}}})
    tracker.emit(InAttrs(author=Author("mara")))
    assert RECORDED[""][0].name == "declared"
