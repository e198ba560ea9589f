"""Find the loops that a signal handler's exception leaves without their `finally`.

CPython 3.12 to 3.14 give some backward jumps no handler: those of a loop inside `try` or `with`
whose body ends in a condition. Signals are handled at backward jumps. An exception raised there
skips the `finally`, and a lock stays locked.
"""

from __future__ import annotations

import ast
import dis
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["uncovered_jumps", "uncovered_jumps_below"]

_OWN_FRAME = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>", "<lambda>")
"""An exception leaves these for the call in the function around them, which is covered."""


def uncovered_jumps(source: str, name: str = "<source>") -> list[str]:
    """List the loops of a module that lose their handler when a signal handler raises.

    Move such a loop into a function of its own, or let its body end in no condition.

    Args:
        source: The module's text.
        name: The module's name, for the list.

    Returns:
        `MODULE:LINE in FUNCTION` for each; none on a Python whose handlers cover each jump.

    Example:
        >>> uncovered_jumps("for n in [1]:\\n    print(n)")
        []
    """
    blocks = [
        range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Try, ast.With))
    ]
    return [
        f"{name}:{line} in {code.co_name}"
        for code in _codes(compile(source, name, "exec"))
        if code.co_name not in _OWN_FRAME
        for line, target in _uncovered(code)
        if any(line in block and target in block for block in blocks)
    ]


def uncovered_jumps_below(folder: Path) -> list[str]:
    """List those of all modules below a folder."""
    return [
        found
        for file in sorted(folder.rglob("*.py"))
        for found in uncovered_jumps(file.read_text(encoding="utf-8"), file.name)
    ]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _uncovered(code: types.CodeType) -> Iterator[tuple[int, int]]:
    """Give the lines of each backward jump without a handler, and of its target."""
    if not hasattr(code, "co_exceptiontable"):
        return
    bytecode: Any = dis.Bytecode(code)  # Python 3.10 has neither entries nor positions
    entries = bytecode.exception_entries
    lines = {at.offset: at.positions.lineno or 0 for at in bytecode}
    for at in bytecode:
        if at.opname == "JUMP_BACKWARD" and not any(
            entry.start <= at.offset < entry.end for entry in entries
        ):
            yield lines[at.offset], lines.get(at.argval, 0)
