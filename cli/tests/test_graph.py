"""The command `graph`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import Result

from eventtracking import Event
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.needs("logger", "name_filter", "regex_filter")


@attrs.define(eq=False)
class Relay:
    """A router with a secret."""

    token: str = attrs.field(default="", repr=False)
    size: int = 1

    def bind(self, downstream: Any) -> None: ...

    def send(self, events: Sequence[Event]) -> None: ...


CONFIG = """
[[processors]]
plugin = "name_filter"
names = ["x"]
on_error = "pass"

[backends.relay]
plugin = "relay"
token = "hunter2"
size = "${SIZE:-3}"
processors = [{ plugin = "regex_filter", filter_type = "allowlist", regular_expressions = ["a"] }]

[backends.relay.backends."odd \\"name\\" <b>".backends.log]
plugin = "logger"
"""

TREE = """\
every event
├── name_filter (processor) on_error=pass names=["x"]
└── relay: relay (router) token=*** size="${SIZE:-3}"
    ├── regex_filter (processor) filter_type="allowlist" regular_expressions=["a"]
    └── odd "name" <b>: group
        └── log: logger
"""

MERMAID = """\
flowchart LR
  n0(["every event"])
  n0 --> n1{{"name_filter"}}
  n1 --> n2{{"regex_filter"}}
  n2 --> n3[["relay<br/>relay"]]
  n3 --> n4["odd #34;name#34; #60;b#62;"]
  n4 --> n5[("log<br/>logger")]
"""


@pytest.fixture(autouse=True)
def relay(config: Callable[..., Path]) -> Iterator[None]:
    with fake_distribution(plugins={"relay": Relay}):
        config(CONFIG)
        yield


def test_the_tree_for_the_terminal(run: Callable[..., Result]) -> None:
    """Processors before the routes below, options as they are written, secrets hidden."""
    result = run("graph")
    assert (result.exit_code, result.stdout) == (0, TREE)


def test_the_tree_as_mermaid(run: Callable[..., Result]) -> None:
    """Processors on the way to a route, and names that cannot break out of their label."""
    result = run("graph", "--format", "mermaid")
    assert (result.exit_code, result.stdout) == (0, MERMAID)
    nodes = set(re.findall(r"--> (n\d+)", result.stdout))
    assert len(nodes) == result.stdout.count("-->")
