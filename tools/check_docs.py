"""Check the documents: every link between them leads somewhere, and every block of code says how it
is checked: `check_docs.py [FOLDER ...]`. Links into a FOLDER may lead nowhere.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import documents
import workspace

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Report every problem; exit status 1 if there is one."""
    problems = [problem for document in documents.documents() for problem in problems_of(document)]
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


def problems_of(document: Path) -> list[str]:
    """List what is wrong with one document, with the place."""
    where = document.relative_to(workspace.ROOT)
    prose = FENCED.sub("", document.read_text(encoding="utf-8"))
    links = [
        f"{where}: link to {target}: no such file"
        for target in LINK.findall(prose)
        if not leads(document, target)
    ]
    found = [(block.line, documents.problem_with(block)) for block in documents.blocks_of(document)]
    return links + [f"{where}:{line}: {problem}" for line, problem in found if problem]


def leads(document: Path, target: str) -> bool:
    """Tell whether a link ends at a file of the repository, or leaves it."""
    path, _, _anchor = target.partition("#")
    if re.match(r"[a-z]+:", target) or not path:
        return True
    end = (document.parent / path).resolve()
    absent = (workspace.ROOT / folder for folder in sys.argv[1:])
    return end.exists() or any(end.is_relative_to(folder) for folder in absent)


if __name__ == "__main__":
    sys.exit(main())
