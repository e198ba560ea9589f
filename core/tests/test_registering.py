"""Registering: faults of plugins, plain forms of values, and the cost of looking for plugins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eventtracking_fakes import RECORDED

import eventtracking.config.installed as installed
from eventtracking import ConfigError, Tracker
from eventtracking.hookspecs import CONTRACT
from eventtracking_testkit.distribution import fake_distribution

HEAD = """
import collections.abc
import attrs
from eventtracking import hookimpl

@attrs.define(eq=False)
class Backend:
    {option}

    def send(self, events):
        pass

    {method}

@hookimpl
def eventtracking_register_backends(register):
    register("bad", Backend)
"""


def problem(source: str) -> str:
    entry_points = {"bad": "bad_module"}
    with (
        fake_distribution("bad-dist", modules={"bad_module": source}, entry_points=entry_points),
        pytest.raises(ConfigError) as caught,
    ):
        Tracker.from_config({"backends": {"a": {"plugin": "bad"}}})
    (found,) = caught.value.problems
    return str(found)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("def send(self): pass", "send is called as send(events), and takes (self)"),
        ("def open(self, uri): pass", "open is called as open()"),
        ("def flush(self): pass", "flush is called as flush(timeout_s)"),
        ("def close(self, now): pass", "close is called as close()"),
        ("def bind(self): pass", "bind is called as bind(downstream)"),
        ("def tick(self, *, now): pass", "tick is called as tick()"),
        ("async def send(self, events): pass", "send must be a plain function"),
        ("async def flush(self, timeout_s): pass", "flush must be a plain function"),
    ],
)
def test_a_wrong_signature_is_refused_when_it_is_registered(method: str, words: str) -> None:
    """In words, with the author's file and line."""
    found = problem(HEAD.format(option="", method=method))
    assert f"Backend.{words}" in found
    assert "bad_module.py:" in found


@pytest.mark.parametrize(
    ("said", "needed"), [("name_only = True", "accepts"), ("defers = True", "bind")]
)
def test_an_attribute_that_needs_a_method(said: str, needed: str) -> None:
    """A processor that is to decide by the name alone has to decide, and a router to deliver."""
    found = problem(HEAD.format(option=said, method=""))
    assert f"Backend.{said.partition(' ')[0]} needs a method {needed} (" in found


@pytest.mark.parametrize(
    "kind", ["collections.abc.Callable", "threading.Thread | None", "list[object()]", "Backend2"]
)
def test_a_type_that_no_config_can_express_is_refused(kind: str) -> None:
    """It could only be given by code."""
    source = "import threading\nclass Backend2: pass\n" + HEAD.format(
        option=f"key: {kind} = None", method=""
    )
    assert "'key'" in problem(source) or "cannot be read" in problem(source)


def test_hooks_that_pluggy_would_not_find_are_told() -> None:
    """A misspelled name and a missing decorator, each with its line."""
    good = HEAD.format(option="", method="")
    misspelled = problem(good.replace("register_backends", "register_backend"))
    assert "did you mean 'eventtracking_register_backends'?" in misspelled
    assert "eventtracking_register_backends lacks the decorator @hookimpl" in problem(
        good.replace("@hookimpl", "")
    )


@pytest.mark.parametrize(
    ("before", "after", "next_step"),
    [
        ("(register)", "(registre)", "did you mean 'register'?"),
        ("(register)", "(register, x)", "is called with register, and takes 'x'; use that name"),
        ("@hookimpl", "", "lacks the decorator @hookimpl; add it"),
        ('register("bad", Backend)', "pass", "call register('bad', ...) in one of its hooks"),
        ('register("bad"', 'register("dab"', "only bad; use such a name, or add an entry point"),
        ("@attrs.define(eq=False)", "", "decorate it with @attrs.define"),
        ("Backend)", "Backend())", "decorate it with @attrs.define"),
        ("register_backends", "register_backend", "did you mean 'eventtracking_register_backends'"),
    ],
)
def test_a_broken_plugin_says_where_and_what_next(before: str, after: str, next_step: str) -> None:
    """In words of our own, on one line, with the author's file."""
    found = problem(HEAD.format(option="", method="").replace(before, after, 1))
    assert next_step in found
    assert "bad_module.py" in found
    assert "\n" not in found
    assert "pluggy" not in found.lower()
    assert "PluginValidationError" not in found


def test_an_exception_has_the_authors_line() -> None:
    """While the module is imported, and in a hook."""
    assert "bad_module.py:2)" in problem("\n1 / 0\n")
    assert "bad_module.py:" in problem("def f(:\n")
    hook = HEAD.format(option="", method="").replace('register("bad", Backend)', "1 / 0")
    assert f"bad_module.py:{hook.splitlines().index('    1 / 0') + 1})" in problem(hook)


def test_a_newer_contract_is_refused() -> None:
    """With the number that is needed, and the one that is there."""
    source = f"EVENTTRACKING_CONTRACT = {CONTRACT + 1}\n" + HEAD.format(option="", method="")
    assert f"it needs contract {CONTRACT + 1}, and this eventtracking has contract" in problem(
        source
    )


VALUES = """
from eventtracking import hookimpl

@hookimpl
def eventtracking_register_values(register):
    register("{module}.Key", lambda key: key.text)
    register("{module}.Raising", lambda key: 1 / 0)
    register("not_installed.Thing", str)
"""


class Key:
    def __init__(self, text: Any) -> None:
        self.text = text


class SubKey(Key):
    pass


class Raising(Key):
    pass


def test_plugins_register_the_plain_form_of_values() -> None:
    """By the qualified name of the type, for subclasses too; contexts have it, other trackers do
    not; a form that raises leaves a mark.
    """
    entry_points, source = {"keys": "keys_module"}, VALUES.replace("{module}", __name__)
    with fake_distribution("keys", modules={"keys_module": source}, entry_points=entry_points):
        backends = {"backends": {"a": {"plugin": "recording"}}}
        tracker = Tracker.from_config({"values": ["keys"], "context": {"k": Key("c")}, **backends})
        with tracker.context({"sub": SubKey("s")}):
            tracker.emit("x", {"k": Key("a"), "deep": [{"k": SubKey(Key("b"))}], Key("key"): 1})
        tracker.emit("x", {"k": Raising("secret")})
        Tracker.from_config(backends).emit("x", {"k": Key("a")})
    first, second, third = RECORDED[""]
    assert first.data == {"k": "a", "deep": [{"k": "b"}], "key": 1}
    assert first.context == {"k": "c", "sub": "s"}
    assert second.data == {"k": f"<unrepresentable {__name__}.Raising>"}
    assert third.data == {"k": f"<unrepresentable {__name__}.Key>"}


@pytest.mark.parametrize("values", ["keys", [5], ["nope"], [{"plugin": "keys"}]])
def test_wrong_values_are_problems(values: Any) -> None:
    """Anything but a list of names of plugins."""
    with pytest.raises(ConfigError, match="values"):
        Tracker.from_config({"values": values})


@pytest.mark.parametrize("name", ['"Key"', "Key", '"a.b", 5'])
def test_a_wrong_registration_is_a_broken_plugin(name: str) -> None:
    """The type is named in full, as text, and the form can be called."""
    source = VALUES.replace('"{module}.Key", lambda key: key.text', f"{name}, str"[:40])
    with (
        fake_distribution(
            "keys", modules={"keys_module": source}, entry_points={"keys": "keys_module"}
        ),
        pytest.raises(ConfigError, match="installed but broken"),
    ):
        Tracker.from_config({"values": ["keys"]})


def test_distributions_without_plugins_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 600 distributions no metadata is parsed, and nothing is read again after a file has
    appeared in the working folder.
    """
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    for number in range(600):
        info = site / f"package_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text("[console_scripts]\nx = y:z\n")
    read: list[str] = []
    of_info = installed._of_info

    def parsed(distribution: Any) -> tuple[str, str]:
        read.append(str(distribution))
        return "", ""

    monkeypatch.setattr(installed, "_name_and_version", parsed)

    def noted(*arguments: Any) -> Any:
        read.append(arguments[0])
        return of_info(*arguments)

    monkeypatch.setattr(installed, "_of_info", noted)
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "path", ["", str(site)])
    assert installed.declarations() == ()
    assert len(read) == 600
    (work / "file").write_text("x")
    assert installed.declarations() == ()
    assert len(read) == 600


@pytest.mark.parametrize("odd", [b"/nowhere", None, 5, Path("/nowhere"), "/nowhere\0x", "/nowhere"])
def test_an_odd_entry_of_the_import_path_is_passed_over(
    odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python itself does."""
    monkeypatch.setattr(sys, "path", [odd, *sys.path])
    Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})


@pytest.mark.process
def test_importing_the_package_leaves_configs_for_later() -> None:
    """Neither pluggy nor the reading of configs is imported; their names are there on demand."""
    code = (
        "import sys, eventtracking as e\n"
        "late = ('pluggy', 'importlib_metadata', 'eventtracking.config', 'eventtracking.explain')\n"
        "print([name for name in late if name in sys.modules])\n"
        "e.config.parse, e.hookspecs.CONTRACT, e.hookimpl"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
