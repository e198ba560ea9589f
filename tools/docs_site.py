"""Build the documents as a site, into `site/`: `make site`.

The pages are the repository's own Markdown, staged in one folder: the README is the home page, each
distribution's README a page below `plugins/`. Links between them are rewritten; a link to a file
that is no page becomes its text. Fonts and scripts come with the site; nothing is fetched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import documents
import workspace

STAGE = workspace.ROOT / "build" / "site"
SITE = workspace.ROOT / "site"
SECTIONS = ("tutorial", "how-to", "reference", "explanation", "plugins", "examples", "project")
"""The folders of the site, in the order of its navigation."""

LAST = 1 << 30
"""The remainder of -1, for pages that the table of contents does not name."""

_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_MARK = re.compile(r"^<!--.*?-->\n\n?", re.MULTILINE)
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)

_CONFIG = """\
[project]
site_name = "eventtracking"
site_description = "Event tracking for Python: every event accounted for."
site_url = "http://localhost/"
docs_dir = "pages"
site_dir = "site"
nav = {nav}

[project.theme]
font = false
language = "en"
features = ["content.code.copy", "navigation.sections", "navigation.footer", "navigation.top",
            "search.highlight", "toc.follow"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle = {{ icon = "lucide/sun", name = "Dark" }}

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle = {{ icon = "lucide/moon", name = "Light" }}

[project.markdown_extensions]
admonition = {{}}
attr_list = {{}}
tables = {{}}
toc.permalink = true
pymdownx.highlight.pygments_lang_class = true
pymdownx.superfences = {{}}
"""


def pages() -> dict[Path, str]:
    """Map each document to its place in the site; documents that are no page are left out."""
    return {path: place for path in documents.documents() if (place := _place(path))}


def pictures() -> dict[Path, str]:
    """Map each picture of the documents to its place in the site."""
    docs = workspace.ROOT / "docs"
    found = workspace.tracked("docs/*.svg", "docs/*.png")
    return {path: path.relative_to(docs).as_posix() for path in found if path.exists()}


def _place(path: Path) -> str:
    parts = path.relative_to(workspace.ROOT).parts
    if parts == ("README.md",):
        return "index.md"
    if parts[0] == "docs":
        return "/".join(parts[1:]) if parts != ("docs", "README.md") else "project/contents.md"
    if parts[-1] != "README.md":
        return f"project/{parts[0].lower()}" if len(parts) == 1 else ""
    if parts[0] in ("plugins", "examples"):
        return f"{parts[0]}/{parts[1]}.md" if len(parts) == 3 else ""
    return f"plugins/{parts[0]}.md" if len(parts) == 2 else ""


def staged(path: Path, known: dict[Path, str]) -> str:
    """Return a document as a page: without the marks of its checks, with the links of the site."""

    def rewritten(found: re.Match[str]) -> str:
        text, target, anchor = found.group(1), found.group(2), found.group(3) or ""
        if re.match(r"[a-z]+:", target) or not target:
            return found.group(0)
        end = (path.parent / target).resolve()
        place = known.get(end) or known.get(end / "README.md")
        if place is None:
            return text
        return f"[{text}]({os.path.relpath(place, Path(known[path]).parent)}{anchor})"

    prose = _MARK.sub("", path.read_text(encoding="utf-8"))
    parts = _FENCE.split(prose)
    return "".join(part if part.startswith("```") else _LINK.sub(rewritten, part) for part in parts)


def title(path: Path) -> str:
    """Return the first heading of a document."""
    found = _TITLE.search(path.read_text(encoding="utf-8"))
    return found.group(1).replace("`", "") if found else path.stem


def navigation(known: dict[Path, str]) -> Iterator[str]:
    """Yield the entries of the navigation, as TOML, in the order of the table of contents."""
    contents = (workspace.ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    yield '{ "Home" = "index.md" }'
    for section in SECTIONS:
        found = [(place, path) for path, place in known.items() if _top(place) == section]
        entries = sorted(found, key=lambda entry: (contents.find(f"({entry[0]})") % LAST, entry[0]))
        inner = ", ".join(f"{{ {_text(title(path))} = {_text(place)} }}" for place, path in entries)
        yield f"{{ {_text(section.capitalize())} = [{inner}] }}"


def _top(place: str) -> str:
    return place.split("/", 1)[0]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML string


def stage() -> None:
    """Write the pages and the settings of the site generator."""
    known = pages()
    shutil.rmtree(STAGE, ignore_errors=True)
    seen = pictures()
    for path, place in seen.items():
        target = STAGE / "pages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for path, place in known.items():
        target = STAGE / "pages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(staged(path, known | seen), encoding="utf-8")
    nav = "[\n  " + ",\n  ".join(navigation(known)) + ",\n]"
    settings = _CONFIG.format(nav=nav)
    (STAGE / "zensical.toml").write_text(settings, encoding="utf-8")


def main() -> int:
    """Build the site; any finding is a failure."""
    stage()
    program = Path(sys.executable).parent / "zensical"
    done = subprocess.run(
        [program, "build", "--clean", "--strict", "-f", STAGE / "zensical.toml"],
        check=False,
        cwd=STAGE,
    )
    if done.returncode == 0:
        shutil.rmtree(SITE, ignore_errors=True)
        shutil.move(STAGE / "site", SITE)
        print(f"The site is in {SITE.relative_to(workspace.ROOT)}/; open index.html there.")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
