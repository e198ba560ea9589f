"""Print the fragments of `changelog.d` as the section of the next version: `make changelog`."""

from __future__ import annotations

import re
import sys
from collections import defaultdict

import workspace

FOLDER = workspace.ROOT / "changelog.d"
KINDS = ("security", "removed", "changed", "added", "fixed")
"""The kinds of a change, in the order in which a reader needs them."""

_NAME = re.compile(rf"(?P<distribution>[a-z-]+)\+[a-z0-9-]+\.(?P<kind>{'|'.join(KINDS)})\.md")


def problems() -> list[str]:
    """Name the fragments whose name, distribution or text is wrong."""
    known = {str(workspace.load(member)["project"]["name"]) for member in workspace.members()}
    found = []
    for path in sorted(FOLDER.iterdir()):
        parts = _NAME.fullmatch(path.name)
        if parts is None:
            found.append(
                f"{path.name}: expected DISTRIBUTION+slug.KIND.md, KIND {', '.join(KINDS)}"
            )
        elif parts["distribution"] not in known:
            found.append(f"{path.name}: no distribution is named {parts['distribution']!r}")
        elif not path.read_text(encoding="utf-8").strip():
            found.append(f"{path.name}: it is empty")
    return found


def section() -> str:
    """Return the fragments by kind and distribution, as Markdown."""
    by_kind: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(FOLDER.iterdir()):
        parts = _NAME.fullmatch(path.name)
        if parts is not None:
            text = " ".join(path.read_text(encoding="utf-8").split())
            by_kind[parts["kind"]].append((parts["distribution"], text))
    blocks = []
    for kind in KINDS:
        lines = [f"- **{distribution}**: {text}" for distribution, text in by_kind[kind]]
        if lines:
            blocks.append("\n".join([f"### {kind.capitalize()}", "", *lines]))
    return "\n\n".join(blocks)


def main() -> int:
    """Print the section, or every problem."""
    found = problems()
    print("\n".join(found) if found else section())
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
