"""A site of event-routing-backends moves over: the short form of `make moving`.

The site runs with event-tracking 4.0.2 and with its successor, each in an environment of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "moving"))
import moving_over as moving
from compare import probe_differences, unlisted
from differences import table
from environments import NAMES, UnavailableError, environment, suite_supported
from steps import numbers_between
from trial import Scenario

from eventtracking_testkit.services.fixtures import leave_out

pytestmark = pytest.mark.service  # it needs a package index and a server


@pytest.fixture(scope="module")
def environments() -> None:
    """Both environments, made if need be."""
    if not suite_supported():
        leave_out("event-routing-backends needs Python 3.11")
    try:
        for name in NAMES:
            environment(name)
    except UnavailableError as error:
        leave_out(str(error))


@pytest.mark.usefixtures("environments")
@pytest.mark.timeout(600)
def test_the_same_statements_reach_the_store(new_redis_server: Any, tmp_path: Path) -> None:
    """Events that are emitted whole, and as a view for browsers does, become the same statements
    and log lines, but for the listed differences.
    """
    url = new_redis_server().uri.rpartition("/")[0]
    before, after = moving.both(Scenario("plain"), [moving.OWN_EVENTS], url, tmp_path)
    assert sum(before.xapi.values()) > 20
    assert sum(before.caliper.values()) > 10
    assert list(unlisted(before, after)) == []


@pytest.mark.usefixtures("environments")
@pytest.mark.timeout(180)
def test_a_site_keeps_its_tracking_log(tmp_path: Path) -> None:
    """With its old settings, a site starts with the successor where the old one served: each
    request is in the tracking log once. The long form, step by step, is in `test_steps.py`.
    """
    before, after = (environment(name).parents[1] for name in NAMES)
    assert numbers_between(before, after, tmp_path) == [1, 2, 3]


@pytest.mark.usefixtures("environments")
@pytest.mark.timeout(300)
def test_every_difference_is_the_one_that_the_guide_lists() -> None:
    """Each row of the guide's table that a probe can show is as the probe finds it, before and
    after.
    """
    assert list(probe_differences(*map(moving.probes, NAMES))) == []


def test_the_guide_has_the_table() -> None:
    """The guide's table of differences is the one that the trial checks."""
    assert f"\n{table()}\n" in moving.GUIDE.read_text(encoding="utf-8")


def test_the_events_have_the_shapes_that_matter() -> None:
    """The trial's own events hold text, a list, nothing, and a router that changes nested keys."""
    lines = moving.OWN_EVENTS.read_text(encoding="utf-8").split("\n")
    events = [json.loads(line) for line in lines if line]
    kinds = {type(event["data"]).__name__ for event in events}
    assert {"str", "list", "dict", "NoneType"} <= kinds
    assert any("sequence" in event["name"] for event in events)
