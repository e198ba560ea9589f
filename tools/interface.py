"""Compare what others rely on with the last release: public names, hooks, and the config schema.

`interface.py` prints what breaks a program, a plugin or a config of the last tag (`v...`). A break
is refused unless the version says so: another major version, or another minor one before 1.0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import griffe

import workspace
from wheels import build

DUMP = """
import inspect, json
from eventtracking import hookspecs
from eventtracking.config.discovery import installed_plugins
from eventtracking_cli.schema import config_schema
hooks = {name: list(inspect.signature(hook).parameters)
         for name, hook in vars(hookspecs).items() if name.startswith("eventtracking_")}
print(json.dumps({"hooks": hooks, "config": config_schema(installed_plugins())}))
"""
"""Prints the hooks and the schema of the distributions that are installed."""


def last_tag(root: Path) -> str:
    """Return the newest release before this commit; an empty text if there is none."""
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    return done.stdout.strip()


def problems(root: Path = workspace.ROOT) -> list[str]:
    """Return all that breaks, unless the version allows it; print what is allowed."""
    tag = last_tag(root)
    if not tag:
        print("No release yet to compare the interface with.")
        return []
    found = list(breaks(root, tag))
    new = str(workspace.load(root / "core")["project"]["version"])
    if found and may_break(tag.removeprefix("v"), new):
        print(f"Breaks since {tag}, which {new} may:", *found, sep="\n  ")
        return []
    return [f"since {tag}: {each}" for each in found]


def may_break(old: str, new: str) -> bool:
    """Whether the step between two versions tells users that something breaks."""
    before, now = old.split("."), new.split(".")
    return before[0] != now[0] or (now[0] == "0" and before[1] != now[1])


def breaks(root: Path, tag: str) -> Iterator[str]:
    """Yield each break since a tag."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        clone = ("git", "clone", "--quiet", "--shared", "--branch", tag)
        subprocess.run((*clone, root, tree), check=True, capture_output=True)
        yield from broken_names(tree, root)
        old, new = dumped(tree, Path(folder) / "old"), dumped(root, Path(folder) / "new")
    yield from broken_hooks(old["hooks"], new["hooks"])
    yield from broken_schema(old["config"], new["config"], "config")


def broken_names(old: Path, new: Path) -> Iterator[str]:
    """Yield each public name that is gone, or can be called no longer as before."""
    for source in sorted(old.glob("*/src/*")) + sorted(old.glob("plugins/*/src/*")):
        if not (source / "__init__.py").exists():
            continue
        now = new / source.relative_to(old)
        if not now.exists():
            yield f"{source.name} is gone"
            continue
        before = griffe.load(source.name, search_paths=[source.parent], allow_inspection=False)
        after = griffe.load(source.name, search_paths=[now.parent], allow_inspection=False)
        for each in griffe.find_breaking_changes(before, after):
            yield f"{each.obj.path}: {each.kind.value}"


def dumped(tree: Path, folder: Path) -> dict[str, Any]:
    """Install a tree's distributions from their wheels; return their hooks and schema."""
    for project in [*tree.glob("*/pyproject.toml"), *tree.glob("plugins/*/pyproject.toml")]:
        build(project.parent, folder / "wheels")
    python = folder / "env" / "bin" / "python"
    workspace.uv("venv", "-q", "--python", sys.executable, folder / "env")
    wheels = sorted((folder / "wheels").glob("*.whl"))
    versions = ("--no-sources", "--constraint", workspace.CONSTRAINTS)
    workspace.uv("pip", "install", "-q", "--python", python, *versions, *wheels)
    command = (python, "-I", "-c", DUMP)
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def broken_hooks(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield each hook that is gone, or is given less than before."""
    for name, arguments in old.items():
        missing = [each for each in arguments if each not in new.get(name, [])]
        if name not in new:
            yield f"hook {name}: is gone"
        elif missing:
            yield f"hook {name}: is no longer given {', '.join(missing)}"


def broken_schema(old: Any, new: Any, place: str) -> Iterator[str]:
    """Yield each place where the new schema refuses what the old one took."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    for name, value in old.items():
        inside = f"{place}.{name}"
        if name in ("properties", "$defs"):
            gone = set(value) - set(new.get(name, {}))
            yield from (f"{inside}.{each}: is gone" for each in sorted(gone))
            for each in sorted(set(value) & set(new.get(name, {}))):
                yield from broken_schema(value[each], new[name][each], f"{inside}.{each}")
        elif name in ("enum", "type"):
            gone = _many(value) - _many(new[name]) if name in new else set()
            yield from (f"{inside}: {each!r} is gone" for each in sorted(map(str, gone)))
        elif isinstance(value, dict):
            yield from broken_schema(value, new.get(name), inside)
        elif name in ("anyOf", "oneOf", "allOf"):
            for one, other in zip(value, new.get(name, []), strict=False):
                yield from broken_schema(one, other, inside)
    demanded = set(new.get("required", [])) - set(old.get("required", []))
    yield from (f"{place}: demands {each}" for each in sorted(demanded))


def _many(value: Any) -> set[Any]:
    return set(map(json.dumps, value if isinstance(value, list) else [value]))


def main() -> int:
    """Print what breaks; the exit status says whether anything does."""
    found = problems()
    print(*found, sep="\n", end="\n" if found else "")
    return min(1, len(found))


if __name__ == "__main__":
    sys.exit(main())
