"""What people see of an event is what the processors on its way let them see."""

from __future__ import annotations

import attrs
import pytest

from eventtracking import Event, Tracker
from eventtracking.shown import processors_on_the_way, shown

EVENT = Event(name="x", data={"email": "a@b", "n": 1}, context={"ip": "::1"})


@attrs.define(eq=False)
class Mask:
    """Hide the e-mail address from people, or break."""

    answer: object = None

    def __call__(self, event: Event) -> Event:
        return event

    def shown(self, event: Event) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or event.replace(data={**event.data, "email": "***"})


def test_each_processor_is_asked() -> None:
    """Those without `shown` are passed over."""
    assert shown(EVENT, [Mask(), object()])["data"] == {"email": "***", "n": 1}


@pytest.mark.parametrize("answer", [ValueError("a@b"), {"email": "a@b"}, "a@b"], ids=repr)
def test_one_that_breaks_leaves_the_keys(answer: object) -> None:
    """It raises, or returns no event: no value is seen."""
    hidden = shown(EVENT, [Mask(answer), Mask()])
    assert hidden["data"] == {"email": "…", "n": "…"}
    assert hidden["context"] == {"ip": "…"}
    assert (hidden["name"], hidden["id"]) == ("x", EVENT.id)


def test_the_way_goes_through_the_groups() -> None:
    """The root's processors, those of the routes above, and the route's own; no sibling's."""
    stamp = [{"plugin": "stamp"}]
    below = {"a": {"plugin": "recording", "processors": stamp}, "ab": {"plugin": "recording"}}
    group = {"backends": below, "processors": stamp}
    made = Tracker.from_config({"processors": stamp, "backends": {"g": group}})
    found = {
        path: len(processors_on_the_way(made.routes(), path))
        for path in ("", "g", "g/a", "g/ab", "g/gone", "other")
    }
    assert found == {"": 1, "g": 2, "g/a": 3, "g/ab": 2, "g/gone": 2, "other": 1}
