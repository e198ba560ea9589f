"""Every distribution has the same shape, so that whoever knows one knows them all."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import alone
import bootstrap
import workspace

MEMBERS = workspace.members()
PLUGINS = [member for member in MEMBERS if member.parent.name == "plugins"]
NAMES = {workspace.load(member)["project"]["name"]: member for member in MEMBERS}
CORE_NEEDS = {"attrs", "importlib-metadata", "msgspec", "pluggy", "tomli", "uuid-utils"}
LONGEST_MODULE = 500

members = pytest.mark.parametrize(
    "member", MEMBERS, ids=lambda member: str(member.relative_to(workspace.ROOT))
)
plugins = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)


def project(member: Path) -> dict[str, Any]:
    found: dict[str, Any] = workspace.load(member)["project"]
    return found


def import_name(member: Path) -> str:
    return str(project(member)["name"]).replace("-", "_")


def distribution_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def needs(member: Path) -> set[str]:
    """Name the distributions that a member says it needs, with those of its extras."""
    facts = project(member)
    extras = [
        wanted for group in facts.get("optional-dependencies", {}).values() for wanted in group
    ]
    return {
        distribution_of(requirement) for requirement in [*facts.get("dependencies", []), *extras]
    }


def sources(member: Path) -> list[Path]:
    return sorted((member / "src").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Name the top-level modules that a source imports, at its head or within a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@members
def test_it_has_the_files_of_every_distribution(member: Path) -> None:
    """A pyproject, a README that says something, the licence, sources marked as typed,
    and tests.
    """
    assert (member / "LICENSE").read_bytes() == (workspace.ROOT / "LICENSE").read_bytes()
    package = member / "src" / import_name(member)
    assert (package / "__init__.py").is_file()
    assert (package / "py.typed").is_file()
    assert len((member / "README.md").read_text(encoding="utf-8").splitlines()) > 1
    assert list((member / "tests").rglob("test_*.py"))


@members
def test_its_facts_are_those_of_the_train(member: Path) -> None:
    """Version, Python, licence and build backend are the same everywhere, and each says
    what it is.
    """
    document = workspace.load(member)
    facts = document["project"]
    assert facts["version"] == project(workspace.ROOT / "core")["version"]
    assert facts["requires-python"] == ">=3.10"
    assert facts["license"] == "Apache-2.0"
    assert facts["license-files"] == ["LICENSE"]
    assert facts["readme"] == "README.md"
    pythons = {f"Programming Language :: Python :: {each}" for each in ("3", *workspace.PYTHONS)}
    assert pythons | {"Typing :: Typed"} <= set(facts["classifiers"])
    assert facts["description"].endswith(".")
    compiled = (member / "setup.py").exists()
    assert document["build-system"]["build-backend"] == (
        "setuptools.build_meta" if compiled else "hatchling.build"
    )


@members
def test_what_is_installed_is_this_tree(member: Path) -> None:
    """The environment has the distribution, in the version of its pyproject."""
    facts = project(member)
    assert importlib.metadata.version(facts["name"]) == facts["version"]


@plugins
def test_its_folder_names_everything(plugin: Path) -> None:
    """The folder is the entry point's name, and distribution and import name follow from it."""
    facts = project(plugin)
    entry_points = facts.get("entry-points", {}).get("eventtracking", {})
    assert facts["name"] == "eventtracking-" + plugin.name.replace("_", "-")
    assert not entry_points or plugin.name in entry_points
    assert {module.split(".")[0] for module in entry_points.values()} <= {import_name(plugin)}


@members
def test_it_needs_what_it_imports_of_ours(member: Path) -> None:
    """No distribution reaches into another without saying so in its dependencies."""
    ours = {name.replace("-", "_"): name for name in NAMES}
    allowed = needs(member) | {project(member)["name"]}
    for path in sources(member):
        reached = {ours[name] for name in imported(path) & ours.keys()}
        assert reached <= allowed, path.relative_to(workspace.ROOT)


def test_the_core_needs_little() -> None:
    """The core has five small libraries, one of them more on an old Python, and no plugin."""
    assert needs(workspace.ROOT / "core") <= CORE_NEEDS


@pytest.mark.process
@plugins
def test_importing_it_imports_no_driver(plugin: Path) -> None:
    """A plugin's own module, which discovery imports, leaves what it drives for later."""
    drivers = needs(plugin) - CORE_NEEDS - NAMES.keys()
    modules = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if drivers & {distribution_of(owner) for owner in owners}
    ]
    code = (
        f"import sys, {import_name(plugin)}; print([name for name in {modules!r} if name in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@members
def test_its_modules_are_small_rooms(member: Path) -> None:
    """No module is longer than a person reads at one sitting."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(member)}
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST_MODULE}


@members
def test_its_modules_say_what_they_are_for(member: Path) -> None:
    """Each module begins with a docstring."""
    without = [
        path
        for path in sources(member)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not [str(path) for path in without]


@pytest.mark.parametrize(
    "file", [workspace.CONSTRAINTS, bootstrap.PINNED], ids=lambda path: path.name
)
def test_each_pin_has_the_hashes_of_its_files(file: Path) -> None:
    """A file that was exchanged at the index is not installed by `make`."""
    text = file.read_text(encoding="utf-8").replace("\\\n", "")
    pins = [line for line in text.splitlines() if line[:1].isalnum()]
    assert len(pins) > 5
    assert [line for line in pins if "--hash=sha256:" not in line] == []


@members
def test_what_it_needs_is_pinned(member: Path) -> None:
    """Development and CI use one exact version of everything: `make lock` after a new
    dependency.
    """
    text = workspace.CONSTRAINTS.read_text(encoding="utf-8")
    pinned = {distribution_of(line) for line in text.splitlines() if line[:1].isalnum()}
    foreign = {name for name in needs(member) if not name.startswith("eventtracking")}
    assert foreign <= pinned


TEST_TOOLS = {"eventtracking-testkit", *map(distribution_of, alone.TEST_TOOLS)}


@cache
def owners() -> Mapping[str, list[str]]:
    """Name the distributions that each installed module comes from; ours are editable."""
    ours = {name.replace("-", "_"): [name] for name in NAMES}
    return {**importlib.metadata.packages_distributions(), **ours}


@cache
def closure(distribution: str, extras: frozenset[str] = frozenset()) -> frozenset[str]:
    """Name all that a distribution brings with it, and itself."""
    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += brought(name, extras if name == distribution else frozenset())
    return frozenset(found)


def brought(name: str, extras: frozenset[str]) -> list[str]:
    """Name the direct needs of an installed distribution, with those of some extras."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        texts = importlib.metadata.requires(name) or []
        return [distribution_of(text) for text in texts if is_wanted(text, extras)]
    return []


def is_wanted(requirement: str, extras: frozenset[str]) -> bool:
    """Tell whether a requirement is of no extra, or of one of these."""
    extra = re.search(r"extra == ['\"]([\w.-]+)", requirement)
    return extra is None or extra.group(1) in extras


@members
def test_its_tests_import_what_it_names(member: Path) -> None:
    """Tests run alone, too: each module that they import at the head is a need or in the group."""
    own = sorted((member / "tests").rglob("*.py"))
    local = {path.stem for path in own} | {path.parent.name for path in own}
    extras = frozenset(project(member).get("optional-dependencies", {}))
    group = workspace.load(member).get("dependency-groups", {}).get("test", [])
    allowed = closure(str(project(member)["name"]), extras)
    allowed |= {found for name in TEST_TOOLS for found in closure(name)}
    allowed |= {found for need in group for found in closure(distribution_of(need))}
    missing = {
        (path.name, name)
        for path in own
        for name in at_the_head(path) - local - sys.stdlib_module_names
        if name in owners() and not {distribution_of(owner) for owner in owners()[name]} & allowed
    }
    assert not missing


def at_the_head(path: Path) -> set[str]:
    """Name the top-level modules that a module imports when it is imported."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
