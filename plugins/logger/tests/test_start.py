"""A start imports little: shown by the modules, because a clock depends on the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEPENDENCIES = "attrs, importlib_metadata, logging, msgspec, pluggy, uuid_utils"
FIRST_EVENT = """
import logging
import eventtracking

logging.getLogger("start").addHandler(logging.NullHandler())
logging.getLogger("start").setLevel(logging.INFO)
eventtracking.configure({"backends": {"log": {"plugin": "logger", "name": "start"}}})
eventtracking.tracker.emit("first", {"a": 1})
assert eventtracking.tracker.get_tracker().stats()["log"].delivered == 1
"""
PRINT = "import sys; print(*sys.modules)"
OURS = ("eventtracking", "eventtracking_logger")


def _modules(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{PRINT}"], check=True, capture_output=True, text=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.process
def test_the_import_alone_brings_nothing_else() -> None:
    """Each public name is imported when it is first used."""
    more = _modules("import eventtracking") - _modules("import importlib, typing")
    assert more == {"eventtracking"}


@pytest.mark.process
def test_the_first_event_needs_the_dependencies_and_little_more() -> None:
    """Neither `email`, which parses the metadata of distributions, nor what a buffer needs."""
    more = _modules(FIRST_EVENT) - _modules(f"import {DEPENDENCIES}")
    others = {name for name in more if name.partition(".")[0] not in OURS}
    assert others <= {"_contextvars", "array", "contextvars"}
    assert "eventtracking.explain" not in more
    assert "eventtracking._data.mend" not in more
