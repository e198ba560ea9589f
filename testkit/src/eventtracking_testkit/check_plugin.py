"""The command `check-plugin`: the half of a contract that needs no destination."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from eventtracking import PluginError
from eventtracking.config.discovery import Plugin, installed_plugins
from eventtracking.config.options import MISSING, options_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["check_plugin_command"]

_CONTRACTS: Final[Mapping[str, str]] = {
    "backend": "BackendContract",
    "router": "RouterContract",
    "processor": "ProcessorContract",
    "observer": "ObserverContract",
}
_TESTS: Final = """\
import pytest
from eventtracking_testkit.contracts import {contract}


class TestPlugin({contract}):
    plugin = {name!r}

    @pytest.fixture
    def options(self):
        return {options!r}
"""


@click.command("check-plugin", short_help="Check an installed plugin against its contract.")
@click.argument("name")
@click.option(
    "-o", "--option", "given", multiple=True, metavar="KEY=VALUE",
    help="An option of the plugin, its value as in TOML (text needs no quotes). May be repeated.",
)  # fmt: skip
def check_plugin_command(name: str, given: Sequence[str]) -> None:
    """Check the installed plugin NAME: its entry point, options, errors, secrets and constructor.

    Nothing is opened and no event is sent. The whole contract is a class to inherit in the
    plugin's own tests: `eventtracking_testkit.contracts`.

    Exit status: 0 if every check passes, 1 if one fails, 2 for wrong usage.
    """
    plugin = _load(name)
    options = dict(_parsed(text) for text in given)
    needed = [
        option.name
        for option in options_of(plugin.plugin_class).values()
        if option.default is MISSING and option.name not in options
    ]
    if needed:
        hint = " ".join(f"-o {option}=VALUE" for option in needed)
        raise click.UsageError(f"{name} needs {', '.join(needed)}; add {hint}")
    raise SystemExit(min(_run(plugin, options), 1))


def _load(name: str) -> Plugin:
    try:
        return installed_plugins().load(name)
    except PluginError as error:
        hint = "see `eventtracking plugins`"
        raise click.ClickException(f"{error}; {hint}") from error


def _parsed(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"expected KEY=VALUE; found {text!r}", param_hint="-o")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:  # plain text
        return key, value


def _run(plugin: Plugin, options: Mapping[str, Any]) -> int:
    """Run the tests that all contracts share, apart; return the exit status of pytest."""
    from eventtracking_testkit.contracts._plugin import PluginContract

    tests = [test for test in vars(PluginContract) if test.startswith("test_")]
    text = _TESTS.format(contract=_CONTRACTS[plugin.kind], name=plugin.name, options=dict(options))
    with tempfile.TemporaryDirectory(prefix="check-plugin-") as folder:
        (Path(folder) / "test_plugin.py").write_text(text, encoding="utf-8")
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")  # not those of the working folder
        quiet = ("-p", "eventtracking_testkit.pytest_plugin", "-p", "no:cacheprovider")
        chosen = [f"test_plugin.py::TestPlugin::{test}" for test in tests]
        command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "--no-header"]
        return subprocess.run(
            [*command, *quiet, *chosen],
            check=False,
            cwd=folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        ).returncode
