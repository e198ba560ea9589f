"""The commands that plugins add."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result

from eventtracking_testkit.distribution import fake_distribution

GREET = """
    from eventtracking import hookimpl

    @hookimpl
    def eventtracking_register_commands(group):
        import click

        @group.command("greet")
        def greet():
            "Say hello."
            click.echo("hello")

        @group.group("store")
        def store():
            "Look into the store."

        @store.command("size")
        def size():
            click.echo("5")
"""
HALF = """
    from eventtracking import hookimpl

    @hookimpl
    def eventtracking_register_commands(group):
        @group.command("half")
        def half(): ...
        raise RuntimeError("no luck")
"""
GREEDY = """
    import click
    from eventtracking import hookimpl

    @hookimpl
    def eventtracking_register_commands(group):
        group.add_command(click.Command("check"))
        group.add_command(click.Command("mine"))
"""
FAILING = """
    from eventtracking import PluginError, hookimpl

    @hookimpl
    def eventtracking_register_commands(group):
        @group.command("fail")
        def fail():
            raise PluginError("the shop is closed")
"""


def test_a_plugin_adds_commands_and_groups(run: Callable[..., Result]) -> None:
    """They are listed and run like the built-in ones; two entry points of one module add
    them once.
    """
    points = {"greeter": "acme_greet", "greeter2": "acme_greet"}
    with fake_distribution("acme", modules={"acme_greet": GREET}, entry_points=points):
        listed = run("--help")
        assert "greet " in listed.stdout
        assert "Say hello." in listed.stdout
        assert "acme" not in listed.stderr
        assert run("greet").output == "hello\n"
        assert run("store", "size").output == "5\n"


def test_a_broken_plugin_does_not_take_the_others_along(run: Callable[..., Result]) -> None:
    """Each is named on the standard error: one that cannot be imported, and one that fails half way
    and so adds nothing.
    """
    with (
        fake_distribution("crash", modules={"crash_it": "1/0"}, entry_points={"crash": "crash_it"}),
        fake_distribution(
            "half", version="3", modules={"half_it": HALF}, entry_points={"half": "half_it"}
        ),
        fake_distribution(
            "acme", modules={"acme_greet": GREET}, entry_points={"greeter": "acme_greet"}
        ),
    ):
        listed = run("--help")
        result = run("greet")
    assert listed.exit_code == 0
    assert (
        "warning: 'crash' of crash 1.0 is broken: importing crash_it raised ZeroDivisionError"
        in listed.stderr
    )
    assert (
        "warning: half 3: eventtracking_register_commands raised RuntimeError: no luck"
        in listed.stderr
    )
    assert "half" not in listed.stdout
    assert (result.exit_code, result.stdout) == (0, "hello\n")


def test_a_plugin_cannot_replace_a_command(run: Callable[..., Result]) -> None:
    """Neither a built-in one nor that of another plugin; what else it adds is there."""
    with (
        fake_distribution(
            "greedy", modules={"greedy_it": GREEDY}, entry_points={"a_greedy": "greedy_it"}
        ),
        fake_distribution(
            "greedy2", modules={"greedy_too": GREEDY}, entry_points={"b_greedy": "greedy_too"}
        ),
    ):
        listed = run("--help")
    assert "Check the config" in listed.stdout
    assert (
        "warning: greedy 1.0: its command 'check' is left out, because there is one of that name"
        in listed.stderr
    )
    assert "warning: greedy2 1.0: its command 'mine' is left out" in listed.stderr


def test_an_error_of_ours_in_a_plugins_command_is_a_message(run: Callable[..., Result]) -> None:
    """Exit status 1 and no traceback."""
    with fake_distribution(
        "acme", modules={"acme_fail": FAILING}, entry_points={"failing": "acme_fail"}
    ):
        result = run("fail")
    assert (result.exit_code, result.stderr) == (1, "Error: the shop is closed\n")


BOOM = """
    from eventtracking import hookimpl

    @hookimpl
    def eventtracking_register_commands(group):
        @group.command("boom")
        def boom():
            1 / 0

        @group.group("deep")
        def deep(): ...

        @deep.command("boom")
        def boom():
            raise Mute("payload")

    class Mute(Exception):
        def __str__(self):
            raise ValueError
"""


def test_a_bug_in_a_plugins_command_is_a_message(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With whose it is, and where; the traceback is shown on request only. Exit status 1."""
    with fake_distribution(
        "acme-stdout", modules={"acme_boom": BOOM}, entry_points={"b": "acme_boom"}
    ):
        result, deep = run("boom"), run("deep", "boom")
        monkeypatch.setenv("EVENTTRACKING_DEBUG", "1")
        traced = run("boom")
    place = (
        "the command 'boom' of acme-stdout 1.0 raised ZeroDivisionError: division by zero"
        " (acme_boom.py:8)"
    )
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {place}; EVENTTRACKING_DEBUG=1 shows the traceback\n",
    )
    assert deep.output.startswith(
        "Error: the command 'deep' of acme-stdout 1.0 raised Mute (acme_boom.py:15); "
    )
    assert traced.exit_code == 1
    assert traced.stderr.startswith("Traceback (most recent call last):\n")
    assert traced.stderr.endswith(f"ZeroDivisionError: division by zero\nError: {place}\n")


def test_a_bug_of_ours_is_a_message_too(
    run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names this distribution."""

    def load(path: str) -> None:
        raise LookupError("oh")

    monkeypatch.setattr("eventtracking_cli.check.load_config", load)
    result = run("check")
    assert result.exit_code == 1
    assert (
        f"the command 'check' of eventtracking-cli {version('eventtracking-cli')} raised"
        " LookupError: oh (" in (result.stderr)
    )


def test_an_unknown_command_is_wrong_usage(run: Callable[..., Result]) -> None:
    """With the nearest one, those of plugins included."""
    with fake_distribution(
        "acme", modules={"acme_greet": GREET}, entry_points={"greeter": "acme_greet"}
    ):
        for typed, meant in (("chek", "check"), ("gret", "greet")):
            result = run(typed)
            assert result.exit_code == 2
            assert f"there is no command {typed!r}; did you mean {meant!r}?" in result.stderr
        assert "see `eventtracking --help`" in run("zzz").stderr


@pytest.mark.process
def test_a_built_in_command_imports_no_plugin_for_its_commands() -> None:
    """`schema --help`, the shortest way through one: nothing but the command line is imported."""
    code = """
import sys
from eventtracking_cli.app import main
try:
    main(["schema", "--help"])
finally:
    print([name for name in sys.modules if name.startswith("eventtracking_")
        and not name.startswith("eventtracking_cli")])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
