"""The tables of the state, and how an earlier layout becomes this one."""

from __future__ import annotations

import sqlite3
from typing import Final

from eventtracking import Outcome

__all__ = ["LAYOUT", "NewerLayoutError", "prepare"]

LAYOUT: Final = 3
"""Written into the file. 2: up to version 0.1.0. A later version reads every earlier one."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS leaves (leaf TEXT PRIMARY KEY, lane TEXT, gone INT DEFAULT 0)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (leaf TEXT, file TEXT, offset INT, records INT,
    PRIMARY KEY (leaf, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retries (
    leaf TEXT, file TEXT, offset INT, attempts INT, had INT, first_at REAL, last_at REAL,
        reason TEXT,
    PRIMARY KEY (leaf, file, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (file TEXT, offset INT, event_id, known TEXT,
    PRIMARY KEY (file, offset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT, offset INT, event_id, leaf TEXT,
        name TEXT, reason TEXT, attempts INT,
    first_at REAL, last_at REAL, payload BLOB, stored_at REAL, state TEXT DEFAULT 'dead', own TEXT,
        known TEXT,
    reopened INT DEFAULT 0, target TEXT
);
CREATE INDEX IF NOT EXISTS dead_by_place ON dead (file, offset);
CREATE INDEX IF NOT EXISTS dead_by_state ON dead (state);
CREATE TABLE IF NOT EXISTS counts (path TEXT, name TEXT, value INT, PRIMARY KEY (path, name))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reasons (path TEXT, reason TEXT, value INT, PRIMARY KEY (path, reason))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired (file TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (file TEXT, offset INT, kind TEXT, at REAL, PRIMARY KEY (file,
    offset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (leaf TEXT PRIMARY KEY, failures INT, last_error TEXT,
    resume_at REAL, at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (number INTEGER PRIMARY KEY, kind TEXT, route TEXT);
CREATE TABLE IF NOT EXISTS selections (name TEXT PRIMARY KEY, numbers TEXT, made_at REAL,
    made_by TEXT, what TEXT, used_at REAL, used_by TEXT, taken TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spared (kind TEXT PRIMARY KEY, value INT) WITHOUT ROWID;
"""
_SPARE: Final = "INSERT OR REPLACE INTO spared SELECT 'letters', coalesce(max(number), 0) FROM dead"
"""Dead letters that were there before they were limited stay until they are purged."""


class NewerLayoutError(sqlite3.OperationalError):
    """Raised for the state of a later version, which is left as it is."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring those of an earlier version up to date.

    Raises:
        sqlite3.Error: If that fails, or the file is no state.
        NewerLayoutError: If a later version has written it.
    """
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout == LAYOUT:
        return
    if layout > LAYOUT:
        raise NewerLayoutError(f"the layout is {layout}, and this version reads up to {LAYOUT}")
    if layout == 1:
        raise sqlite3.DatabaseError("the layout is none that was ever released")
    connection.executescript("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != LAYOUT:
            _change(connection, layout)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _change(connection: sqlite3.Connection, layout: int) -> None:
    if layout == 2:
        connection.execute("ALTER TABLE leaves ADD COLUMN lane TEXT")
        connection.execute("ALTER TABLE leaves ADD COLUMN gone INT DEFAULT 0")
        connection.execute("ALTER TABLE dead ADD COLUMN target TEXT")
        for index, label in enumerate(outcome.label for outcome in Outcome):
            connection.execute("UPDATE dead SET own = ? WHERE own = ?", (label, index))
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    if layout:
        connection.execute(_SPARE)
    connection.execute(f"PRAGMA user_version = {LAYOUT}")
