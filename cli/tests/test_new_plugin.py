"""The command `new-plugin`: every file is there and valid, and bad names are refused."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from eventtracking_cli.new_plugin import KINDS, files_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_each_kind(kind: str) -> None:
    """Each kind has the same files; all Python parses, and no placeholder is left."""
    files = files_of(kind, "acme_thing")
    assert set(files) == {
        ".github/workflows/ci.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/acme_thing/__init__.py",
        f"src/acme_thing/{kind}.py",
        "src/acme_thing/py.typed",
        "tests/test_acme_thing.py",
    }
    for path, text in files.items():
        assert "NAME" not in path
        assert "${name}" not in text
        if path.endswith(".py"):
            ast.parse(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "acme-thing"
    assert project["entry-points"]["eventtracking"] == {"acme_thing": "acme_thing"}
    assert "EVENTTRACKING_CONTRACT = 1" in files["src/acme_thing/__init__.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_options_with_a_secret_and_a_choice(kind: str) -> None:
    """The class shows an author how to write a secret and a choice."""
    text = files_of(kind, "acme_thing")[f"src/acme_thing/{kind}.py"]
    assert "repr=False" in text
    assert "Literal[" in text


def test_it_writes_the_folder(run: Callable[..., Result], folder: Path) -> None:
    """The folder has the name of the plugin, and the output says what to do next."""
    result = run("new-plugin", "backend", "acme_store")
    assert result.exit_code == 0
    assert "Next: cd acme_store && pip install -e '.[test]' && pytest" in result.output
    assert (folder / "acme_store" / "src" / "acme_store" / "backend.py").is_file()


def test_an_existing_folder_is_left_alone(run: Callable[..., Result], folder: Path) -> None:
    """A second call changes nothing, and says so."""
    (folder / "acme_store").mkdir()
    result = run("new-plugin", "backend", "acme_store")
    assert result.exit_code == 1
    assert "the folder 'acme_store' exists already" in result.output
    assert list((folder / "acme_store").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["Acme", "acme-store", "1acme", "a/b", "../x", "class", "json", "eventtracking", "a__b"]
)
def test_a_bad_name_is_refused(run: Callable[..., Result], folder: Path, name: str) -> None:
    """No import name, a keyword, or a name that hides a module: refused before a file is made."""
    result = run("new-plugin", "backend", name)
    assert result.exit_code == 2
    assert repr(name) in result.output
    assert list(folder.iterdir()) == []
