"""Hold the sizes, the order of imports and the language of the sources: see CONTRIBUTING, "Sizes".

Lines of code leave out blank lines, comments and docstrings. An excess of today stands in `EXCESS`
with its size: it may shrink, and is taken out when it is gone.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import workspace

HEART_LINES: Final = 1_300
CORE_CODE: Final = 2_700
MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 40
VAGUE_SHARE: Final = 0.003
"""Of the words in docstrings and comments."""
VAGUE: Final = re.compile(r"\b(?:what|whatever|whoever|somebody|nobody)\b", re.IGNORECASE)
CORE_VAGUE_SHARE: Final = 0.001
CORE_VAGUE: Final = re.compile(
    r"\b(?:what|whatever|whoever|somebody|nobody|anything|everything|something)\b", re.IGNORECASE
)
"""In core, whose prose names things: an event, a batch, a caller."""
WORD: Final = re.compile(r"[A-Za-z']+")
EXCESS: Final[Mapping[str, int]] = {
    "cli/src/eventtracking_cli/schema.py:config_schema": 54,
    "core (lines of code)": 4_545,
    "plugins/buffer/src/eventtracking_buffer/disk/engine.py": 465,
    "vague words in docstrings and comments": 440,
}


def main() -> int:
    """Print each excess; the exit status says whether there is one."""
    found = dict(excesses())
    for subject, (size, limit) in sorted(found.items()):
        known = EXCESS.get(subject, limit)
        if size > known:
            print(f"{subject}: {size}, at most {known}; split it, or say it shorter")
    gone = [subject for subject in EXCESS if subject not in found]
    for subject in gone:
        print(f"{subject}: within its limit now; take it out of EXCESS")
    circles = list(circles_of(imports()))
    for circle in circles:
        print(f"import circle: {' -> '.join(circle)}")
    worse = [s for s, (size, limit) in found.items() if size > EXCESS.get(s, limit)]
    return 1 if worse or circles else 0


def excesses() -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each subject over its limit: its size and the limit."""
    core = workspace.ROOT / "core/src/eventtracking"
    heart = sum(len(path.read_text().splitlines()) for path in (core / "_pipeline").glob("*.py"))
    if heart > HEART_LINES:
        yield "heart (lines)", (heart, HEART_LINES)
    code = sum(lines_of_code(path.read_text()) for path in core.rglob("*.py"))
    if code > CORE_CODE:
        yield "core (lines of code)", (code, CORE_CODE)
    prose = "\n".join(prose_of(path.read_text()) for path in core.rglob("*.py"))
    limit = round(len(WORD.findall(prose)) * CORE_VAGUE_SHARE)
    if len(CORE_VAGUE.findall(prose)) > limit:
        yield "core (vague words)", (len(CORE_VAGUE.findall(prose)), limit)
    vague, words = 0, 0
    for path, text in sources():
        name = str(path.relative_to(workspace.ROOT))
        lines = len(text.splitlines())
        if lines > MODULE_LINES:
            yield name, (lines, MODULE_LINES)
        for function, size in functions(ast.parse(text)):
            if size > FUNCTION_LINES:
                yield f"{name}:{function}", (size, FUNCTION_LINES)
        prose = prose_of(text)
        vague, words = vague + len(VAGUE.findall(prose)), words + len(WORD.findall(prose))
    limit = round(words * VAGUE_SHARE)
    if vague > limit:
        yield "vague words in docstrings and comments", (vague, limit)


def sources() -> Iterator[tuple[Path, str]]:
    """Yield every module of every member."""
    for member in workspace.ready_members():
        for path in sorted((member / "src").rglob("*.py")):
            yield path, path.read_text()


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each function and its lines, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if is_docstring(first):
                size -= (first.end_lineno or first.lineno) - first.lineno + 1
            yield node.name, size


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is text alone."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def lines_of_code(text: str) -> int:
    """Count the lines that hold code."""
    lines: set[int] = set()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*skipped, tokenize.ENDMARKER):
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and is_docstring(node):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def prose_of(text: str) -> str:
    """Return the docstrings and comments of a module."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    strings = [
        node.value.value  # type: ignore[attr-defined]  # a docstring is one
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.stmt) and is_docstring(node)
    ]
    return "\n".join([*comments, *strings])


def imports() -> dict[str, set[str]]:
    """Return the modules of ours that each module imports when it is imported itself."""
    names = {module_name(path): text for path, text in sources()}
    return {name: set(imported(ast.parse(text), names)) - {name} for name, text in names.items()}


def module_name(path: Path) -> str:
    """Return the dotted name of a module below a `src`."""
    parts = list(path.with_suffix("").parts)
    parts = parts[len(parts) - parts[::-1].index("src") :]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the modules that the top level of a module imports."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in names:
                    yield inner
                elif node.module in names:
                    yield node.module


def circles_of(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield each circle once."""
    done: set[str] = set()
    way: list[str] = []

    def visit(name: str) -> Iterator[list[str]]:
        if name in way:
            yield [*way[way.index(name) :], name]
            return
        if name in done:
            return
        way.append(name)
        for other in sorted(graph.get(name, ())):
            yield from visit(other)
        way.pop()
        done.add(name)

    for start in sorted(graph):
        yield from visit(start)


if __name__ == "__main__":
    sys.exit(main())
