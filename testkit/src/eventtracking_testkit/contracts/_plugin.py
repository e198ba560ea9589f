"""What the contracts of all kinds share: the plugin's name, its options, its errors."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar

import attrs
import pytest

from eventtracking import ConfigError, Tracker
from eventtracking.config.discovery import Plugin, installed_plugins
from eventtracking.config.node import Node
from eventtracking.config.options import MISSING, Option, nested_in, options_of
from eventtracking.config.reading import build as build_plugin
from eventtracking.config.reading import read_options
from eventtracking_testkit._deeds import NOT_THERE, watch_deeds
from eventtracking_testkit.forks import run_in_fork

__all__ = ["PluginContract", "check_pickles", "needs", "secrets_in"]

Test = TypeVar("Test", bound=Callable[..., None])

_NONSENSE: Final[tuple[Any, ...]] = (
    {"nonsense": [None]},
    [[[]]],
    7.25,
    "nonsense \N{SNOWMAN}",
    None,
)
_LOOKS_SECRET: Final = re.compile(r"passw|secret|token|credential|(key|dsn|salt)$", re.IGNORECASE)
_LAZY: Final = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)
_METHODS: Final = (
    "send", "__call__", "accepts", "bind", "open", "probe", "exclusive", "flush", "close", "counts",
)  # fmt: skip
"""All that core may call."""


def needs(*hooks: str) -> Callable[[Test], Test]:
    """Mark a test that a subclass has only if it overrides one of these fixtures."""

    def mark(test: Test) -> Test:
        test.needs = hooks  # type: ignore[attr-defined]  # read by `__init_subclass__`
        return test

    return mark


class PluginContract:
    """The tests for every kind of plugin."""

    plugin: ClassVar[str]
    """The name by which configs call the plugin."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """What the plugin may be registered as."""
    not_secret: ClassVar[tuple[str, ...]] = ()
    """Options that look like secrets and are none, as `option` or `option.nested`."""

    def __init_subclass__(cls) -> None:
        """Take away the tests that need what this subclass does not say, instead of skipping them
        at each run.
        """
        super().__init_subclass__()
        for base in cls.__mro__:
            for name, test in vars(base).items():
                hooks = getattr(test, "needs", ())
                if hooks and hasattr(cls, "plugin"):
                    setattr(
                        cls, name, test if any(_overrides(cls, hook) for hook in hooks) else None
                    )

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """The options as a config would give them. Override it where the plugin needs any."""
        return {}

    @property
    def plugin_class(self) -> type[Any]:
        """The class that is registered under the name."""
        return self._loaded().plugin_class

    def _loaded(self) -> Plugin:
        return installed_plugins().load(self.plugin)

    def build(self, options: Mapping[str, Any]) -> Any:
        """Make an instance from options, as a config does.

        Raises:
            AssertionError: If the options are refused.
        """
        node = Node(options, options, "it")
        converted, problems = read_options(self.plugin_class, node, self.plugin)
        assert not problems, f"the fixture `options` is refused: {problems}"
        instance, problems = build_plugin(self.plugin_class, converted, node)
        assert not problems, f"the fixture `options` is refused: {problems}"
        return instance

    def config(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config that names the plugin; its path is `backends.it` or
        `processors[0]`.
        """
        raise NotImplementedError

    def path(self) -> str:
        """Return the plugin's path in that config."""
        return "backends.it"

    # The name

    def test_an_entry_point_declares_the_name(self) -> None:
        """The name is declared by one installed distribution, and registers an attrs class of the
        right kind.
        """
        declared = [d for d in installed_plugins().declarations if d.name == self.plugin]
        assert [d.name for d in declared] == [self.plugin], (
            f"declared by {[d.distribution for d in declared]}"
        )
        loaded = self._loaded()
        assert loaded.kind in self.kinds
        assert attrs.has(loaded.plugin_class)

    @pytest.mark.process
    def test_importing_the_entry_point_imports_no_class(self) -> None:
        """Where the class has a module of its own, only naming it in a config imports that: listing
        plugins stays cheap.
        """
        (declared,) = [d for d in installed_plugins().declarations if d.name == self.plugin]
        home = self.plugin_class.__module__
        if home == declared.module:
            assert attrs.has(
                self.plugin_class
            )  # the short form: one module, which must not be split to be a plugin
            return
        code = f"import sys, {declared.module}; sys.exit({home!r} in sys.modules)"
        done = _run_afresh("-c", code)
        assert done.returncode == 0, (
            f"importing {declared.module} imports {home}\n{done.stderr.decode()}"
        )

    def test_its_methods_are_plain_functions(self) -> None:
        """None is `async` or has a `yield`: calling such a one does nothing, and core waits for no
        result.
        """
        for method in _METHODS:
            function = getattr(self.plugin_class, method, None)
            assert not any(is_lazy(function) for is_lazy in _LAZY), (
                f"{method} must be a plain function; an async one, or one with `yield`, would"
                " never run"
            )

    # The options

    def test_every_option_has_a_help_and_a_fitting_default(self) -> None:
        """Each option says in one line what it is for, and its default is of its own type."""
        for option in options_of(self.plugin_class).values():
            assert option.help, f"{option.name} has no metadata={{'help': ...}}"
            assert "\n" not in option.help, f"the help of {option.name} has more than one line"
            if option.default not in (MISSING, None):
                option.convert(option.default, from_text=False)

    def test_options_refuse_unknown_names(self, options: Mapping[str, Any]) -> None:
        """A name that is no option is a problem with its place in the config."""
        assert f"{self.path()}.no_such_option" in self._problems({**options, "no_such_option": 1})

    def test_options_refuse_nonsense(self, options: Mapping[str, Any]) -> None:
        """For each option there is a value of a wrong type, which is a problem with its place in
        the config.
        """
        for option in options_of(self.plugin_class).values():
            if option.type in (Any, object):
                continue
            found = [
                self._problems({**options, option.name: nonsense})
                for nonsense in _nonsense_for(option)
            ]
            place = f"{self.path()}.{option.name}"
            assert any(any(path.startswith(place) for path in paths) for paths in found), (
                f"{option.name} takes anything"
            )

    def test_options_that_must_be_given(self, options: Mapping[str, Any]) -> None:
        """Leaving out an option without a default is a problem with its place in the config."""
        for option in options_of(self.plugin_class).values():
            if option.default is MISSING:
                rest = {name: value for name, value in options.items() if name != option.name}
                assert f"{self.path()}.{option.name}" in self._problems(rest)

    def _problems(self, options: Mapping[str, Any]) -> list[str]:
        """The paths of the problems of a config with these options."""
        try:
            Tracker.from_config(self.config(options))
        except ConfigError as error:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
            return [problem.path for problem in error.problems]
        return []

    def test_secrets_do_not_show(self, options: Mapping[str, Any]) -> None:
        """Options that look like secrets are marked `repr=False`, nested ones too, and no secret
        value stands in `repr`.
        """
        unmarked = [
            path
            for path, option in _options_below(self.plugin_class)
            if _LOOKS_SECRET.search(option.name)
            and not option.secret
            and path not in self.not_secret
        ]
        assert not unmarked, f"mark with repr=False, or name in `not_secret`: {unmarked}"
        shown = repr(self.build(options))
        for path, value in secrets_in(self.plugin_class, options):
            assert not value or str(value) not in shown, f"repr shows {path}"

    # The constructor

    @pytest.mark.process
    def test_the_constructor_does_nothing_outside(self, options: Mapping[str, Any]) -> None:
        """Building it opens no file for writing, no socket, no database, no process and
        no thread.
        """
        self.build(options)  # what it imports on first use, and creates doing so, is not meant

        def watched() -> None:
            before = threading.active_count()
            deeds = watch_deeds()
            self.build(options)
            assert deeds == [], f"the constructor did: {deeds}"
            assert threading.active_count() == before

        run_in_fork(watched)

    @pytest.mark.process
    def test_the_first_instance_does_nothing_outside(self, options: Mapping[str, Any]) -> None:
        """Nor does the first one of a process, which may set up what all share.

        A class that no import leads to, such as one inside a function, cannot be built in another
        process, and options that do not pickle cannot be told to one: for these the test above must
        do.
        """
        cls = self.plugin_class
        with suppress(pickle.PicklingError, AttributeError, TypeError):
            given = pickle.dumps((cls.__module__, cls.__qualname__, self.plugin, dict(options)))
            done = _run_afresh("-m", "eventtracking_testkit._deeds", given=given)
            assert done.returncode in (0, NOT_THERE), done.stderr.decode()


def _overrides(cls: type[Any], hook: str) -> bool:
    """Whether a class after the one that first has this fixture has it too."""
    owners = [base for base in cls.__mro__ if hook in vars(base)]
    return len(owners) > 1


def _options_below(cls: type[Any], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Yield each option with its path, those of nested classes too."""
    for option in options_of(cls).values():
        yield f"{prefix}{option.name}", option
        nested = nested_in(option.type)
        if nested is not None and not option.secret:  # a secret hides all that is in it
            yield from _options_below(nested[1], f"{prefix}{option.name}.")


def secrets_in(
    cls: type[Any], given: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the value of each secret option that is given, with its path, nested ones too."""
    known = options_of(cls)
    for name, value in given.items():
        option = known.get(name)
        nested = None if option is None else nested_in(option.type)
        if option is not None and option.secret:
            yield f"{prefix}{name}", value
        elif nested is not None:
            tables = {"one": [value], "list": value, "table": getattr(value, "values", list)()}
            for table in tables[nested[0]]:
                if isinstance(table, Mapping):
                    yield from secrets_in(nested[1], table, f"{prefix}{name}.")


def _nonsense_for(option: Option) -> Iterable[Any]:
    return [value for value in _NONSENSE if value != option.default]


def _run_afresh(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run Python anew, with what can be imported here; it writes no bytecode, so that it writes
    nothing of its own.
    """
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments], check=False, env=env, input=given, capture_output=True
    )


def check_pickles(error: BaseException) -> None:
    """Show that an error comes through pickle as it was: Celery and multiprocessing move errors so.

    Raises:
        AssertionError: If it does not.
    """
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(back), str(back)) == (type(error), str(error))
