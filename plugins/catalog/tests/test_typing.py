"""Type checkers see a wrong and a missing field where an event is emitted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

CODE = """\
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

import attrs
import msgspec

from eventtracking import tracker
from eventtracking_catalog import event, field


@event("a.attrs")
@attrs.define
class Attrs:
    course: Annotated[str, field(pii="none")]


@event("a.dataclass")
@dataclass
class Data:
    course: Annotated[str, field(pii="none")]


@event("a.struct")
class Struct(msgspec.Struct):
    course: Annotated[str, field(pii="none")]


@event("a.dict")
class Dict(TypedDict):
    course: Annotated[str, field(pii="none")]


tracker.emit(Attrs(course="botany"))
tracker.emit(Data(course="botany"))
tracker.emit(Struct(course="botany"))
tracker.emit("a.dict", Dict(course="botany"))
"""
BAD = [
    *(f"tracker.emit({kind}(course=3))" for kind in ("Attrs", "Data", "Struct")),
    *(f"tracker.emit({kind}())" for kind in ("Attrs", "Data", "Struct")),
    'tracker.emit("a.dict", Dict(course=3))',
    'tracker.emit("a.dict", Dict())',
]
PYTHON = ["--pythonpath", sys.executable]
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict"],
    "pyright": [sys.executable, "-m", "basedpyright", "--level=error", *PYTHON],
}


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_and_missing_fields(checker: str, tmp_path: Path) -> None:
    """Each bad line, and no other, is told of."""
    file = tmp_path / "emitting.py"
    file.write_text(CODE + "\n".join(BAD) + "\n")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    done = subprocess.run(
        [*CHECKERS[checker], file.name],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    first = len(CODE.splitlines()) + 1
    found = {
        int(line.partition("emitting.py:")[2].partition(":")[0])
        for line in done.stdout.splitlines()
        if "emitting.py:" in line and "error" in line
    }
    assert found == set(range(first, first + len(BAD))), done.stdout
