"""The command `check`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest
from click.testing import Result

from eventtracking import DeliveryError, Event
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.needs("buffer", "logger", "sqlite")

SECRET = "hunter2"


@attrs.define(eq=False)
class Remote:
    """A backend that says that it talks to a network."""

    password: str = attrs.field(default="", repr=False, metadata={"help": "The password."})
    error: str = attrs.field(default="", metadata={"help": "How open() fails."})

    blocking = True

    def open(self) -> None:
        if self.error == "driver":
            raise RuntimeError(f"cannot log in with {self.password}")
        if self.error == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        if self.error:
            raise DeliveryError(self.error)

    def send(self, events: Sequence[Event]) -> None:
        raise AssertionError("nothing is sent")


@pytest.fixture(autouse=True)
def remote() -> Iterator[None]:
    with fake_distribution(plugins={"remote": Remote}):
        yield


def test_a_sound_config(run: Callable[..., Result], config: Callable[..., Path]) -> None:
    """Says so, with what is in it, and succeeds."""
    config('[backends.a]\nplugin = "logger"\n[backends.b.backends.c]\nplugin = "logger"\n')
    result = run("check")
    assert (result.exit_code, result.output) == (
        0,
        "eventtracking.toml: ok (3 routes, 0 processors)\n",
    )


def test_a_config_without_backends(run: Callable[..., Result], config: Callable[..., Path]) -> None:
    """It is allowed, so the status is 0; but the last line says what it means."""
    config("")
    result = run("check")
    assert result.exit_code == 0
    assert (
        result.stderr
        == "eventtracking.toml: warning: backends: no backend is named, so that every event is"
        " filtered\n"
    )
    assert (
        result.stdout
        == "eventtracking.toml: ok, but no event goes anywhere (0 routes, 0 processors)\n"
    )


def test_a_warning_does_not_fail_unless_strict(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """A blocking backend without a router above is allowed and likely a mistake."""
    config('[backends.a]\nplugin = "remote"\n')
    lax, strict = run("check"), run("check", "--strict")
    assert (lax.exit_code, strict.exit_code) == (0, 1)
    for result in (lax, strict):
        assert "eventtracking.toml: warning: backends.a: remote talks to a network" in result.stderr


def test_connect_opens_each_backend_and_reports_it(
    run: Callable[..., Result], config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each route has its line, the errors are safe words, and one that fails is exit status 1."""
    monkeypatch.setenv("PASSWORD", SECRET)
    kinds = ("driver", "refused", "the server says no")
    routes = [
        f'[backends.b{n}]\nplugin = "remote"\npassword = "${{PASSWORD}}"\nerror = "{e}"\n'
        for n, e in enumerate(kinds)
    ]
    config('[backends.log]\nplugin = "logger"\n' + "".join(routes))
    result = run("check", "--connect")
    lines = [
        [cell.strip() for cell in line.split("│")[1:3]]
        for line in result.stdout.splitlines()
        if "│" in line
    ]
    assert lines == [
        ["log", "ok"],
        ["b0", "RuntimeError"],
        ["b1", "ConnectionRefusedError: Connection refused"],
        ["b2", "the server says no"],
    ]
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert run("check").exit_code == 0


def test_connect_succeeds_when_all_open(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """Exit status 0, and the backends are closed again: an SQLite file is there afterwards."""
    config('[backends.a]\nplugin = "sqlite"\npath = "a.db"\n')
    assert run("check", "--connect").exit_code == 0
    assert Path("a.db").exists()


BUFFER = """
[backends.store]
plugin = "buffer"
storage = "disk"
path = "/proc/no/buffer"

[backends.store.backends.log]
plugin = "logger"
"""


def test_connect_probes_what_opens_later(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """A disk buffer that cannot have its folder is no success: the last line says which backend
    cannot be used.
    """
    config(BUFFER)
    result, as_json = run("check", "--connect"), run("check", "--connect", "--json")
    assert result.exit_code == as_json.exit_code == 1
    assert (
        result.stderr.splitlines()[-1] == "eventtracking.toml: 1 backend cannot be used now: store"
    )
    assert "ok (" not in result.stdout
    report = json.loads(as_json.stdout)
    assert (report["problems"], report["warnings"]) == ([], [])
    assert report["opened"]["store"].endswith("FileNotFoundError: No such file or directory")
    assert report["opened"]["store/log"] == ""
    assert run("check").exit_code == 0


def test_for_scripts(run: Callable[..., Result], config: Callable[..., Path]) -> None:
    """--json has the problems with their facts apart, the warnings, and what opened."""
    config('[backends.a]\nplugin = "remote"\nerror = "no"\n')
    result = run("check", "--connect", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["problems"] == []
    assert [warning["path"] for warning in report["warnings"]] == ["backends.a"]
    assert report["opened"] == {"a": "no"}
    config('[backends.a]\nplugin = "logger"\nlevel = "lod"\n')
    result = run("check", "--json")
    (problem,) = json.loads(result.stdout)["problems"]
    assert result.exit_code == 1
    assert (problem["path"], problem["found"]) == ("backends.a.level", '"lod"')


def test_a_wrong_secret_is_not_shown(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """A secret of the wrong type is a problem without the value."""
    config('[backends.a]\nplugin = "remote"\npassword = ["hunter2"]\n')
    result = run("check")
    assert result.exit_code == 1
    assert "backends.a.password" in result.stderr
    assert SECRET not in result.output
