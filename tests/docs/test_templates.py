"""The guides are cut from the plugins that `eventtracking new-plugin` makes."""

from __future__ import annotations

import re

import pytest

import documents
import workspace
from eventtracking_cli.new_plugin import KINDS, files_of

HOW_TO = workspace.ROOT / "docs" / "how-to"
WORKFLOWS = workspace.ROOT / ".github" / "workflows"
GUIDES = {
    "backend": ("write-a-plugin.md", "acme_store"),
    "processor": ("write-a-plugin.md", "acme_scrub"),
    "router": ("write-a-router.md", "acme_share"),
    "observer": ("write-a-plugin.md", "acme_watch"),
}


def test_each_kind_has_a_guide() -> None:
    """A new kind of plugin needs a guide."""
    assert GUIDES.keys() == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_guide_shows_the_whole_class(kind: str) -> None:
    """Every line of the generated class stands in a block that is cut from it."""
    guide, name = GUIDES[kind]
    file = f"src/{name}/{kind}.py"
    text = files_of(kind, name)[file]
    left = text[text.index("@attrs.define") :]
    for block in documents.blocks_of(HOW_TO / guide):
        if (block.mark, block.argument) == ("part", f"{name}/{file}"):
            part = documents.found_in(text, block.text)
            assert part, f"{guide}:{block.line} is not cut from {file}"
            left = left.replace(part, "")
    assert not left.strip(), f"{guide} leaves out a part of {file}"


def test_its_actions_are_ours() -> None:
    """The CI file pins the actions that this repository's own workflows use, by hash."""
    uses = re.compile(r"uses: (\S+@[0-9a-f]{40} # v\S+)")
    ours = {
        found
        for path in WORKFLOWS.glob("*.yml")
        for found in uses.findall(path.read_text(encoding="utf-8"))
    }
    text = files_of("backend", "acme_store")[".github/workflows/ci.yml"]
    assert len(uses.findall(text)) == text.count("uses:") > 0
    assert set(uses.findall(text)) <= ours
