"""Dead letters on the pages: frozen, skipped, failed again, in the memory of a process."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from eventtracking import DeliveryError, Event, Tracker
from eventtracking_console.viewer import Viewer, viewer
from eventtracking_console.web import console_app
from eventtracking_live.client import take_picture
from eventtracking_live.table import rows_of
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import FailingBackend

pytestmark = pytest.mark.needs("buffer", "catalog", "sqlite")

Ask = Callable[..., tuple[int, str, dict[str, str]]]


def down(events: Sequence[Event]) -> None:
    raise ConnectionError


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[..., tuple[Tracker, Any]]]:
    """Make a tracker whose buffer has three dead letters, and a console over it."""
    with ExitStack() as stack:
        stack.enter_context(fake_distribution(plugins={"fail": FailingBackend}))
        stack.callback(FailingBackend.forget)

        def make(action: Any = down, dead: int = 3, **options: Any) -> tuple[Tracker, Any]:
            FailingBackend.actions[""] = action
            config = {
                "observers": [{"plugin": "live", "folder": str(tmp_path / "live")}],
                "backends": {
                    "b": {
                        "plugin": "buffer", "max_attempts": 1, "retry_base_s": 0.01, **options,
                        "backends": {"bad": {"plugin": "fail"}},
                    },
                },
            }  # fmt: skip
            tracker = stack.enter_context(Tracker.from_config(config))
            for number in range(3):
                tracker.emit(f"<i>{number}</i>")
            wait(lambda: tracker.stats()["b"].dead_lettered == dead)
            return tracker, console_app(config, allow_changes=True, prefix="/c")

        yield make


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def frozen(text: str) -> dict[str, str]:
    """Read the form of a dry run."""
    return dict(re.findall(r'name="(router|selection)" value="([^"]+)"', text))


def test_who_replayed_what_and_how_it_went(
    scene: Any, ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands in the log, in the store and on the page, with the letters that failed again."""
    tracker, app = scene(storage="disk", path=str(tmp_path / "buffer"))
    viewer.set(Viewer(name="ada <i>"))
    form = frozen(ask(app, "/letters/freeze", {"name": "<i>*"})[1])
    status, _, headers = ask(app, "/letters/replay", form)
    assert (status, headers["location"]) == (303, "/c/letters?replayed=3")
    assert ask(app, "/letters/replay", form)[0] == 409
    wait(lambda: "3 failed again" in ask(app, "/letters")[1])
    text = ask(app, "/letters")[1]
    assert "ada &lt;i&gt;" in text
    assert '<a href="/c/letters/one?router=b&amp;number=2">2</a>' in text
    assert tracker.routes()[1].backend.letters.history()[0].by == "ada <i>"
    records = [one for one in caplog.records if one.name == "eventtracking.console"]
    assert [one.getMessage() for one in records if one.levelno == logging.WARNING] == [
        "ada <i> asked to replay 3 dead letters of route 'b'",
        "ada <i> asked to replay 0 dead letters of route 'b'",
    ]


def test_letters_on_their_way_are_named_and_left_out(scene: Any, ask: Ask, tmp_path: Path) -> None:
    """By the dry run, and by a replay of letters that another one had meanwhile."""
    tracker, app = scene(storage="disk", path=str(tmp_path / "buffer"))
    seen: list[Event] = []
    hold = [True]

    def hang(events: Sequence[Event]) -> None:
        while hold[0]:
            time.sleep(0.01)
        seen.extend(events)

    FailingBackend.actions[""] = hang
    everything = frozen(ask(app, "/letters/freeze", {})[1])
    first = frozen(ask(app, "/letters/freeze", {"name": "<i>0</i>"})[1])
    assert ask(app, "/letters/replay", first)[0] == 303
    text = ask(app, "/letters/freeze", {})[1]
    assert "1 is being replayed already, and left out: 1." in text
    assert "Replay 2 of b" in text
    assert ask(app, "/letters/replay", everything)[2]["location"].endswith("replayed=2")
    assert "1 skipped, gone or replayed already: 1." in ask(app, "/letters")[1]
    text = ask(app, "/letters/freeze", {})[1]
    assert "3 are being replayed already, and left out: 1, 2, 3." in text
    assert frozen(text) == {}
    hold[0] = False
    wait(lambda: tracker.stats()["b"].delivered == 3)
    assert "No dead letters on disk" in ask(app, "/letters")[1]


def test_letters_in_memory_are_shown_and_never_replayed(scene: Any, ask: Ask) -> None:
    """The process tells of them through its socket, by the same filter."""
    tracker, app = scene()
    text = ask(app, "/letters")[1]
    assert "In the memory of processes" in text
    assert text.count("b/bad: ConnectionError") == 3
    assert "<i>" not in text
    assert ask(app, "/letters?name=<i>1</i>")[1].count("b/bad: ConnectionError") == 1
    assert "No dead letter is meant" in ask(app, "/letters/freeze", {})[1]
    form = {"router": "b", "selection": "x"}
    assert ask(app, "/letters/replay", form)[0] == 409
    assert tracker.stats()["b"].dead_lettered == 3


def test_a_viewer_who_may_not_change(scene: Any, ask: Ask, tmp_path: Path) -> None:
    """Sees the letters, and neither the button nor a way around it."""
    _, app = scene(storage="disk", path=str(tmp_path / "buffer"))
    viewer.set(Viewer(may_change=False))
    assert "Dry run" not in ask(app, "/letters")[1]
    for path in ("/letters/freeze", "/letters/replay"):
        assert ask(app, path, {"router": "b"})[0] == 403


def test_a_pause_is_shown_as_a_pause(scene: Callable[..., tuple[Tracker, Any]], ask: Ask) -> None:
    """A destination that asked for time has not failed, and the page says when it goes on."""

    def busy(events: Sequence[Event]) -> None:
        raise DeliveryError("<i>busy</i>", retry_after_s=900)

    tracker, app = scene(action=busy, dead=0)
    wait(lambda: tracker.routes()[1].backend.status().failing)
    _, text, _ = ask(app, "/")
    assert "<strong>b/bad</strong> is paused: its destination asked for it" in text
    assert "&lt;i&gt;busy" in text
    assert "It goes on in 1" in text
    assert "fails," not in text
    assert "failing" not in text
    picture = take_picture(tracker.observers()[0].sockets, tracker)  # type: ignore[attr-defined]  # of `live`
    (note,) = [row.note for row in rows_of(picture, None, 0) if row.path == "b"]
    assert note.startswith("b/bad is paused (")
    assert "it goes on in 1" in note


@pytest.mark.process
def test_a_replay_of_the_command_line_is_in_the_history(
    config: Path, tmp_path: Path, ask: Ask
) -> None:
    """With the account that asked for it, as one of the console has its viewer."""
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    content = json.loads(config.read_text())
    content["backends"]["disk"]["backends"]["below"]["path"] = str(blocked / "below.db")
    config.write_text(json.dumps(content))
    with Tracker.from_config({**content, "observers": []}) as tracker:
        tracker.emit("edx.enrolled")
        wait(lambda: tracker.stats()["disk/below"].dead_lettered == 1)
    command = [sys.executable, "-m", "eventtracking_cli", "dead-letters"]
    again = subprocess.run([*command, "replay", "-c", config], capture_output=True, check=False)
    assert again.returncode == 1, again.stderr
    app = console_app(content)
    _, text, _ = ask(app, "/letters")
    assert "<td>command line (" in text
    assert "replay of 1</td>" in text
    assert "1 failed again:" in text
    subprocess.run([*command, "purge", "--yes", "-c", config], capture_output=True, check=True)
    assert "purge of 1</td>" in ask(app, "/letters")[1]
