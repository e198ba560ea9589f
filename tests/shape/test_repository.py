"""The repository speaks of the product alone, and every command in it is explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import workspace

HERE = Path(__file__)
TEXTS = [path for path in workspace.tracked() if path.is_file() and path != HERE]

FOREIGN = {
    "a path of one machine": re.compile(
        r"(?<![\w.\-/])/(?:work|root)/|/home/\w+/\.|\.pyenv/versions/\d"
    ),
    "the host of a package index": re.compile(
        r"\bpypi\.org|files\.pythonhosted\.org|--(?:extra-)?index-url"
    ),
    "notes that are not in the repository": re.compile(
        r"\b(?:LESSONS|MODELS|SERVICES|DESIGN)\.md\b|\bbrief\.md\b"
    ),
    "how its authors work": re.compile(
        r"\bissue #?\d|\bsub-?agents?\b|\bLLM-generated|\bAI-generated", re.IGNORECASE
    ),
}
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:)")
REASONED = re.compile(
    r"#\s*(?:noqa: [\w, ]+|type:\s*ignore\[[\w, -]+\]|pragma: [\w ]+?)\s+(?:-|#|:)\s*\w+"
)


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a picture
        return ""


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_foreign_is_in_it(what: str) -> None:
    """No file holds a machine's paths, an index's host, or a word about how it was written."""
    found = [
        f"{path.relative_to(workspace.ROOT)}:{number}: {line.strip()[:120]}"
        for path in TEXTS
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if FOREIGN[what].search(line)
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


def test_a_check_is_silenced_only_with_a_reason() -> None:
    """Every noqa, type: ignore and pragma names what it silences, and why."""
    found = [
        f"{path.relative_to(workspace.ROOT)}:{number}: {line.strip()}"
        for path in TEXTS
        if path.suffix == ".py"
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if SILENCED.search(line) and not REASONED.search(line)
    ]
    assert not found, "without a reason:\n" + "\n".join(found)


def test_no_lock_of_one_machine_is_in_it() -> None:
    """constraints.txt is what is shared; it names packages and versions, and no place."""
    assert not [path for path in TEXTS if path.name == "uv.lock"]
    assert "://" not in workspace.CONSTRAINTS.read_text(encoding="utf-8")


@pytest.mark.process
def test_every_command_is_explained() -> None:
    """`make help` lists each target that the Makefile declares, and CONTRIBUTING.md names each."""
    makefile = (workspace.ROOT / "Makefile").read_text(encoding="utf-8")
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared
    targets = set(declared.group(1).split())
    answer = subprocess.run(
        ["make", "help"], check=True, capture_output=True, text=True, cwd=workspace.ROOT
    )
    assert set(re.findall(r"^\s+make (\S+)", answer.stdout, re.MULTILINE)) == targets
    guide = (workspace.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert {target for target in targets if f"`make {target}`" not in guide} == set()


def test_the_members_are_found_by_glob() -> None:
    """No plugin is named in the files of the root: adding one edits no central file."""
    plugins = [member.name for member in workspace.members() if member.parent.name == "plugins"]
    for name in ("pyproject.toml", "Makefile"):
        text = (workspace.ROOT / name).read_text(encoding="utf-8")
        assert not [plugin for plugin in plugins if f"plugins/{plugin}" in text]
