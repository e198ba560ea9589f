"""Events go to the event bus of Open edX, and come from it, in a real Django project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.once,  # openedx-events needs Python 3.11
    pytest.mark.needs("django", "logger"),
]
SITE = Path(__file__).parent / "bus_site.py"


def run(scene: str, **environment: str) -> Any:
    """Run one scene in a process of its own; return its output."""
    env = {**os.environ, **environment, "SERVICE_VARIANT": "tests"}
    command = [sys.executable, str(SITE), scene]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_signal_carries_an_event_that_the_settings_allow() -> None:
    """An allowed event is one signal with its data and context; nothing goes below on the way
    out.
    """
    found = run("emitted")
    assert found["carried"] == ["course.enrolled", {"course_id": "demo"}, {"user_id": 3}, False]
    assert (found["more"], found["below"]) == (0, [])
    counts = found["counts"]
    assert (counts["received"], counts["delivered"], counts["filtered"]) == (2, 1, 1)
    assert any("not in EVENT_BUS_TRACKING_LOGS" in reason for reason in counts["reasons"])


def test_nothing_is_sent_while_the_toggle_is_off() -> None:
    """With SEND_TRACKING_EVENT_EMITTED_SIGNAL off, events are filtered, with the reason."""
    counts = run("off")
    assert (counts["received"], counts["filtered"]) == (2, 2)
    assert any("SEND_TRACKING_EVENT_EMITTED_SIGNAL is off" in text for text in counts["reasons"])


def test_a_receiver_that_fails_fails_the_event() -> None:
    """An error of a receiver is no delivery; its text, which may hold values, is not shown."""
    counts = run("failing")
    assert (counts["delivered"], counts["failed"]) == (0, 1)
    assert "broken raised ValueError" in str(counts["reasons"])
    assert "secret" not in str(counts["reasons"])


def test_what_comes_from_the_bus_goes_below() -> None:
    """An event from the bus is delivered with its time, context, and data in the shape it was
    given.
    """
    found = run("received")
    assert [event["data"] for event in found["below"]] == [{"k": 1}, "input_1=a", "not json"]
    first = found["below"][0]
    assert (first["name"], first["context"]) == ("any", {"user_id": 3})
    assert first["timestamp"].startswith("2026-01-02T00:00:00")
    assert {event["id"] for event in found["below"]} == {str(uuid.UUID(int=7, version=1))}
    assert (found["log"]["received"], found["log"]["delivered"]) == (3, 3)


@pytest.mark.service
def test_over_a_real_bus(redis_server: Any) -> None:
    """With the bus's Redis producer and consumer, an event that one process emits is delivered
    below in another.
    """
    url = f"{redis_server.uri.rpartition('/')[0]}/7"
    assert run("produce", REDIS_URL=url)["delivered"] == 1
    (event,) = run("consume", REDIS_URL=url)["below"]
    assert (event["name"], event["data"]) == ("course.enrolled", {"course_id": "demo"})
    assert event["context"] == {"user_id": 3}
