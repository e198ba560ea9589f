"""Each hook, config key, option, command and public error is documented, and tried by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import click
import pytest

import collected
import documents
import reference
import workspace
from eventtracking import hookspecs
from eventtracking.config.discovery import installed_plugins
from eventtracking_cli.options import option_rows
from eventtracking_cli.schema import config_schema

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]  # git lists the files

TESTS = ("*/tests/**", "plugins/*/tests/**", "tests/**", "examples/**", "testkit/src/**")


@cache
def prose() -> str:
    """All documents."""
    return "\n".join(path.read_text(encoding="utf-8") for path in documents.documents())


@cache
def tried() -> str:
    """All tests, the configs and scripts that they run, and the contracts that they inherit."""
    files = {path for path in workspace.tracked(*TESTS) if path.suffix in (".py", ".toml", ".sh")}
    texts = [path.read_text(encoding="utf-8") for path in sorted(files) if path.name != me()]
    blocks = [
        block.text
        for path in documents.documents()
        for block in documents.blocks_of(path)
        if block.mark in ("run", "file")
    ]
    return "\n".join([*texts, *blocks])


def me() -> str:
    """This file names what it looks for."""
    return "test_coverage.py"


def hooks() -> Iterator[str]:
    yield from (name for name in hookspecs.__all__ if name.startswith("eventtracking_"))


def config_keys() -> Iterator[str]:
    """Yield the keys of the config that belong to no plugin."""
    schema = config_schema(installed_plugins())
    yield from schema["properties"]
    for kind in ("processor", "route", "observer"):
        yield from schema["$defs"][kind]["properties"]


def options() -> Iterator[str]:
    """Yield the options of every plugin of ours."""
    for plugin in reference.our_plugins():
        yield from (row.cells[0] for row in option_rows(plugin))


def command_words() -> Iterator[str]:
    """Yield the last word of each command, and its options."""
    for words, command in collected.commands().items():
        yield words.rpartition(" ")[2]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield max(parameter.opts, key=len)


def errors() -> Iterator[str]:
    yield from (error.name for error in collected.errors(collected.modules()))


@pytest.mark.parametrize(
    "names", [hooks, config_keys, options, command_words, errors], ids=lambda f: f.__name__
)
def test_each_is_documented_and_tried(names: Any) -> None:
    """A name that no document has, or that no test and no executed document uses, is a gap."""
    found = sorted(set(names()))
    assert found
    known = {"documents": words_of(prose()), "tests": words_of(tried())}
    gaps = {where: [name for name in found if name not in known[where]] for where in known}
    assert gaps == {"documents": [], "tests": []}


def words_of(text: str) -> set[str]:
    """Return the words of a text; an option of a command keeps its dashes."""
    return {*re.findall(r"(?:--)?\w+(?:-\w+)*", text), *re.findall(r"\w+", text)}
