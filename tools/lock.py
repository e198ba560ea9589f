"""Write `constraints.txt`: one exact version of each package that any member or the tools need, for
every Python, with the hashes of its files. And `tools/bootstrap.txt`, the same for `bootstrap.py`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import bootstrap
import workspace

HEADER = (
    "# The exact versions that development and CI use, for every supported Python, with the hashes"
    " of\n# their files. Written by `make lock`.\n"
)


def main() -> int:
    """Compile the requirements of the whole workspace, then those of the first tools."""
    wanted = {one for one in requirements() if not workspace.is_ours(one)} | {*bootstrap.PACKAGES}
    text = HEADER + compiled(wanted, *sys.argv[1:])
    workspace.CONSTRAINTS.write_text(text, encoding="utf-8")
    text = HEADER + compiled({*bootstrap.PACKAGES}, "--constraint", str(workspace.CONSTRAINTS))
    bootstrap.PINNED.write_text(text, encoding="utf-8")
    return 0


def compiled(wanted: set[str], *options: str) -> str:
    """Resolve for all platforms and Pythons, without a word about where the packages came from."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "requirements.in"
        source.write_text("\n".join(sorted(wanted)) + "\n", encoding="utf-8")
        return resolved(source, *options)


def resolved(source: Path, *options: str) -> str:
    quiet = (
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--generate-hashes",
        "--quiet",
    )
    lowest = ("--universal", "--python-version", workspace.PYTHONS[0])
    answer = workspace.uv("pip", "compile", *quiet, *lowest, *options, source, capture_output=True)
    return answer.stdout


def requirements() -> set[str]:
    """Collect what the tools, each member, its extras, its tests and its build ask for."""
    files = (workspace.DEV_REQUIREMENTS, workspace.TOOL_REQUIREMENTS)
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    found = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    for member in workspace.members():
        document = workspace.load(member)
        project = document.get("project", {})
        found |= {*document["build-system"]["requires"], *project.get("dependencies", [])}
        groups = [
            *project.get("optional-dependencies", {}).values(),
            *document.get("dependency-groups", {}).values(),
        ]
        found |= {
            requirement for group in groups for requirement in group if isinstance(requirement, str)
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
