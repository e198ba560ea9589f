"""The commands that this plugin adds to `eventtracking`: `buffer status`, and `dead-letters`."""

from __future__ import annotations

import getpass
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import attrs
import click

from eventtracking import Tracker
from eventtracking_buffer.cli.listing import (
    Row,
    check_route,
    print_list,
    print_whole,
    row_of,
    selection_of,
)
from eventtracking_buffer.cli.selecting import selecting
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_buffer.disk.inspection import BufferOnDisk, Status, buffers_in
from eventtracking_buffer.disk.lock import SILENT_S
from eventtracking_cli.config import config_option, load_spec, load_tracker
from eventtracking_cli.logs import logging_to
from eventtracking_cli.output import json_option, print_json, printable

__all__ = ["buffer", "dead_letters"]

_POLL_S: Final = 0.1


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay or purge what buffers on disk could not deliver."""


@dead_letters.command("list")
@selecting
@json_option
def list_letters(config_path: str, as_json: bool, **filters: Any) -> None:
    """Print a line for each: buffer and number, when, where, event id, name, attempts, reason."""
    print_list(
        [one for one, _ in _found(_on_disk(config_path, filters["route"]), Selection(**filters))],
        as_json,
    )


@dead_letters.command("show")
@config_option
@click.argument("which", metavar="NUMBER|EVENT_ID")
def show(config_path: str, which: str) -> None:
    """Print a dead letter with its event, as JSON, redacted as the config says.

    Without a processor that redacts, it may hold personal data.
    """
    found = _found(_on_disk(config_path), selection_of(which))
    print_whole(found, which, "dead-letters", config_path)


@dead_letters.command("replay")
@selecting
@click.option(
    "--number", "numbers", type=int, multiple=True, help="Only this one; may be repeated."
)
@click.option("--to", "target", metavar="ROUTE", help="Deliver them to this route instead.")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=60.0,
    show_default=True,
    help="How long to wait, in seconds.",
)
def replay(
    config_path: str, numbers: tuple[int, ...], target: str | None, timeout_s: float, **filters: Any
) -> None:
    """Deliver dead letters once more. Each stays one until it has arrived."""
    selection = Selection(**filters, numbers=frozenset(numbers) or None)
    found = {one: _letters(one, selection) for one in _on_disk(config_path, filters["route"])}
    meant = {one: letters for one, letters in found.items() if letters}
    for one in meant if meant or target is None else found:  # before anything is asked for
        if target is not None:
            check_route(target, one.lanes)
    for one in meant:
        with _readable(one):
            _ask(one, selection, "replay", target)
    _have_served(config_path, list(meant), timeout_s)
    left = sum(
        len({letter.number for letter in _letters(one, selection)} & {x.number for x in letters})
        for one, letters in meant.items()
    )
    total = sum(map(len, meant.values()))
    click.echo(f"{total} replayed: {total - left} arrived, {left} are still dead letters")
    if left:
        raise SystemExit(1)


@dead_letters.command("purge")
@selecting
@click.confirmation_option(prompt="Give them up for good?")
def purge(config_path: str, **filters: Any) -> None:
    """Delete dead letters for good; they count as failed."""
    selection = Selection(**filters)
    count = 0
    buffers = _on_disk(config_path, filters["route"])
    for one in buffers:
        with _readable(one):
            count += _ask(one, selection, "purge")
    _have_served(config_path, buffers if count else [], 60.0)
    click.echo(f"{count} dead letters are deleted")


def _ask(one: BufferOnDisk, selection: Selection, wanted: str, target: str | None = None) -> int:
    """Freeze the dead letters that are meant and use the selection at once; return how many.

    So the history of the store names who asked, as it does for a console.
    """
    name, who = uuid.uuid4().hex, f"command line ({_user()})"
    meant = [letter.number for letter in one.dead_letters(selection) if not letter.replaying]
    if not meant or not one.freeze(name, meant, who):
        return 0
    taken, _ = one.use(name, wanted, who, target)
    return len(taken)


def _user() -> str:
    try:
        return getpass.getuser()
    except Exception:  # noqa: BLE001 - KeyError or OSError, by version: a container may have no name for it
        return f"user {os.getuid()}"


def _have_served(config_path: str, buffers: Sequence[BufferOnDisk], timeout_s: float) -> None:
    """Wait until the process that delivers has done what was asked; where there is none, be that
    process meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    tracker = None
    with ExitStack() as opened:
        while any(one.unserved() for one in buffers) and time.monotonic() < deadline:
            if tracker is None and any(one.deliverer() is None for one in buffers):
                tracker = opened.enter_context(_deliverer(config_path, deadline))
            time.sleep(_POLL_S)


@contextmanager
def _deliverer(config_path: str, deadline: float) -> Iterator[Tracker]:
    """Be a process that delivers, until the end of the block; what it logs is shown, as the plugin
    logger delivers so.
    """
    with logging_to(None):
        tracker = load_tracker(config_path)
        try:
            tracker.open()
            yield tracker
        finally:
            tracker.close(max(deadline - time.monotonic(), 0.0))


@click.group("buffer")
def buffer() -> None:
    """Look into buffers on disk."""


@buffer.command("retire")
@config_option
@click.argument("route")
def retire(config_path: str, route: str) -> None:
    """Make dead letters of the events that wait for a ROUTE that is gone from the config."""
    buffers = _on_disk(config_path)
    count = 0
    for one in buffers:
        with _readable(one):
            if route in one.waiting_routes():
                count += one.retire(route)
    if not count:
        raise click.ClickException(
            f"no event waits for {route!r} outside of the config; `eventtracking buffer status`"
            " shows what waits"
        )
    _have_served(config_path, buffers, 60.0)
    click.echo(f"{count} events are dead letters now")


@buffer.command("status")
@config_option
@json_option
@click.option(
    "--interval",
    "interval_s",
    type=float,
    default=1.0,
    show_default=True,
    help="Over how many seconds to measure the rate.",
)
def status(config_path: str, as_json: bool, interval_s: float) -> None:
    """Tell for each buffer on disk what waits, since when, how fast it goes, what fails, and who
    delivers.
    """
    on_disk, in_memory = buffers_in(load_spec(config_path))
    before = {one.route: _settled(one) for one in on_disk}
    time.sleep(interval_s if any(count is not None for count in before.values()) else 0.0)
    found = [(one, before[one.route], _status(one)) for one in on_disk]
    if as_json:
        print_json([_status_row(one, old, new, interval_s) for one, old, new in found])
        return
    for one, old, new in found:
        click.echo(
            printable(_in_words(one, _status_row(one, old, new, interval_s)), keep_lines=True)
        )
    for route in in_memory:
        click.echo(
            printable(f"{route}: in memory; only the process that has it can tell (Tracker.stats)")
        )
    if not on_disk and not in_memory:
        click.echo("the config names no buffer")


def _status(one: BufferOnDisk) -> Status | None:
    with _readable(one):
        return one.status()


def _settled(one: BufferOnDisk) -> int | None:
    with _readable(one):
        return one.settled()


def _status_row(
    one: BufferOnDisk, settled_before: int | None, new: Status | None, interval_s: float
) -> dict[str, Any]:
    if new is None:
        return {"route": one.route, "folder": str(one.folder), "used": False}
    done = new.counts.settled - (settled_before or 0)
    counts = attrs.asdict(new.counts)
    return {
        "route": one.route,
        "folder": str(one.folder),
        "used": True,
        **counts,
        "pending_bytes": new.pending_bytes,
        "oldest_s": None if new.oldest_s is None else round(new.oldest_s, 1),
        "events_per_second": round(done / interval_s, 1) if interval_s > 0 else None,
        "deliverer": new.deliverer,
        "failing": [attrs.asdict(leaf) for leaf in new.failing],
        "letters": new.dead_letters,
        "waiting_for_lost_routes": _waiting(one),
    }


def _waiting(one: BufferOnDisk) -> dict[str, int]:
    with _readable(one):
        return one.waiting_routes()


def _in_words(one: BufferOnDisk, row: dict[str, Any]) -> str:
    if not row["used"]:
        return f"{one.route}: never used ({one.folder})"
    deliverer = row["deliverer"]
    who = (
        "nobody; the next process that opens it will"
        if deliverer is None
        else f"process {deliverer.get('pid', '?')} on {deliverer.get('host', '?')}"
    )
    if deliverer is not None and deliverer.get("silent_s", 0.0) > SILENT_S:
        who += f", which gave no sign of life for {deliverer['silent_s']:.0f} s"
    rate = "" if row["events_per_second"] is None else f", {row['events_per_second']} events/s"
    lines = [
        f"{one.route}: {row['pending']} pending{_how_much(row)}{rate}",
        (
            f"  received {row['received']}, delivered {row['delivered']}, filtered"
            f" {row['filtered']}, failed {row['failed']}, dead letters {row['letters']}"
        ),
        f"  delivered by {who}",
        *(
            f"  {_trouble(leaf)} ({leaf['error']}), next attempt in"
            f" {leaf['next_attempt_in_s']:.1f} s"
            for leaf in row["failing"]
        ),
        *(
            f"  {count} wait for {lane}, which is not in the config; `buffer retire {lane}` makes"
            " dead letters of them"
            for lane, count in row["waiting_for_lost_routes"].items()
        ),
        *(f"  {count} x {reason}" for reason, count in row["reasons"].items()),
    ]
    return "\n".join(lines)


def _trouble(leaf: Mapping[str, Any]) -> str:
    """Name a destination that fails, or that asked for a pause, which is no failure."""
    if not leaf["failures"]:
        return f"paused: {leaf['route']}"
    return f"failing: {leaf['route']}, {leaf['failures']} times in a row"


def _how_much(row: dict[str, Any]) -> str:
    """Tell the bytes and the age of what waits."""
    size = [f"{row['pending_bytes']} bytes"]
    age = [] if row["oldest_s"] is None else [f"the oldest for {row['oldest_s']} s"]
    return f" ({', '.join(size + age)})"


def _on_disk(config_path: str, route: str | None = None) -> list[BufferOnDisk]:
    """Return the buffers on disk; refuse a route that is not below one of them, unless a dead
    letter remembers it.
    """
    found, in_memory = buffers_in(load_spec(config_path))
    if not found:
        where = "; those in memory end with their process" if in_memory else ""
        raise click.ClickException(f'{config_path} names no buffer with storage = "disk"{where}')
    if route is not None:
        letters = (
            letter.route for one in found for letter in _letters(one, Selection(route=route))
        )
        check_route(route, [*(leaf for one in found for leaf in one.lanes), *letters])
    return found


def _found(buffers: Sequence[BufferOnDisk], selection: Selection) -> list[tuple[Row, DeadLetter]]:
    return [
        (row_of(letter, buffer=one.route), letter)
        for one in buffers
        for letter in _letters(one, selection)
    ]


def _letters(one: BufferOnDisk, selection: Selection) -> list[DeadLetter]:
    with _readable(one):
        return one.dead_letters(selection)


@contextmanager
def _readable(one: BufferOnDisk) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(
            f"the buffer {one.route!r} in {one.folder} cannot be read: {error}"
        ) from error
