"""Every fragment of the changelog names a distribution and a kind, and says something."""

from __future__ import annotations

import changelog


def test_the_fragments_are_well_named() -> None:
    """`make changelog` can sort each one in."""
    assert changelog.problems() == []
    assert "### Added" in changelog.section()
