"""What the tests of the command line share: a folder to work in, and a way to run a
command in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventtracking_cli._extensions import plugin_commands
from eventtracking_cli.app import app

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, in which it runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENTTRACKING_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture(autouse=True)
def fresh_commands() -> Iterator[None]:
    """Forget the commands of plugins that another test installed."""
    plugin_commands.cache_clear()
    yield
    plugin_commands.cache_clear()


@pytest.fixture
def run() -> Run:
    """Run the command line in this process; an exception that it does not turn into a message fails
    the test.
    """

    def run(*arguments: str, stdin: bytes | None = None) -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin, prog_name="eventtracking")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def config(folder: Path) -> Callable[[str], Path]:
    """Write the text as `eventtracking.toml`."""

    def write(text: str, name: str = "eventtracking.toml") -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
