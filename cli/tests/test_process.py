"""The command `eventtracking` as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = [pytest.mark.needs("logger"), pytest.mark.once]

SCRIPT = Path(sys.executable).parent / "eventtracking"
COMMANDS = ("plugins", "check", "graph", "schema", "emit", "replay", "explain")


def execute(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments], check=False, capture_output=True, text=True, input=stdin, timeout=60
    )


@pytest.mark.timeout(180)
@pytest.mark.process
def test_it_is_installed_as_a_script_and_as_a_module() -> None:
    """Both print the version of the distribution."""
    expected = f"eventtracking, version {version('eventtracking-cli')}\n"
    assert execute("--version").stdout == expected
    module = [sys.executable, "-m", "eventtracking_cli", "--version"]
    assert subprocess.run(module, check=True, capture_output=True, text=True).stdout == expected


@pytest.mark.timeout(180)
@pytest.mark.process
def test_the_exit_statuses(folder: Path) -> None:
    """0 for success, 1 for problems, 2 for wrong usage; never a traceback."""
    (folder / "good.toml").write_text('[backends.log]\nplugin = "logger"\n')
    (folder / "bad.toml").write_text('[backends.log]\nplugin = "lgger"\n')
    statuses = {
        ("check", "-c", "good.toml"): 0,
        ("check", "-c", "bad.toml"): 1,
        ("check", "-c", "none.toml"): 2,
        ("check", "--colour"): 2,
        ("replay", "-c", "good.toml", "none.jsonl"): 2,
        ("replay", "-c", "good.toml", "-"): 1,
        ("graph", "-c", "."): 1,
        ("graph", "--format", "png"): 2,
        ("nothing",): 2,
    }
    for arguments, status in statuses.items():
        done = execute(*arguments, stdin="{")
        assert (arguments, done.returncode) == (arguments, status)
        assert "Traceback" not in done.stderr
        assert bool(done.stderr) is bool(status)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(run: Callable[..., Result], command: str) -> None:
    """`--help` says what it does, and each of its options has a help."""
    text = run(command, "--help").stdout
    assert len(text.splitlines()) > 5
    assert "..." not in next(
        line for line in run("--help").stdout.splitlines() if line.split()[:1] == [command]
    )


@pytest.mark.timeout(180)
@pytest.mark.process
def test_a_reader_that_goes_away_is_no_traceback(folder: Path) -> None:
    """`eventtracking schema | head -1`."""
    done = subprocess.run(
        ["bash", "-c", f"{SCRIPT} schema | head -n 1"],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def shell(line: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", f"{SCRIPT} {line}"], check=False, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["graph", "--help", "replay e.jsonl --log log"])
def test_streams_that_are_closed_or_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, unbuffered: str
) -> None:
    """Nobody listens at a closed output, which is fine; what a full disk does not take is an error.

    Never a traceback.
    """
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (folder / "eventtracking.toml").write_text('[backends.log]\nplugin = "logger"\n')
    (folder / "e.jsonl").write_text('{"name": "a"}\n')
    full = (1, "", "Error: the output cannot be written: No space left on device\n")
    assert shell(f"{command} >&-") == (0, "", "")
    assert shell(f"{command} >&- 2>&- <&-") == (0, "", "")
    assert shell(f"{command} 2>&-") == (0, shell(command)[1], "")
    assert shell(f"{command} >/dev/full") == full
    assert shell(f"{command} >/dev/full 2>/dev/full") == (1, "", "")


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "argument"), [("replay", "FILE.jsonl"), ("explain", "FILE.json")]
)
def test_a_standard_input_that_is_closed(folder: Path, command: str, argument: str) -> None:
    """It is wrong usage to name it, and no empty file; what does not read it does not mind."""
    (folder / "eventtracking.toml").write_text('[backends.log]\nplugin = "logger"\n')
    status, _, err = shell(f"{command} - <&-")
    assert status == 2
    assert err.endswith(
        f"Error: Invalid value for '{argument}': '-': the standard input is closed\n"
    )
    assert shell("check <&-")[0] == 0


@pytest.mark.timeout(180)
@pytest.mark.process
def test_output_that_is_not_utf8(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees and tables fall back to ASCII; a name that has none of it does not end the command in a
    traceback.
    """
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (folder / "eventtracking.toml").write_text(
        '[backends."é"]\nplugin = "logger"\n', encoding="utf-8"
    )
    for arguments in (["graph"], ["plugins"], ["emit", "é"]):
        done = execute(*arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
