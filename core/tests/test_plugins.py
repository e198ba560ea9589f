"""Plugins: found by name without being imported, and checked when they are."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from eventtracking_fakes import Recording

from eventtracking import ConfigError, Tracker
from eventtracking.config.discovery import BrokenPluginError, UnknownPluginError, installed_plugins
from eventtracking.config.options import options_of
from eventtracking_testkit.distribution import fake_distribution

Install = Callable[..., None]

GOOD = """
import attrs
from eventtracking import hookimpl

@attrs.define(eq=False)
class Backend:
    def send(self, events):
        pass

@hookimpl
def eventtracking_register_backends(register):
    register("{name}", Backend)
"""


@pytest.fixture
def install() -> Iterator[Install]:
    """Install distributions for one test: real `.dist-info` folders and modules on the
    import path.
    """
    with ExitStack() as stack:

        def install(
            distribution: str, name: str, module: str, source: str = "", version: str = "1.0"
        ) -> None:
            sources, points = {module: source.replace("{name}", name)}, {name: module}
            stack.enter_context(
                fake_distribution(
                    distribution, version=version, modules=sources, entry_points=points
                )
            )

        yield install


def problem(plugin: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": {"a": {"plugin": plugin}}})
    (found,) = caught.value.problems
    return str(found)


def test_a_plugin_is_two_files(install: Install) -> None:
    """A module and its metadata: enough to be named in a config."""
    install("outsider", "outside", "outside_module", GOOD)
    plugin = installed_plugins().load("outside")
    assert (plugin.name, plugin.kind, plugin.distribution, plugin.version) == (
        "outside",
        "backend",
        "outsider",
        "1.0",
    )


def test_only_named_plugins_are_imported(install: Install) -> None:
    """One that is installed and not named may even be broken."""
    install("broken", "broken", "broken_module", "raise RuntimeError('imported')")
    Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
    assert "broken_module" not in sys.modules


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "import no_such_driver",
            "importing bad_module raised ModuleNotFoundError: No module named 'no_such_driver'",
        ),
        ("", "bad-dist declares 'bad', but bad_module does not register it"),
        (
            GOOD.replace("{name}", "other"),
            "'other' is declared by no entry point of bad-dist, only bad",
        ),
        (
            GOOD.replace("@attrs.define(eq=False)", ""),
            "'bad': must be an attrs class, not <class 'bad_module.Backend'>",
        ),
        (GOOD.replace("send", "sned"), "'bad': Backend has no method send"),
        (
            GOOD.replace("_backends", "_backend"),
            (
                "unknown hook 'eventtracking_register_backend'; did you mean"
                " 'eventtracking_register_backends'?"
            ),
        ),
        (
            GOOD.replace("    def send", "    plugin: str = ''\n    def send"),
            "'bad': has an option with a reserved name: plugin",
        ),
        (
            GOOD.replace("    def send", "    key: 'Unknown' = None\n    def send"),
            (
                "'bad': the types of its options cannot be read: NameError: name 'Unknown' is not"
                " defined"
            ),
        ),
        (
            GOOD.replace("def send", "async def send"),
            "'bad': Backend.send must be a plain function; an async one",
        ),
        (
            GOOD.replace("pass", "yield"),
            "'bad': Backend.send must be a plain function; an async one, or one with `yield`",
        ),
        (
            GOOD.replace("pass", "pass\n    async def close(self): pass"),
            "'bad': Backend.close must be a plain function",
        ),
        ("raise SystemExit(3)", "importing bad_module raised SystemExit: 3"),
        (
            GOOD.replace('register("{name}", Backend)', "1 / 0"),
            "raised ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_broken_plugin_says_what_is_wrong_with_it(
    install: Install, source: str, expected: str
) -> None:
    """Installed but broken is an error of its own, with the distribution's name, and the same when
    asked again.
    """
    install("bad-dist", "bad", "bad_module", source)
    for _ in range(2):
        text = problem("bad")
        assert text.startswith("backends.a.plugin: installed but broken: ")
        assert expected in text
        assert "bad-dist" in text
        assert text.endswith('found "bad"; repair or upgrade that distribution')
    with pytest.raises(BrokenPluginError):
        installed_plugins().load("bad")


def test_a_broken_plugin_does_not_stop_the_others(install: Install) -> None:
    """Each is loaded and asked on its own."""
    install("bad-dist", "bad", "bad_module", "1 / 0")
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(
            {"backends": {"a": {"plugin": "bad"}, "b": {"plugin": "recording", "size": 0}}}
        )
    assert [found.path for found in caught.value.problems] == [
        "backends.a.plugin",
        "backends.b.size",
    ]


def test_a_clash_matters_to_a_config_that_names_it(install: Install) -> None:
    """Both distributions are named, and neither is imported; other configs go on."""
    install("first-dist", "same", "first_module", GOOD)
    install("second-dist", "same", "second_module", GOOD, version="2.0")
    Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
    assert problem("same") == (
        "backends.a.plugin: the plugin name 'same' is claimed by first-dist 1.0 and second-dist"
        ' 2.0; found "same"; uninstall one of them'
    )
    assert not {"first_module", "second_module"} & set(sys.modules)


def test_several_plugins_may_share_a_module(install: Install) -> None:
    """As the fakes of these tests do."""
    plugins = installed_plugins()
    assert plugins.load("recording").kind == "backend"
    assert plugins.load("holding").kind == "router"
    assert plugins.load("stamp").kind == "processor"


def test_what_is_not_installed_is_unknown() -> None:
    """And says its name."""
    with pytest.raises(
        UnknownPluginError, match="no installed distribution provides a plugin named 'nothing'"
    ):
        installed_plugins().load("nothing")


def test_the_fields_of_the_class_are_the_options() -> None:
    """Name, what is accepted, default, help, and whether it is a secret, from one definition."""
    options = options_of(Recording)
    assert {name: (o.accepted, o.default, o.help, o.secret) for name, o in options.items()} == {
        "key": ("text", "", "Under which key to remember.", False),
        "size": ("an integer, at least 1 and at most 9", 1, "A number.", False),
        "mode": ('one of "fast", "safe"', "fast", "A choice.", False),
        "password": ("text or nothing", None, "A secret.", True),
        "ratio": ("a number", 0.5, "", False),
    }
    assert options["size"].schema == {"type": "integer", "minimum": 1, "maximum": 9}


def test_only_the_options_types_are_read() -> None:
    """A field that is no option may have a type that is imported for type checkers alone, also
    where it is inherited.
    """

    @attrs.define(eq=False)
    class Base:
        size: int = 1
        _client: Driver = attrs.field(init=False)  # type: ignore[name-defined]  # noqa: F821 - what the test is about

    @attrs.define(eq=False)
    class Derived(Base):
        name: str | None = None

    assert {name: option.accepted for name, option in options_of(Derived).items()} == {
        "size": "an integer",
        "name": "text or nothing",
    }


def test_state_is_no_option() -> None:
    """Fields with `init=False` cannot be set by a config; a private one goes by its public name."""

    @attrs.define
    class Stateful:
        shown: int = 1
        _private: int = 2
        state: Any = attrs.field(init=False, default=None)
        many: list[str] = attrs.field(factory=lambda: ["a"])

    assert {name: option.default for name, option in options_of(Stateful).items()} == {
        "shown": 1,
        "private": 2,
        "many": ["a"],
    }
    with pytest.raises(msgspec.ValidationError):
        options_of(Stateful)["shown"].convert("1", from_text=False)


@pytest.mark.process
def test_importing_core_imports_no_plugin_and_no_driver() -> None:
    """Not even those of this workspace, which are all installed here."""
    source = """
        import sys
        import eventtracking
        found = [m for m in sys.modules if m.split(".")[0] in ("pymongo", "celery", "django",
            "segment", "click", "sqlite3")]
        found += [m for m in sys.modules if m.startswith("eventtracking_")]
        print(found)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_no_hook_is_called_on_the_way_of_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """pluggy is for loading; emitting does not touch it."""
    import pluggy

    made = Tracker.from_config(
        {"backends": {"a": {"plugin": "recording", "processors": [{"plugin": "stamp"}]}}}
    )

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as patched:  # pytest itself lives on pluggy
        patched.setattr(pluggy.HookCaller, "__call__", refuse)
        made.emit("x")
    assert made.stats()["a"].delivered == 1


def test_what_an_interrupted_installation_left_behind_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of metadata without metadata is passed over."""
    (tmp_path / "leftover-1.0.dist-info").mkdir()
    monkeypatch.setattr(
        sys, "path", [str(tmp_path), *sys.path]
    )  # `syspath_prepend` would put back the path of the fakes, too
    Tracker.from_config({"backends": {"a": {"plugin": "recording"}}})
    assert "recording" in installed_plugins().names


def test_many_threads_may_read_a_config_at_once(install: Install) -> None:
    """The first use of a plugin is no race."""
    for number in range(20):
        install(f"racing-{number}", f"racing_{number}", f"racing_module_{number}", GOOD)
    nodes = {f"r{number}": {"plugin": f"racing_{number}"} for number in range(20)}
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(12) as pool:
            made = list(pool.map(lambda _: Tracker.from_config({"backends": nodes}), range(12)))
    finally:
        sys.setswitchinterval(before)
    assert len(made) == 12
