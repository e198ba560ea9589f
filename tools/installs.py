"""Try each `pip install` line of the documents: `installs.py [WORD]`.

For each line, an environment is made that holds nothing else, with wheels from dist/ (`make wheels`
builds them). Everything that the line installs is imported, and the first block below the line that
the document marks `run` is run. A WORD leaves out the lines that do not contain it.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import documents
import workspace
from documents import Block
from reading import Reader

SERVERS = {
    "MONGO_URI": "mongodb://127.0.0.1:1/",
    "RABBITMQ_URL": "amqp://127.0.0.1:1//",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
"""URIs of servers that are not there: building a config connects to none."""
_LINE = re.compile(r"^(?:\$ )?pip install ([^\n#]*)", re.MULTILINE)
_INLINE = re.compile(r"`pip install ([^`]*)`", re.DOTALL)
_OURS = re.compile(r"eventtracking[\w-]*")

IMPORT_ALL = """
import importlib.metadata as metadata
for name in sorted({dist.name for dist in metadata.distributions()}):
    if name.replace("_", "-").startswith("eventtracking"):
        __import__(name.replace("-", "_"))
for group in ("eventtracking", "console_scripts", "pytest11"):
    for entry in metadata.entry_points(group=group):
        if entry.value.startswith("eventtracking"):
            entry.load()
from eventtracking.config.discovery import installed_plugins
plugins = installed_plugins()
KINDS = ("backends", "processors", "observers")
for declaration in plugins.declarations:
    module = plugins.module(declaration)
    if any(hasattr(module, f"eventtracking_register_{kind}") for kind in KINDS):
        plugins.load(declaration.name)
    if hasattr(module, "eventtracking_register_commands"):
        try:
            import click
        except ImportError:
            continue
        try:
            import eventtracking_cli
        except ImportError:
            continue
        module.eventtracking_register_commands(click.Group())
"""


@dataclass(frozen=True)
class Install:
    """One install line, and the sample below it."""

    document: str
    line: int
    requirements: tuple[str, ...]
    sample: tuple[Block, ...] = ()

    def __str__(self) -> str:
        return f"{self.document}:{self.line} pip install {' '.join(self.requirements)}"


def installs() -> list[Install]:
    """Find the install lines of every document that name distributions of ours alone."""
    return [found for document in documents.documents() for found in _installs_in(document)]


def _installs_in(document: Path) -> Iterator[Install]:
    text = document.read_text(encoding="utf-8")
    name = str(document.relative_to(workspace.ROOT))
    blocks = documents.blocks_of(document)
    for pattern in (_LINE, _INLINE):
        for found in pattern.finditer(text):
            line_of = found[1].replace("\n", " ").replace("--find-links dist ", "")
            words = shlex.split(line_of)
            if words and all(_OURS.match(word) for word in words):
                line = text.count("\n", 0, found.start()) + 1
                sample = _sample_below(blocks, line) if pattern is _LINE else ()
                yield Install(name, line, tuple(words), sample)


def _sample_below(blocks: list[Block], line: int) -> tuple[Block, ...]:
    """Return the blocks up to the first one that runs, and what that prints."""
    sample: list[Block] = []
    for block in (b for b in blocks if b.line >= line and b.mark in ("file", "run", "output")):
        if any(b.mark == "run" for b in sample):
            return (*sample, block) if block.mark == "output" else tuple(sample)
        sample.append(block)
    return tuple(sample) if any(b.mark == "run" for b in sample) else ()


def make_environment(folder: Path, wheels: Path, requirements: tuple[str, ...]) -> Path:
    """Make an environment that holds some distributions and their needs; return its Python."""
    workspace.uv("venv", "-q", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    places = ("--no-sources", "--find-links", wheels, "--python", python)
    versions = ("--constraint", workspace.CONSTRAINTS)
    workspace.uv("pip", "install", "-q", *places, *versions, *requirements)
    workspace.uv("pip", "check", "-q", "--python", python)
    return python


def problem_with(install: Install, wheels: Path, folder: Path) -> str:
    """Do what an install line says, import it all, and run the sample; return the problem."""
    python = make_environment(folder / "env", wheels, install.requirements)
    work = folder / "work"
    work.mkdir()
    reader = Reader(work, python, SERVERS)
    problem = reader.run([str(python), "-W", "error::ImportWarning", "-c", IMPORT_ALL])
    for block in install.sample:
        if not problem:
            problem = reader.do(block)
    return problem


def main() -> int:
    """Try them all; the exit status says whether any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    options = parser.parse_args()
    failed = 0
    for install in installs():
        if options.word not in str(install):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem = problem_with(install, workspace.ROOT / "dist", Path(folder))
            except Exception as error:  # noqa: BLE001 - told, and the others have their turn
                problem = str(error)
        print(f"{'FAILED' if problem else 'ok    '} {install}\n{problem}".strip(), flush=True)
        failed += bool(problem)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
