"""The command `eventtracking migrate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from eventtracking import Tracker
from eventtracking.config import load_file
from eventtracking_legacy import eventtracking_register_commands
from eventtracking_legacy.settings import translate
from eventtracking_legacy.toml import UnwritableError, write_config

SETTINGS = """
EVENT_TRACKING_BACKENDS = {
    "tracking_logs": {
        "ENGINE": "eventtracking.backends.routing.RoutingBackend",
        "OPTIONS": {
            "backends": {"own": {"ENGINE": "site_code.Recorder", "OPTIONS": {"tag": "$x"}}},
            "processors": [
                {"ENGINE": "eventtracking.processors.regex_filter.RegexFilter",
                 "OPTIONS": {"filter_type": "allowlist", "regular_expressions": [r'a\\.b$',
                 '"quoted"']}},
                {"ENGINE": "site_code.Prefixer", "OPTIONS": {"prefixes": "a."}},
            ],
        },
    },
}
EVENT_TRACKING_PROCESSORS = [{"ENGINE": "site_code.Scrubber"}]
"""


def migrate(*arguments: str) -> Result:
    """Run the command as the command line does."""
    group = click.Group()
    eventtracking_register_commands(group)
    return CliRunner().invoke(group, ["migrate", *arguments])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A file of settings."""
    path = tmp_path / "site_settings.py"
    path.write_text(SETTINGS, encoding="utf-8")
    return path


def test_the_printed_config_routes_the_same(
    settings: Path, tmp_path: Path, recorded: dict[str, list[Any]]
) -> None:
    """The printed config can be loaded, and delivers as the settings would."""
    result = migrate(str(settings))
    assert result.exit_code == 0, result.output
    config = tmp_path / "config.toml"
    config.write_text(result.stdout, encoding="utf-8")
    with (
        Tracker.from_config(load_file(config)) as tracker,
        tracker.context({"ip": "10.0.0.1", "user_id": 1}),
    ):
        tracker.emit("a.b", {"k": 1})
        tracker.emit("aXb", {"k": 1})
    (event,) = recorded["$x"]
    assert (event["name"], event["context"], event["data"]) == ("edx.a.b", {"user_id": 1}, {"k": 1})


def test_the_differences_go_to_the_standard_error(settings: Path) -> None:
    """Each difference is told once, with all its places, beside the config and not in it."""
    result = migrate(str(settings))
    assert result.stderr.count("warning: when this processor raises") == 1
    assert (
        "at EVENT_TRACKING_PROCESSORS[0],"
        " EVENT_TRACKING_BACKENDS.tracking_logs.OPTIONS.processors[1]" in result.stderr
    )
    assert "warning" not in result.stdout


def test_a_tuple_that_becomes_a_list_is_told(tmp_path: Path) -> None:
    """A file has no tuples, and a class may depend on one."""
    path = tmp_path / "site_settings.py"
    path.write_text(SETTINGS.replace('"a."', '("a.",)'), encoding="utf-8")
    assert "a tuple or a set among the options" in migrate(str(path)).stderr


def test_a_module_and_a_json_file(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings may be a module by its dotted name, or JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    by_module = migrate("site_settings")
    data = tmp_path / "settings.json"
    data.write_text(
        json.dumps({"EVENT_TRACKING_BACKENDS": {"a": {"ENGINE": "site_code.Recorder"}}}),
        encoding="utf-8",
    )
    assert by_module.stdout == migrate(str(settings)).stdout
    assert (
        migrate(str(data)).stdout
        == 'values = ["legacy"]\n\n[backends.a]\nplugin = "legacy"\nengine = "site_code.Recorder"\n'
    )


def test_a_yaml_file(tmp_path: Path) -> None:
    """The settings may be YAML, with a warning that such a file is often only a part."""
    path = tmp_path / "site.yml"
    path.write_text(
        "EVENT_TRACKING_BACKENDS:\n  a:\n    ENGINE: site_code.Recorder\n", encoding="utf-8"
    )
    result = migrate(str(path))
    assert (
        result.stdout
        == 'values = ["legacy"]\n\n[backends.a]\nplugin = "legacy"\nengine = "site_code.Recorder"\n'
    )
    assert "what a YAML file says of backends is often merged" in result.stderr


def test_yaml_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML is missing, the error names the extra."""
    path = tmp_path / "site.yml"
    path.touch()
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert (
        migrate(str(path)).stderr == f"Error: {path} cannot be read: YAML needs PyYAML; pip install"
        " 'eventtracking-legacy[yaml]'\n"
    )


def test_a_file_with_relative_imports(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is a part of a package cannot be run by itself; the error says to name the
    module, and that works.
    """
    package = tmp_path / "relative_site"
    package.mkdir()
    (package / "__init__.py").touch()
    settings.rename(package / "base.py")
    (package / "prod.py").write_text("from .base import *\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert (
        migrate("relative_site/prod.py").stderr
        == "Error: relative_site/prod.py cannot be read: ImportError: attempted relative import"
        " with no known parent package; name the module in its place, from the folder"
        f" {tmp_path}: eventtracking migrate relative_site.prod\n"
    )
    assert migrate("relative_site.prod").exit_code == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.json", "{}", "has neither EVENT_TRACKING_BACKENDS nor EVENT_TRACKING_PROCESSORS"),
        ("list.json", "[]", "a table is expected"),
        ("broken.json", "{", "cannot be read: JSONDecodeError"),
        (
            "bad.json",
            '{"EVENT_TRACKING_BACKENDS": {"a": 3}}',
            "EVENT_TRACKING_BACKENDS.a: expected a dict with ENGINE",
        ),
    ],
)
def test_what_cannot_be_migrated(name: str, text: str, message: str, tmp_path: Path) -> None:
    """Settings that are missing, broken or of another form end the command with the reason."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    result = migrate(str(path))
    assert result.exit_code == 1
    assert message in result.stderr


def test_every_kind_of_value(tmp_path: Path) -> None:
    """Every value that TOML knows comes back as it was; None, which it does not know, is
    left out.
    """
    text = 'quo"te\\ \n\t\x7f ü $'
    options: dict[str, Any] = {
        "text": text,
        "numbers": [1, -2.5, 1e300, True],
        "deep": {"a b": [{"c": []}, {}]},
        "none": None,
    }
    translation = translate(
        {"a b.c": {"ENGINE": "site_code.Recorder", "OPTIONS": options}}, plain=True
    )
    path = tmp_path / "config.toml"
    path.write_text(write_config(translation.config), encoding="utf-8")
    expected = {**options, "text": text.replace("$", "$$")}
    del expected["none"]
    assert load_file(path)["backends"]["a b.c"]["options"] == expected


def test_a_value_that_no_file_can_hold() -> None:
    """An object among the options is refused, with its place."""
    translation = translate(
        {"a": {"ENGINE": "site_code.Recorder", "OPTIONS": {"tag": object()}}}, plain=True
    )
    with pytest.raises(
        UnwritableError, match=r"backends\.a\.options\.tag is a object, which a file cannot hold"
    ):
        write_config(translation.config)
