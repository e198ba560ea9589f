"""An environment holds every distribution, and names the ones that it has to go without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import environment
import workspace

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "eventtracking-{name}"
version = "0.1.0"
dependencies = ["attrs{versions}"]
[tool.hatch.build.targets.wheel]
packages = ["src/eventtracking_{name}"]
"""


def make_member(folder: Path, name: str, versions: str) -> Path:
    """Write a distribution that needs some versions of a library."""
    package = folder / name / "src" / f"eventtracking_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (folder / name / "pyproject.toml").write_text(PROJECT.format(name=name, versions=versions))
    return folder / name


@pytest.mark.process
def test_on_a_further_python_what_cannot_be_had_is_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are installed, the reason is printed, and the tests' run knows the name."""
    (tmp_path / "tools.in").touch()
    for name in ("DEV_REQUIREMENTS", "TOOL_REQUIREMENTS"):
        monkeypatch.setattr(workspace, name, tmp_path / "tools.in")
    venv = tmp_path / "env"
    workspace.uv("venv", "-q", "--python", sys.executable, venv)
    monkeypatch.setattr(workspace, "ROOT", tmp_path)
    members = [make_member(tmp_path, "had", ">=1"), make_member(tmp_path, "unmet", "<1")]
    environment.install(venv, members, is_further=True)
    installed = workspace.uv("pip", "freeze", "--python", venv / "bin/python", capture_output=True)
    assert "eventtracking-had" in installed.stdout
    assert "eventtracking-unmet" not in installed.stdout
    assert environment.left_out("env") == ["unmet"]
    assert "Left out of env/: unmet: " in capfd.readouterr().out


@pytest.mark.process
def test_a_former_member_is_uninstalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry points would stay behind."""
    (tmp_path / "tools.in").touch()
    for name in ("DEV_REQUIREMENTS", "TOOL_REQUIREMENTS"):
        monkeypatch.setattr(workspace, name, tmp_path / "tools.in")
    venv = tmp_path / "env"
    workspace.uv("venv", "-q", "--python", sys.executable, venv)
    monkeypatch.setattr(workspace, "ROOT", tmp_path)
    members = [make_member(tmp_path, name, "") for name in ("one", "two")]
    environment.install(venv, members, is_further=False)
    environment.install(venv, members[:1], is_further=False)
    installed = workspace.uv("pip", "freeze", "--python", venv / "bin/python", capture_output=True)
    assert "eventtracking-one" in installed.stdout
    assert "eventtracking-two" not in installed.stdout


def test_the_headers_of_an_unpacked_python_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes itself for the system's; every other Python knows its own."""
    monkeypatch.setattr(workspace, "FETCHED_PYTHONS", tmp_path)
    python = tmp_path / "3.15/root/usr/bin/python3.15"
    headers = tmp_path / "3.15/root/usr/include/python3.15"
    for folder in (python.parent, headers):
        folder.mkdir(parents=True)
    python.touch()
    flags = workspace.compiler_flags(python)["CFLAGS"]
    assert str(headers) in flags
    assert workspace.compiler_flags(Path(sys.executable)) == {}
