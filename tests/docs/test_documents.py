"""What the documents show is run, block by block, as a reader would do it in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import documents
import workspace
from documents import Block

SERVICES = {
    "mongo": ("mongo_server", "MONGO_URI"),
    "rabbitmq": ("rabbitmq_server", "RABBITMQ_URL"),
    "redis": ("redis_server", "REDIS_URL"),
}
TIMEOUT_S = 120
CONFIG = "eventtracking.toml"
BUILD = f"import eventtracking; eventtracking.configure({CONFIG!r})"


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


@pytest.mark.parametrize("document", runnable())
def test_what_a_document_shows_is_true(
    document: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every marked block runs, in order, in one folder, and prints what the document says."""
    variables = {}
    for service in services_of(document):
        fixture, variable = SERVICES[service]
        variables[variable] = request.getfixturevalue(fixture).uri
    Reader(tmp_path, variables).read(document)


class Reader:
    """Somebody who does what a document says, in a folder of their own."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.folder = folder
        self.env = {**os.environ, **variables, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
        self.printed = ""

    def read(self, document: Path) -> None:
        for block in documents.blocks_of(document):
            if problem := self.do(block):
                pytest.fail(
                    f"{document.relative_to(workspace.ROOT)}:{block.line}: {problem}", pytrace=False
                )

    def do(self, block: Block) -> str:
        """Do what one block says; the problem if there is one."""
        if block.mark == "file":
            self.write(block.argument, block.text)
        elif block.mark == "output":
            return difference(block.text, self.printed)
        elif block.mark == "run":
            return {"python": self.python, "toml": self.toml, "console": self.console}[
                block.language
            ](block.text)
        return ""

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def python(self, text: str) -> str:
        return self.run([sys.executable, "-c", text])

    def toml(self, text: str) -> str:
        self.write(CONFIG, text)
        return self.run([sys.executable, "-c", BUILD])

    def console(self, text: str) -> str:
        """Run each line that begins with a dollar, and compare what follows with what it prints."""
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            problem = self.run(["bash", "-c", command]) or difference(expected, self.printed)
            if problem:
                return f"$ {command}\n{problem}"
        return ""

    def run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
        self.printed = done.stdout
        return f"exit status {done.returncode}:\n{done.stdout}" if done.returncode else ""


def difference(expected: str, printed: str) -> str:
    """Compare, line ends aside; `...` stands for anything.

    Nothing expected means that anything may be printed.
    """
    if not expected.strip() or re.fullmatch(pattern(expected), tidy(printed), re.DOTALL):
        return ""
    return f"it should print:\n{expected}\nbut printed:\n{printed}"


def pattern(expected: str) -> str:
    return ".*".join(re.escape(part) for part in tidy(expected).split("..."))


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def document_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "document.md"
    path.write_text(text, encoding="utf-8")
    return path


def outcome(tmp_path: Path, text: str) -> str:
    """Read a document of the test's own; the first problem."""
    blocks = documents.blocks_of(document_of(tmp_path, text))
    reader = Reader(tmp_path, {})
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


def test_a_true_document_passes(tmp_path: Path) -> None:
    """Files, programs, their output and commands are all done in order."""
    assert outcome(tmp_path, TRUE) == ""


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
