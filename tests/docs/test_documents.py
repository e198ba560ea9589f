"""What the documents show is run, block by block, as a reader would do it in an empty folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import documents
import workspace
from reading import Reader

pytestmark = pytest.mark.timeout(180)

SERVICES = {
    "mongo": ("mongo_server", "MONGO_URI"),
    "rabbitmq": ("rabbitmq_server", "RABBITMQ_URL"),
    "redis": ("redis_server", "REDIS_URL"),
}


def services_of(document: Path) -> set[str]:
    blocks = [block for block in documents.blocks_of(document) if block.mark == "run"]
    return {name for block in blocks for name in block.argument.split()}


def runnable() -> list[Any]:
    found: list[Any] = []
    for document in documents.documents():
        if any(block.mark == "run" for block in documents.blocks_of(document)):
            marks = [pytest.mark.service] if services_of(document) else []
            found.append(
                pytest.param(document, id=str(document.relative_to(workspace.ROOT)), marks=marks)
            )
    return found


@pytest.mark.process
@pytest.mark.parametrize("document", runnable())
def test_what_a_document_shows_is_true(
    document: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every marked block runs, in order, in one folder, and prints what the document says."""
    variables = {}
    for service in services_of(document):
        fixture, variable = SERVICES[service]
        variables[variable] = request.getfixturevalue(fixture).uri
    reader = Reader(tmp_path, Path(sys.executable), variables)
    for block in documents.blocks_of(document):
        if problem := reader.do(block):
            pytest.fail(
                f"{document.relative_to(workspace.ROOT)}:{block.line}: {problem}", pytrace=False
            )


def document_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "document.md"
    path.write_text(text, encoding="utf-8")
    return path


def outcome(tmp_path: Path, text: str) -> str:
    """Read a document of the test's own; the first problem."""
    blocks = documents.blocks_of(document_of(tmp_path, text))
    reader = Reader(tmp_path, Path(sys.executable), {})
    return next((problem for block in blocks if (problem := reader.do(block))), "")


TRUE = """
<!-- file: said.txt -->
```text
hello
```

<!-- run -->
```python
print(open("said.txt").read().strip(), 123)
```

<!-- output -->
```text
hello ...
```

<!-- run -->
```console
$ cat said.txt
hello
$ cat said.txt | tr a-z A-Z
HELLO
```
"""


@pytest.mark.process
def test_a_true_document_passes(tmp_path: Path) -> None:
    """Files, programs, their output and commands are all done in order."""
    assert outcome(tmp_path, TRUE) == ""


@pytest.mark.process
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (TRUE.replace("hello ...", "hallo ..."), "but printed:\nhello 123"),
        (TRUE.replace("HELLO", "HELL"), "but printed:\nHELLO"),
        (TRUE.replace("print(", "raise SystemExit("), "exit status 1"),
        (TRUE.replace("cat said.txt\n", "cat unsaid.txt\n", 1), "exit status 1"),
        ("<!-- run -->\n```toml\n[backends.x]\nplugin = 'no_such_plugin'\n```\n", "no_such_plugin"),
    ],
)
def test_a_false_document_fails(tmp_path: Path, wrong: str, problem: str) -> None:
    """Other output, a failed program or command, and a config that cannot be built are
    all found.
    """
    assert problem in outcome(tmp_path, wrong)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```python\nx = 1\n```\n", "a python block that nothing checks"),
        ("<!-- not-run -->\n```python\nx = 1\n```\n", "without the reason"),
        ("<!-- file -->\n```text\nx\n```\n", "without the file's name"),
        ("<!-- runs -->\n```python\nx = 1\n```\n", "unknown mark"),
        ("<!-- not-run: a fragment -->\n\n```python\nx = 1\n```\n", ""),
        ("```text\nanything\n```\n", ""),
    ],
)
def test_code_must_say_how_it_is_checked(tmp_path: Path, text: str, problem: str) -> None:
    """A block of Python, TOML or commands without a mark is a problem, as is a mark that says too
    little.
    """
    (block,) = documents.blocks_of(document_of(tmp_path, text))
    found = documents.problem_with(block)
    assert problem in found
    assert bool(problem) == bool(found)
