"""The plugin `sqlite` keeps the contract of backends."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventtracking_testkit.contracts import BackendContract
from eventtracking_testkit.contracts.backend import Broken, Stored


class TestSqlite(BackendContract):
    """The file is read with the standard library, and broken by a lock that another connection
    holds.
    """

    plugin = "sqlite"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"path": str(tmp_path / "events.db"), "busy_timeout_s": 0.2}

    @pytest.fixture
    def stored(self, options: dict[str, Any]) -> Stored:
        return lambda: read(options["path"])

    @pytest.fixture(params=["locked", "not a database"])
    def broken(self, options: dict[str, Any], request: pytest.FixtureRequest) -> Broken:
        return lambda: {"locked": locked, "not a database": replaced}[request.param](
            options["path"]
        )


def read(path: str) -> list[dict[str, Any]]:
    """Read the whole table."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT id, name, timestamp, context, data, extra FROM events"
        ).fetchall()
    return [
        {
            "id": i,
            "name": n,
            "timestamp": t,
            "context": json.loads(c),
            "data": json.loads(d),
            **json.loads(e),
        }
        for i, n, t, c, d, e in rows
    ]


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the write lock, as a process that never ends its transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def replaced(path: str) -> Iterator[None]:
    """Put a file that is no database in its place."""
    folder = Path(path).parent
    (folder / "aside").mkdir()
    for file in folder.glob("events.db*"):
        shutil.move(file, folder / "aside")
    Path(path).write_text("this is no database, " * 500)
    yield
    for file in folder.glob("events.db*"):
        file.unlink()
    for file in (folder / "aside").iterdir():
        shutil.move(file, folder)
