"""The command `schema`: it lets through what core takes, and refuses what core refuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from click.testing import Result

from eventtracking import ConfigError, Event
from eventtracking.config import parse
from eventtracking.config.discovery import installed_plugins
from eventtracking.config.files import FileConfig
from eventtracking_cli.schema import config_schema
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.needs("logger", "name_filter", "regex_filter")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Validator = Callable[[str], bool]


@pytest.fixture(scope="session")
def draft() -> Any:
    """The checks of JSON Schema 2020-12. To import them takes a second."""
    import jsonschema  # type: ignore[import-untyped]  # it has no types of its own

    return jsonschema.Draft202012Validator


class Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    """A nested option, with a definition of its own in the schema."""

    host: str
    port: int = 80


@attrs.define(eq=False)
class Shop:
    """Takes an option of every shape."""

    mode: Literal["fast", "slow"]
    count: Annotated[int, msgspec.Meta(ge=1)] = 3
    limit: float | None = None
    is_open: bool = True
    sizes: list[Annotated[int, msgspec.Meta(ge=0)]] = attrs.field(factory=list)
    labels: dict[str, int] = attrs.field(factory=dict)
    endpoint: Endpoint | None = None
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")] = "a"
    token: str = attrs.field(default="s3cret", repr=False)
    anything: Any = None

    def send(self, events: Sequence[Event]) -> None: ...


@attrs.define(eq=False)
class Relay:
    """A router."""

    def bind(self, downstream: Any) -> None: ...

    def send(self, events: Sequence[Event]) -> None: ...


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    with fake_distribution(plugins={"shop": Shop, "relay": Relay}):
        yield


@pytest.fixture
def schema(run: Callable[..., Result]) -> dict[str, Any]:
    result = run("schema")
    assert result.exit_code == 0
    made: dict[str, Any] = json.loads(result.stdout)
    return made


@pytest.fixture
def passes(schema: dict[str, Any], draft: Any) -> Validator:
    """Whether the schema lets a config through that is written in TOML."""
    validator = draft(schema)
    return lambda text: validator.is_valid(tomllib.loads(text))


def core_takes(text: str) -> bool:
    try:
        parse(FileConfig(tomllib.loads(text)))
    except ConfigError:
        return False
    return True


SHOP = '[backends.a]\nplugin = "shop"\nmode = "fast"\n'

GOOD = [
    "",
    "strict = true\n[context]\nhost = 'a'\n",
    SHOP,
    SHOP
    + "count = 5\nlimit = 1.5\nis_open = false\nsizes = [1, 2]\nlabels = { a = 1 }\nanything = [1,"
    " 'b']\n",
    SHOP + "endpoint = { host = 'h', port = 1 }\ntoken = 'x'\ncode = 'abc'\n",
    SHOP
    + "count = '${NUMBER}'\nlimit = '${NUMBER}'\nis_open = '${YES:-true}'\ncode = '${CODE:-abc}'\n",
    SHOP
    + "sizes = ['${NUMBER}', 2]\nlabels = { a = '${NUMBER}' }\nendpoint = { host = '${H:-h}', port"
    " = '${NUMBER}' }\n",
    "[backends.a]\nplugin = '${SHOP:-shop}'\nmode = '${MODE:-slow}'\n",
    "[backends.g]\nprocessors = []\n[backends.g.backends.a]\nplugin = 'logger'\n",
    "[backends.r]\nplugin = 'relay'\n[backends.r.backends.a]\nplugin = 'logger'\n",
    (
        "[[processors]]\nplugin = 'regex_filter'\nfilter_type = 'blocklist'\nregular_expressions ="
        " ['a']\non_error = 'pass'\n"
    ),
    SHOP + "processors = [{ plugin = 'name_filter', names = ['a'] }]\n",
]

BAD = [
    "backend = {}",
    "strict = 'yes'",
    "context = 5",
    "[backends.a]\nplugin = 'shop'\n",
    SHOP + "count = 0\n",
    SHOP + "count = 'many'\n",
    SHOP + "limit = 'high'\n",
    SHOP + "sizes = [-1]\n",
    SHOP + "sizes = '${NUMBER}'\n",
    SHOP + "labels = { a = 'b' }\n",
    SHOP + "endpoint = { port = 1 }\n",
    SHOP + "endpoint = { host = 'h', prot = 1 }\n",
    SHOP + "code = 'ABC'\n",
    SHOP + "colour = 1\n",
    SHOP + "on_error = 'drop'\n",
    SHOP + "[backends.a.backends.b]\nplugin = 'logger'\n",
    "[backends.a]\nplugin = 'shop'\nmode = 'medium'\n",
    "[backends.a]\nplugin = 'no_such'\n",
    (
        "[backends.a]\nplugin = 'regex_filter'\nfilter_type = 'blocklist'\nregular_expressions ="
        " ['a']\n"
    ),
    "[backends.a]\n",
    "[backends.a]\nname = 'x'\n[backends.a.backends.b]\nplugin = 'logger'\n",
    "[backends.'a/b']\nplugin = 'logger'\n",
    "[backends.r]\nplugin = 'relay'\n",
    "[[processors]]\nplugin = 'logger'\n",
    "[[processors]]\nfilter_type = 'blocklist'\n",
    "[[processors]]\nplugin = 'name_filter'\nnames = ['a']\non_error = 'ignore'\n",
    "[processors]\nplugin = 'name_filter'\nnames = ['a']\n",
]


def test_it_is_a_schema(schema: dict[str, Any], draft: Any) -> None:
    """Valid by the metaschema of 2020-12, and every reference in it leads somewhere."""
    draft.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    references = set(_references(schema))
    assert references <= {f"#/$defs/{name}" for name in schema["$defs"]}
    assert "#/$defs/plugin.shop.Endpoint" in references


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize("text", GOOD)
def test_a_good_config_is_good_for_both(
    passes: Validator, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What core takes, the schema lets through; `${VAR}` also where a number stands."""
    monkeypatch.setitem(os.environ, "NUMBER", "7")
    assert core_takes(text)
    assert passes(text)


@pytest.mark.parametrize("text", BAD)
def test_a_bad_config_is_bad_for_both(
    passes: Validator, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What core refuses, an editor marks too."""
    monkeypatch.setitem(os.environ, "NUMBER", "7")
    assert not core_takes(text)
    assert not passes(text)


def test_it_helps_an_editor(schema: dict[str, Any]) -> None:
    """Each option of an installed plugin has its help and default; a secret shows none."""
    options = schema["$defs"]["plugin.regex_filter"]["properties"]
    assert options["match"]["default"] == "prefix"
    assert "allowlist: only matching events pass" in options["filter_type"]["description"]
    token = schema["$defs"]["plugin.shop"]["properties"]["token"]
    assert token == {"type": "string", "writeOnly": True}
    assert schema["$defs"]["plugin.shop"]["description"] == "Takes an option of every shape."


def test_a_broken_plugin_is_left_out_and_told_of(run: Callable[..., Result]) -> None:
    """The schema of the others is printed all the same."""
    with fake_distribution("acme", modules={"acme": "1/0"}, entry_points={"acme": "acme"}):
        result = run("schema")
    assert result.exit_code == 0
    assert "warning: acme is left out" in result.stderr
    assert "plugin.logger" in json.loads(result.stdout)["$defs"]


COMMANDS = """
from eventtracking import hookimpl

@hookimpl
def eventtracking_register_commands(group): ...
"""


def test_a_plugin_of_commands_needs_no_warning(run: Callable[..., Result]) -> None:
    """It has no options, and registers no class on purpose."""
    with fake_distribution("acme", modules={"acme": COMMANDS}, entry_points={"acme": "acme"}):
        result = run("schema")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "plugin.acme" not in json.loads(result.stdout)["$defs"]


def test_a_name_that_two_claim_is_left_out_and_told_of(run: Callable[..., Result]) -> None:
    """Which of the two a config would mean is not known."""
    with fake_distribution("acme", plugins={"logger": Shop}):
        result = run("schema")
    assert result.exit_code == 0
    assert "warning: logger is left out: acme and eventtracking-logger claim it" in result.stderr
    assert "plugin.logger" not in json.loads(result.stdout)["$defs"]


def test_observers_have_a_place_of_their_own(draft: Any) -> None:
    """The schema takes them in `observers` alone, with their options and nothing else."""

    @attrs.define
    class Watch:
        """Watch."""

        port: int = 1

        def start(self, tracker: object) -> None:
            """Do nothing."""

    with fake_distribution(plugins={"watch": Watch}):
        schema = config_schema(installed_plugins())
    check = draft(schema).is_valid
    assert check({"observers": [{"plugin": "watch", "port": 2}]})
    assert not check({"observers": [{"plugin": "watch", "on_error": "pass"}]})
    assert not check({"observers": [{"plugin": "logger"}]})
    assert not check({"processors": [{"plugin": "watch"}]})
    assert not check({"backends": {"a": {"plugin": "watch"}}})
