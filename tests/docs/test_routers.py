"""The routers that the guide prints keep the contract of routers, alone and below a buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import documents
import workspace
from eventtracking_cli.new_plugin import files_of
from eventtracking_testkit.contracts import RouterContract
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.once
GUIDE = workspace.ROOT / "docs" / "how-to" / "write-a-router.md"
MODULE = "acme_routers"


SHARE = "acme_share"


@pytest.fixture(autouse=True, scope="module")
def installed() -> Iterator[None]:
    """Install the module as it stands in the guide, and the router that the guide is cut from."""
    (text,) = (
        block.text for block in documents.blocks_of(GUIDE) if block.argument == f"{MODULE}.py"
    )
    files = files_of("router", SHARE)
    modules = {
        SHARE: files[f"src/{SHARE}/__init__.py"],
        f"{SHARE}.router": files[f"src/{SHARE}/router.py"],
        MODULE: text,
    }
    points = {SHARE: SHARE, "switch": MODULE, "fallback": MODULE}
    with fake_distribution(modules=modules, entry_points=points):
        yield


class TestShare(RouterContract):
    """With a share of 1 every event is below; where it may choose, it chooses half of them."""

    plugin = SHARE
    retries = False
    chooses = True

    @pytest.fixture
    def options(self, request: pytest.FixtureRequest) -> Mapping[str, Any]:
        test = request.node.originalname
        may_choose = test in ("test_below_a_buffer", "test_a_choice_follows_from_the_event_alone")
        return {"share": 0.5 if may_choose else 1.0}


class TestSwitch(RouterContract):
    """Events that no child is named after go to the child `below`."""

    plugin = "switch"
    retries = False
    chooses = True

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {"default": "below"}


class TestFallback(RouterContract):
    """The unsteady child is asked first."""

    plugin = "fallback"
    retries = False
    chooses = True
