"""The documents as a site: built without a finding, complete, and searchable."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import docs_site
import workspace

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="the site generator needs Python 3.11"),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def site() -> Path:
    """Build the site."""
    tool = workspace.ROOT / "tools" / "docs_site.py"
    done = subprocess.run(
        [sys.executable, tool], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return docs_site.SITE


def test_every_document_has_a_page(site: Path) -> None:
    """Each page of docs/ and each distribution's README is built, and stands in the navigation."""
    home = (site / "index.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="(?:\./)?([^"#]*)"', home))
    for place in docs_site.pages().values():
        folder = place.removesuffix(".md").removesuffix("index")
        assert (site / folder / "index.html").is_file(), place
        assert not folder or f"{folder}/" in linked, f"{place} is not in the navigation"


@pytest.mark.parametrize("word", ["retry", "dead letter", "gunicorn"])
def test_its_search_finds(site: Path, word: str) -> None:
    """The index of the search has the words that an operator looks for."""
    assert word in (site / "search.json").read_text(encoding="utf-8").lower()


def test_no_page_loads_from_elsewhere(site: Path) -> None:
    """Fonts, scripts and styles come with the site."""
    loads = re.compile(
        r'<(?:script|link)[^>]*(?:src|href)="(https?:)?//(?!localhost)', re.IGNORECASE
    )
    found = [page for page in site.rglob("*.html") if loads.search(page.read_text("utf-8"))]
    assert found == []
