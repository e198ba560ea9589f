"""Take each plugin away in turn, and try the rest: `check_seams.py [--collect] [NAME ...]`.

It is done in a copy of the tree, with an environment of its own. Without the plugin, and without
those that need it, everything must be collected, the documents must be sound, and the tests must
pass whose modules name it; a module that cannot do without says so (`pytest.mark.needs`).
`--collect` runs no test.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import workspace

SELECTED = "not service and not soak and not fuzz"
TESTS = ("core/tests", "cli/tests", "testkit/tests", "plugins", "tests")


def copy_tree(folder: Path) -> None:
    """Copy the repository's files, and lend it the tools that `make` has brought."""
    for path in workspace.tracked():
        if path.is_file():
            target = folder / path.relative_to(workspace.ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    (folder / ".uv").symlink_to(workspace.ROOT / ".uv")
    subprocess.run(["git", "init", "-q", folder], check=True)


def problems_without(plugin: str, tree: Path, run_tests: bool) -> Iterator[str]:
    """Yield what fails in a tree while one plugin is away."""
    away = tree.parent / plugin
    shutil.move(tree / "plugins" / plugin, away)
    try:
        python = tree / ".venv" / "bin" / "python"
        yield from failed(tree, sys.executable, "tools/environment.py")
        yield from failed(tree, python, "tools/check_docs.py", f"plugins/{plugin}")
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-m", SELECTED)
        yield from failed(tree, python, *pytest, "--collect-only", *TESTS)
        if run_tests:
            named = list(modules_naming(plugin, tree))
            yield from failed(tree, python, *pytest, "-n", "3", "--dist", "loadfile", *named)
    finally:
        shutil.move(away, tree / "plugins" / plugin)


def modules_naming(plugin: str, tree: Path) -> Iterator[str]:
    """Yield the modules of tests that name a plugin, and all that look at the tree's shape."""
    word = re.compile(rf"(?<![a-z]){plugin}(?![a-z])|{plugin.replace('_', '-')}")
    for test in sorted(tree.rglob("test_*.py")):
        where = test.relative_to(tree)
        if where.parts[0] not in ("core", "cli", "testkit", "plugins", "tests"):
            continue
        if where.parts[:2] == ("tests", "shape") or word.search(test.read_text(encoding="utf-8")):
            yield str(where)


def failed(tree: Path, *command: str | Path) -> Iterator[str]:
    """Run a command; yield the end of what it printed, if it fails."""
    done = subprocess.run(command, check=False, cwd=tree, capture_output=True, text=True)
    if done.returncode not in (0, 5):  # 5: all of it is skipped
        yield f"{' '.join(map(str, command[1:4]))}:\n{(done.stdout + done.stderr)[-5000:]}"


def main() -> int:
    """Try without each; the exit status says whether any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plugins", nargs="*", metavar="NAME")
    parser.add_argument("--collect", action="store_true", help="run no test")
    options = parser.parse_args()
    plugins = [each.name for each in workspace.members() if each.parent.name == "plugins"]
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        for plugin in options.plugins or plugins:
            began = time.monotonic()
            problems = list(problems_without(plugin, tree, not options.collect))
            word = "FAILED" if problems else "ok    "
            print(f"{word} without {plugin} ({time.monotonic() - began:.0f} s)", flush=True)
            print(*problems, sep="\n", end="\n" if problems else "", flush=True)
            found += bool(problems)
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
