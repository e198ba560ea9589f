"""A release is refused for each thing that would be wrong with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import artifacts
import interface
import workspace
from wheels import build_all

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

needs_tools = pytest.mark.skipif(sys.version_info < (3, 11), reason="cibuildwheel needs 3.11")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build all that a release publishes."""
    folder = tmp_path_factory.mktemp("dist")
    build_all(folder)
    return folder


@needs_tools
def test_what_is_built_is_sound(dist: Path) -> None:
    """Each distribution has a wheel for every Python, and an archive with its sources."""
    assert list(artifacts.problems(dist)) == []


def test_core_has_a_wheel_with_and_without_the_compiled_part(dist: Path) -> None:
    """One for this Python, and one for every other."""
    wheels = [path.name for path in dist.glob("eventtracking-[0-9]*.whl")]
    assert len(wheels) == 2
    assert [name for name in wheels if name.endswith("-py3-none-any.whl")]
    assert [name for name in wheels if f"-cp3{sys.version_info.minor}-" in name]


@pytest.mark.parametrize(
    ("left_out", "told"),
    [("py.typed", "no py.typed"), ("LICENSE", "no licence"), (r"_compiled.*\.so", "tags")],
)
def test_a_wheel_that_lacks_something_is_refused(
    dist: Path, tmp_path: Path, left_out: str, told: str
) -> None:
    """The mark of its types, its licence, or the part that its tags promise."""
    (wheel,) = dist.glob(f"eventtracking-[0-9]*-cp3{sys.version_info.minor}-*.whl")
    damaged = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(damaged, "w") as copy:
        for name in whole.namelist():
            if not re.search(rf"{left_out}$", name):
                copy.writestr(name, whole.read(name))
    assert [p for p in artifacts.wheel_problems(damaged, "eventtracking") if told in p]
    assert list(artifacts.wheel_problems(wheel, "eventtracking")) == []


def test_a_missing_archive_is_told(dist: Path, tmp_path: Path) -> None:
    """An archive without its licence, and a distribution without its wheel."""
    assert "eventtracking: no wheel for every Python" in "\n".join(artifacts.problems(tmp_path))


OLD = '''
"""A package."""

def call(one, two=2):
    """Call."""

def gone():
    """Go."""
'''
NEW = '''
"""A package."""

def call(one, three, two=2):
    """Call."""
'''


def test_public_names_are_compared(tmp_path: Path) -> None:
    """One that is gone, and one that wants more than before, break programs."""
    for tree, text in (("old", OLD), ("new", NEW)):
        package = tmp_path / tree / "plugins" / "x" / "src" / "eventtracking_x"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text)
    found = list(interface.broken_names(tmp_path / "old", tmp_path / "new"))
    assert "eventtracking_x.gone: Public object was removed" in found
    assert "eventtracking_x.call: Parameter was added as required" in found
    shutil.rmtree(tmp_path / "new")
    assert list(interface.broken_names(tmp_path / "old", tmp_path / "new")) == [
        "eventtracking_x is gone"
    ]


def test_hooks_are_compared() -> None:
    """One that is gone, or given less, breaks plugins; one that is new does not."""
    old = {"a": ["register"], "b": ["register", "more"]}
    assert list(interface.broken_hooks(old, {**old, "c": []})) == []
    assert len(list(interface.broken_hooks(old, {"b": ["register"]}))) == 2


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({"properties": {}}, "config.properties.size: is gone"),
        ({"properties": {"size": {"type": "string"}}}, "config.properties.size.type"),
        (
            {"properties": {"size": {"type": "integer", "enum": [1]}}},
            "config.properties.size.enum: '2' is gone",
        ),
        (
            {"properties": {"size": {"type": "integer", "enum": [1, 2]}}, "required": ["size"]},
            "config: demands size",
        ),
    ],
)
def test_the_schema_is_compared(new: dict[str, object], told: str) -> None:
    """An option that is gone, narrower or demanded breaks configs; one that is new does not."""
    old = {"properties": {"size": {"type": "integer", "enum": [1, 2]}}}
    more = {"properties": {**old["properties"], "other": {"type": "string"}}}
    assert list(interface.broken_schema(old, more, "config")) == []
    assert any(each.startswith(told) for each in interface.broken_schema(old, new, "config"))


def test_the_version_says_whether_something_breaks() -> None:
    """Another major version may, and another minor one before 1.0."""
    assert interface.may_break("0.1.0", "0.2.0")
    assert not interface.may_break("0.1.0", "0.1.1")
    assert interface.may_break("1.9.0", "2.0.0")
    assert not interface.may_break("1.1.0", "1.2.0")


def test_the_last_release_is_the_last_tag_before(tmp_path: Path) -> None:
    """The tag of this commit is the release that is being tried."""
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", tmp_path)
    subprocess.run([*git, "init", "-q"], check=True)
    for tag in ("", "v0.1.0", "other", "v0.2.0"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
        if not tag:
            assert interface.last_tag(tmp_path) == ""
        else:
            subprocess.run([*git, "tag", tag], check=True)
    assert interface.last_tag(tmp_path) == "v0.1.0"


@needs_tools
def test_the_workflows_have_no_finding() -> None:
    """Zizmor finds nothing: actions are pinned, permissions are the least."""
    zizmor = Path(sys.executable).parent / "zizmor"
    options = ("--offline", "--pedantic", "--no-progress", "--quiet")
    done = workspace.tried(zizmor, *options, workspace.ROOT / ".github" / "workflows")
    assert done.returncode == 0, done.stdout
