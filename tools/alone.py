"""Try each distribution alone, as its users have it: `alone.py [WORD]`.

The distribution is installed from its wheel, into an environment that holds nothing else of ours
but its needs, once with the oldest version of each direct need and once with the newest. Of the
newest a bill of materials is written. All of it is imported. Then come the test kit and the rest of
its group `test`, from their wheels, and its own tests run in a folder without the sources. A WORD
leaves out the distributions whose names do not contain it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import workspace
from installs import IMPORT_ALL

LOWEST, NEWEST = "oldest", "newest"
TEST_TOOLS = ("freezegun", "hypothesis", "pytest-asyncio>=0.24", "pytest-timeout")
"""What tests of every distribution may use; each names the rest in its group `test`."""
SELECTED = "not process and not service and not once and not soak and not fuzz"
"""The short tests: the others have run on the sources."""
SHARED = {"HYPOTHESIS_STORAGE_DIRECTORY": str(workspace.ROOT / ".hypothesis")}
"""The table of all characters takes Hypothesis seconds: it is made once."""
NONE_SELECTED = 5
"""Exit status of pytest: all tests of the distribution start processes or servers."""
LIMIT_S = "300"
"""A test's limit: several of these runs share the processors."""
AT_ONCE = 3
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[(.*?)\])?")


@dataclass(frozen=True)
class Trial:
    """A distribution, and the versions of its needs."""

    member: Path
    versions: str

    @property
    def name(self) -> str:
        """The distribution's name."""
        return str(workspace.load(self.member)["project"]["name"])

    @property
    def wanted(self) -> str:
        """The distribution with all of its extras, as a requirement."""
        extras = workspace.load(self.member)["project"].get("optional-dependencies", {})
        foreign = [name for name, needs in extras.items() if not any(map(workspace.is_ours, needs))]
        return f"{self.name}[{','.join(foreign)}]" if foreign else self.name

    @property
    def python(self) -> Path:
        """The oldest Python of this machine for the oldest versions; else this one."""
        found = [workspace.find_python(version) for version in workspace.PYTHONS]
        oldest = next((python for python in found if python is not None), None)
        return (oldest if self.versions == LOWEST else None) or Path(sys.executable)


def trials() -> Iterator[Trial]:
    """Yield each distribution, with its oldest and its newest needs."""
    for member in workspace.ready_members():
        yield Trial(member, LOWEST)
        yield Trial(member, NEWEST)


def direct_needs(requirement: str) -> list[str]:
    """Return what a distribution of ours needs, and those that it needs, as requirements."""
    projects = [workspace.load(member)["project"] for member in workspace.ready_members()]
    ours = {project["name"]: project for project in projects}
    found: dict[str, None] = {}
    waiting = [requirement]
    while waiting:
        matched = _REQUIREMENT.match(waiting.pop())
        project = ours.get(matched[1]) if matched else None
        if matched is None or project is None:
            continue
        needs = [*project.get("dependencies", [])]
        for extra in (matched[2] or "").split(","):
            needs += project.get("optional-dependencies", {}).get(extra.strip(), [])
        waiting += [need for need in needs if need not in found]
        found |= dict.fromkeys(needs)
    return list(found)


def problem_with(trial: Trial, wheels: Path, folder: Path) -> str:
    """Install, import and test; return the problem, or an empty text."""
    try:
        python = make_environment(trial, wheels, folder)
        command: list[str | Path] = [python, "-I", "-W", "error::ImportWarning", "-c", IMPORT_ALL]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            return f"importing it: {done.stderr[-2000:]}"
        if trial.versions == NEWEST:
            write_sbom(trial, wheels / "sbom", python)
        add_test_tools(trial, wheels, python)
    except subprocess.CalledProcessError as error:
        return f"installing it: {error.stderr or error.stdout}"
    return problem_of_tests(trial, python, folder)


def make_environment(trial: Trial, wheels: Path, folder: Path) -> Path:
    """Make an environment that holds one distribution and its needs; return its Python."""
    workspace.uv("venv", "-q", "--python", trial.python, folder / "env", capture_output=True)
    python = folder / "env" / "bin" / "python"
    wanted = [trial.wanted]
    if trial.versions == LOWEST:
        wanted += ["--resolution", "lowest-direct", *direct_needs(trial.wanted)]
    pip_install(python, wheels, *wanted)
    workspace.uv("pip", "check", "-q", "--python", python, capture_output=True)
    return python


def write_sbom(trial: Trial, folder: Path, python: Path) -> None:
    """Write the contents of an environment, as CycloneDX."""
    output = folder / f"{trial.name}.cdx.json"
    describe = ("environment", "--output-reproducible", "--no-validate", "--of", "JSON")
    project = ("--pyproject", trial.member / "pyproject.toml", "--mc-type", "library")
    command = (sys.executable, "-m", "cyclonedx_py", *describe, *project, "-o", output, python)
    folder.mkdir(exist_ok=True)
    subprocess.run(command, check=True, capture_output=True, text=True)


def add_test_tools(trial: Trial, wheels: Path, python: Path) -> None:
    """Install the test kit and what the tests need, and leave the needs' versions as they are."""
    frozen = workspace.uv("pip", "freeze", "--python", python, capture_output=True).stdout
    direct = {
        found[1].lower().replace("_", "-")
        for need in direct_needs(trial.wanted)
        if (found := _REQUIREMENT.match(need))
    }
    kept = [
        line for line in frozen.splitlines() if line.partition("==")[0] in direct and "==" in line
    ]
    constraints = python.parent.parent / "kept.txt"
    constraints.write_text("\n".join(kept) + "\n", encoding="utf-8")
    group = workspace.load(trial.member).get("dependency-groups", {}).get("test", [])
    needed = ["eventtracking-testkit", *TEST_TOOLS, *group]
    pip_install(python, wheels, "--constraint", constraints, *needed)


def pip_install(python: Path, wheels: Path, *arguments: str | Path) -> None:
    """Install from our wheels and the package index, and nothing from the tree."""
    names = [workspace.load(member)["project"]["name"] for member in workspace.ready_members()]
    anew = [f"--refresh-package={name}" for name in names]  # uv keeps a wheel of the same version
    places = ("-q", "--no-sources", "--no-build", "--find-links", wheels, "--python", python)
    workspace.uv("pip", "install", *places, *anew, *arguments, capture_output=True)


def problem_of_tests(trial: Trial, python: Path, folder: Path) -> str:
    """Run the distribution's own tests, in a folder that holds nothing but them."""
    where = trial.member.relative_to(workspace.ROOT)
    work = folder / "tree"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(trial.member / "tests", work / where / "tests", ignore=ignored)
    shutil.copy(trial.member / "README.md", work / where)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(workspace.ROOT / name, work)
    pure = {"EVENTTRACKING_PURE_PYTHON": "1"} if trial.versions == LOWEST else {}
    options = ("-q", "--maxfail=20", "-p", "no:cacheprovider", "--no-header", "--timeout", LIMIT_S)
    done = subprocess.run(
        [python, "-m", "pytest", *options, "-m", SELECTED, where / "tests"],
        check=False,
        capture_output=True,
        text=True,
        cwd=work,
        env={**os.environ, **pure, **SHARED},
    )
    passed = done.returncode in (0, NONE_SELECTED)
    return "" if passed else f"its tests:\n{done.stdout[-9000:]}{done.stderr[-2000:]}"


def run(trial: Trial, wheels: Path) -> str:
    """Try one, print what became of it, and return the problem."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        problem = problem_with(trial, wheels, Path(folder))
    took = f"{time.monotonic() - began:.0f} s"
    word = "FAILED" if problem else "ok    "
    print(f"{word} {trial.wanted}, {trial.versions} needs ({took})\n{problem}".strip(), flush=True)
    return problem


def problems(wheels: Path, word: str = "") -> list[str]:
    """Try those whose names contain a word, a few at once; return what is wrong."""
    chosen = [trial for trial in trials() if word in f"{trial.name} {trial.versions}"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda trial: (trial, run(trial, wheels)), chosen)
        return [f"{trial.name}, {trial.versions} needs" for trial, problem in found if problem]


def main() -> int:
    """Try them; the exit status says whether any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--wheels", type=Path, default=workspace.ROOT / "dist")
    options = parser.parse_args()
    return min(1, len(problems(options.wheels, options.word)))


if __name__ == "__main__":
    sys.exit(main())
