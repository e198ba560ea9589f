"""The command `eventtracking catalog`, and the site that it writes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import attrs
import pytest
from click.testing import CliRunner, Result

from eventtracking import Event, Problem, Tracker
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.documents import declaration_from
from eventtracking_catalog.export import json_schema, sample
from eventtracking_catalog.history import read_records
from eventtracking_catalog.infer import infer
from eventtracking_catalog.problems import problems_of
from eventtracking_catalog.registry import registry
from eventtracking_catalog.site import write_site
from eventtracking_cli.app import app
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.services.fixtures import leave_out

pytestmark = pytest.mark.needs("name_filter", "regex_filter", "sqlite", "cli")

CATALOG = """
[events."cli.enrolled"]
description = "A learner enrolled."
owner = "learning"
fields.course = { type = "str", description = "The course.", pii = "none" }
fields.author = { fields = { id = "int" }, required = false }

[events."cli.left".fields]
why = { enum = [true, 1.5] }

[contexts.user.fields]
user_id = { type = "int", pii = "id" }
"""
CONFIG = """
[[processors]]
plugin = "catalog"
files = ["catalog.toml"]

[backends.all]
plugin = "sqlite"
path = "events.db"

[backends.some]
plugin = "sqlite"
path = "some.db"
processors = [
  { plugin = "regex_filter", filter_type = "blocklist", regular_expressions = ["eventtracking"] },
  { plugin = "name_filter", names = ["cli.enrolled"] },
]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and a catalog, as the working folder."""
    (tmp_path / "catalog.toml").write_text(CATALOG)
    (tmp_path / "eventtracking.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    for name, fresh in (("_imported", {}), ("_files", WeakValueDictionary()), ("problems", {})):
        monkeypatch.setattr(registry, name, fresh)  # as in a process of its own
    monkeypatch.delenv("EVENTTRACKING_CONFIG", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["catalog", *arguments])


def test_list_and_show() -> None:
    """Types and contexts in lines, with the share of marks; one of them whole, with its routes."""
    shown = run("list").output
    assert "cli.enrolled@" in shown
    assert "user (context)" in shown
    assert "2 of 5 fields (40 %)" in shown
    whole = run("show", "cli.enrolled").output
    assert "routes: all, some" in whole
    assert "author.id: int" in whole
    assert "routes: all\n" in run("show", "cli.left").output
    document = json.loads(run("show", "cli.enrolled", "--json").output)
    assert document["routes"] == ["all", "some"]
    assert document["fields"]["author"]["fields"]["id"]["type"] == "int"


def test_a_name_that_is_none() -> None:
    """The nearest one is suggested."""
    result = run("show", "cli.enroled")
    assert result.exit_code == 1
    assert "cli.enrolled" in result.output


def test_check_names_slow_types_and_routes_without_records(folder: Path) -> None:
    """Neither is a problem; an option says that records are left out on purpose."""
    result = run("check")
    assert result.exit_code == 0, result.output
    assert "note: cli.left: checked by the slow path alone" in result.output
    assert "note: some: takes cli.enrolled and drops eventtracking.event_type" in result.output
    purpose = 'processors = [\n  { plugin = "catalog", records = false },'
    (folder / "eventtracking.toml").write_text(CONFIG.replace("processors = [", purpose))
    assert "note: some" not in run("check").output


def test_the_check_of_the_config_warns_of_routes_without_records(folder: Path) -> None:
    """Once for each route, however many processors and types there are; fatal with --strict."""
    two = CONFIG.replace("[backends.all]", '[[processors]]\nplugin = "catalog"\n\n[backends.all]')
    (folder / "eventtracking.toml").write_text(two)
    for options, status in (([], 0), (["--strict"], 1)):
        result = CliRunner().invoke(app, ["check", *options])
        assert result.exit_code == status, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith(
            "eventtracking.toml: warning: backends.some: takes cli.enrolled, and"
        )
        assert "records = false" in line
    purpose = 'processors = [\n  { plugin = "catalog", records = false },'
    (folder / "eventtracking.toml").write_text(CONFIG.replace("processors = [", purpose))
    assert CliRunner().invoke(app, ["check", "--strict"]).exit_code == 0


def test_advice_that_raises_hides_nothing(folder: Path) -> None:
    """It is a warning itself."""

    @attrs.define(eq=False)
    class Adviser:
        def __call__(self, event: Event) -> Event:
            return event

        def advice(self, tracker: Tracker) -> list[Problem]:
            raise RuntimeError

    with fake_distribution(plugins={"adviser": Adviser}):
        text = (
            '[[processors]]\nplugin = "adviser"\n[backends.a]\nplugin = "sqlite"\npath = "a.db"\n'
        )
        (folder / "eventtracking.toml").write_text(text)
        result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0
    assert "warning: config: Adviser cannot advise (RuntimeError" in result.stderr


@pytest.mark.timeout(180)
@pytest.mark.process
def test_check_fails_on_problems(folder: Path) -> None:
    """A declaration that cannot be read, and two that differ, each with its places."""
    (folder / "declared_twice.py").write_text(
        "from eventtracking_catalog import register\n"
        "register('cli.enrolled', 'Another.')\n"
        "register('cli.odd', 'x', {'a': {'type': 'strr'}})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = ["-m", "eventtracking_cli", "catalog", "check", "--module", "declared_twice"]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert "cli.enrolled is declared differently at" in done.stderr
    assert "declared_twice.py:2" in done.stderr
    assert "catalog.toml" in done.stderr


def test_a_module_that_raises() -> None:
    """It is named, without a traceback."""
    result = run("list", "--module", "no_such_module")
    assert result.exit_code == 1
    assert "importing no_such_module raised ModuleNotFoundError" in result.output


def test_lock_and_diff(folder: Path) -> None:
    """A lock is written once; a change fails on the word that is asked for."""
    assert "2 event types, written" in run("lock").output
    assert "unchanged" in run("lock").output
    assert run("lock", "--check").exit_code == 0
    shutil.copy("catalog.lock.json", "old.json")
    (folder / "catalog.toml").write_text(CATALOG.replace("id = ", "key = "))
    assert run("lock", "--check").exit_code == 1
    run("lock")
    result = run("diff", "old.json", "catalog.lock.json", "--fail-on", "major")
    assert result.exit_code == 1
    assert "major   cli.enrolled: data.author.id: required field removed" in result.output
    assert run("diff", "old.json", "catalog.lock.json", "--fail-on", "privacy").exit_code == 0
    changes = json.loads(run("diff", "old.json", "catalog.lock.json", "--json").output)
    assert {one["word"] for one in changes} == {"major"}


def test_export() -> None:
    """JSON Schema for one or all, and CloudEvents with the URI of each schema."""
    schema = json.loads(run("export", "cli.enrolled").output)
    assert schema["required"] == ["course"]
    assert schema["properties"]["course"]["x-pii"] == ["none"]
    assert set(json.loads(run("export").output)) == {"cli.enrolled", "cli.left"}
    (first, _) = json.loads(run("export", "--format", "cloudevents").output)
    assert first["type"] == "cli.enrolled"
    assert first["dataschema"] == first["schema"]["$id"] == schema["$id"]


def test_the_sample_of_a_type_conforms() -> None:
    """The event that the routing tree is asked with passes the checks on the way."""
    table = {
        "fields": {
            "a": "int",
            "b": {"fields": {"c": "uuid", "d": "list[int]"}},
            "e": '"x" | "y"',
            "f": {"type": "str", "example": "z"},
            "g": "datetime | None",
            "h": "tuple[int, str]",
        }
    }
    one = declaration_from("event", "x", table, "")
    assert problems_of(one.fields, sample(one.fields)) == []
    assert json_schema(one)["properties"]["h"]["prefixItems"]


def test_infer_gives_a_catalog_under_which_all_conform(folder: Path) -> None:
    """Every event passes with every policy at `drop`; a type changed in one event is caught."""
    samples: list[dict[str, Any]] = [
        {"a": 1, "b": {"c": [1, 2.5]}, "d": None, "scores": {"0123456789abcdef": {"n": 1}}},
        {"a": 2, "b": {"c": []}, "e": "x", "scores": {}, 'odd "key"': [{"n": 1}, {"m": None}]},
        {"a": 3, "b": {}, "f": [[1], ["x"]], "g": {"h": {"i": True}}, "é\x7f": "\n"},
    ]
    events = [Event(name="seen", data=data) for data in samples] + [
        Event(name="often", data={"n": number, "x": {"y": "z"}}) for number in range(25)
    ]
    (folder / "inferred.toml").write_text(infer(events), encoding="utf-8")
    drop = dict.fromkeys(
        ("unknown_type", "missing_field", "unknown_field", "wrong_type", "too_large"), "drop"
    )
    config: dict[str, Any] = {
        "processors": [{"plugin": "catalog", "files": ["inferred.toml"], **drop}],
        "backends": {"all": {"plugin": "sqlite", "path": "inferred.db"}},
    }
    with Tracker.from_config(config) as tracker:
        for one in events:
            tracker.submit(one)
        assert tracker.stats()[""].filtered == 0, tracker.stats()[""].reasons
        tracker.emit("often", {"n": 1, "x": {"y": 3}})
        tracker.emit("often", {"n": 1})
        counts = tracker.stats()[""]
        assert counts.filtered == 2
        assert counts.reasons["filtered: catalog: wrong_type data.x.y"] == 1
        assert counts.reasons["filtered: catalog: missing_field data.x"] == 1


EXAMPLE = Path(__file__).parents[3] / "examples" / "quickstart" / "events.jsonl"
WITH_EXAMPLES = pytest.mark.skipif(not EXAMPLE.exists(), reason="installed without the examples")
RECORDED: list[Any] = [pytest.param(str(EXAMPLE), marks=WITH_EXAMPLES)]
RECORDED += filter(None, [os.environ.get("EVENTTRACKING_OPENEDX_EVENTS")])
"""Files of recorded events; the variable names another one."""


@pytest.mark.parametrize("recorded", RECORDED)
def test_infer_on_recorded_events(folder: Path, recorded: str) -> None:
    """The same through the command line; one value of another type is caught, with its path."""
    inferred = run("infer", recorded)
    assert inferred.exit_code == 0
    (folder / "catalog.toml").write_text(inferred.output, encoding="utf-8")
    policies = "".join(
        f'{kind} = "drop"\n' for kind in ("unknown_type", "missing_field", "unknown_field")
    )
    config = CONFIG.partition("[backends.some]")[0].replace(
        'files = ["catalog.toml"]\n', f'files = ["catalog.toml"]\n{policies}wrong_type = "drop"\n'
    )
    (folder / "eventtracking.toml").write_text(config)
    done = CliRunner().invoke(app, ["replay", recorded, "--json"])
    assert json.loads(done.stdout)[""]["filtered"] == 0
    events = [json.loads(line) for line in Path(recorded).read_text(encoding="utf-8").splitlines()]
    found = next(one for one in events if any(isinstance(v, str) for v in one["data"].values()))
    field = next(key for key, value in found["data"].items() if isinstance(value, str))
    changed = {**found, "data": {**found["data"], field: [1.5, {}]}}
    (folder / "changed.jsonl").write_text(json.dumps(changed) + "\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["replay", "changed.jsonl", "--json"])
    root = json.loads(done.stdout)[""]
    assert root["filtered"] == 1
    assert f"filtered: catalog: wrong_type data.{field}" in root["reasons"]


def hostile(name: str) -> Declaration:
    table = {
        "description": "<script>alert(1)</script>",
        "owner": '"><img src=x onerror=alert(1)>',
        "fields": {"<b>": {"type": "str", "description": "</td><script>", "pii": "<i>"}},
    }
    return declaration_from("event", name, table, "a|b")


def test_the_site_escapes_everything(folder: Path) -> None:
    """Names and texts of declarations, full of HTML, are text, also in file names."""
    names = ["../../escape", "<script>", "a/b", "é", "É", "", "CON", "x" * 300, "\ud800"]
    page = write_site(folder / "site", [hostile(name) for name in names], [], {}, {})
    files = sorted(path.relative_to(folder / "site") for path in page.parent.rglob("*.html"))
    assert len(files) == len(names) + 1
    for file in page.parent.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "</td><script>" not in text
        assert "Content-Security-Policy" in text
    assert not (folder.parent / "escape.html").exists()


def test_the_site_tells_routes_emitters_and_versions(folder: Path) -> None:
    """The routing tree says who takes a type, and the records of a store who emits it."""
    for kind in ("int", "str"):
        text = CATALOG.replace('id = "int"', f'id = "{kind}"')
        (folder / "catalog.toml").write_text(text)
        with Tracker.from_config(
            {
                "processors": [{"plugin": "catalog", "files": ["catalog.toml"]}],
                "backends": {"all": {"plugin": "sqlite", "path": "events.db"}},
            }
        ) as tracker:
            tracker.emit("cli.enrolled", {"course": "botany"})
    history = read_records(folder / "events.db")["cli.enrolled"]
    assert len(history.versions) == 2
    assert history.count == 2
    assert run("docs", "site", "--records", "events.db").exit_code == 0
    page = (folder / "site" / "types" / "cli.enrolled.html").read_text(encoding="utf-8")
    assert "<dd>all, some</dd>" in page
    assert "test_commands:" in page
    assert "major: data.author.id type changed from int to str" in page
    index = (folder / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="types/cli.enrolled.html"' in index
    assert "## cli.enrolled" in (folder / "site" / "catalog.md").read_text(encoding="utf-8")


def test_records_of_a_file_of_lines(folder: Path) -> None:
    """The log of the logger does as well as a store; lines that are no events are passed over."""
    record = {"name": "cli.enrolled", "schema": "cli.enrolled@1", "docs": "2", "fields": {}}
    lines = [
        json.dumps({"name": "cli.enrolled", "timestamp": "2026-01-02T00:00:00Z"}),
        "no json",
        json.dumps({"name": "eventtracking.event_type", "timestamp": "2026", "data": record}),
        json.dumps({"name": "eventtracking.event_type", "data": [1]}),
    ]
    (folder / "log.jsonl").write_text("\n".join(lines))
    history = read_records(folder / "log.jsonl")["cli.enrolled"]
    assert (history.count, len(history.versions)) == (1, 1)


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        leave_out("no Chromium is on PATH (Debian: apt-get install chromium)")
    return found


@pytest.mark.service
def test_the_site_in_a_browser(folder: Path) -> None:
    """Its search finds a type by a field; without script, all is there but the search."""
    assert run("docs", "site").exit_code == 0
    index = folder / "site" / "index.html"
    text = index.read_text(encoding="utf-8")
    probe = "<script>document.title</script>"
    assert probe not in text
    command = [
        *(chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={folder / 'profile'}", "--dump-dom"),
    ]
    done = subprocess.run(
        [*command, index.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    assert 'class="search">' in done.stdout  # the script has run under the page's own policy
    assert 'class="search" hidden' in text  # and without it, no dead box is shown
    assert "cli.enrolled" in text


def test_an_empty_store(folder: Path) -> None:
    """A store without events has no history."""
    with closing(sqlite3.connect("empty.db")) as connection:
        connection.execute("CREATE TABLE events (id, name, timestamp, context, data, extra)")
    assert read_records(folder / "empty.db") == {}
