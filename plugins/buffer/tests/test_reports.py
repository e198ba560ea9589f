"""Reports of lanes that have to wait for each other become rows that agree."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eventtracking import Event, Outcome, Tracker
from eventtracking_buffer import codec
from eventtracking_buffer._disk import DiskStore
from eventtracking_buffer._item import Item
from eventtracking_buffer._journal import JournalWriter
from eventtracking_buffer._lane import Report
from eventtracking_buffer._records import EVENT, frame
from eventtracking_buffer._state import State


def test_reports_of_one_leaf_that_waited_together(tmp_path: Path) -> None:
    """A retry and its success, written in one transaction, leave no row of the retry behind."""
    leaves = {name: {"plugin": "rec", "key": name} for name in "pq"}
    tracker = Tracker.from_config({"backends": {"b": {"plugin": "buffer", "backends": leaves}}})
    downstream = tracker.downstream("b")
    writer = JournalWriter(tmp_path, synced=False)
    events = [Event(name="x") for _ in range(3)]
    for event in events:
        writer.append(frame(codec.encode(event), EVENT, 0.0))
    state = State(tmp_path / "state.db", synced=False)
    store = DiskStore(tmp_path, downstream, state, lambda text, count: None)
    store.take_over({})
    p, q = store.take("b/p", 10, 1 << 20), store.take("b/q", 10, 1 << 20)

    def deliver(leaf: str, items: Sequence[Item]) -> dict[str, Outcome]:
        first = not items[0].had
        return downstream.deliver([item.event for item in items], only={leaf}, first=first).finished

    deliver("b/p", p)  # p has delivered all three, and has not reported yet
    store.report(Report("b/q", done=q[:2], again=q[2:], finished=deliver("b/q", q[:2])))
    q[2].had = False
    store.report(Report("b/q", done=q[2:], finished=deliver("b/q", q[2:])))
    assert rows(state, "counts", {"b"}) == []
    store.report(Report("b/p", done=p))
    assert rows(state, "retries") == []
    assert rows(state, "progress") == []
    assert rows(state, "counts", {"b"}) == [("b", "delivered", 3)]
    store.close()
    state.close()
    writer.close()


def rows(state: State, table: str, paths: Collection[str] | None = None) -> list[tuple[Any, ...]]:
    found = state.rows(f"SELECT * FROM {table}")
    return [row for row in found if paths is None or row[0] in paths]
