"""The commands `top` and `tap`."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from eventtracking import Tracker
from eventtracking_cli.config import config_option, load_tracker
from eventtracking_cli.output import json_option, print_json, printable
from eventtracking_live.client import Picture, connection, take_picture
from eventtracking_live.folder import living_sockets
from eventtracking_live.observer import LiveObserver
from eventtracking_live.table import SORTS, head, render, rows_of

__all__ = ["tap", "top"]

_QUIET_S: Final = 10.0
"""A process that sends nothing for so long has gone: a quiet tap says so every second."""


def folder_of(tracker: Tracker) -> Path:
    """Return the folder of the config's observer `live`, else the usual one."""
    for observer in tracker.observers():
        if isinstance(observer, LiveObserver):
            return observer.sockets
    return LiveObserver().sockets


@click.command("top")
@config_option
@json_option
@click.option(
    "--interval", "interval_s", type=click.FloatRange(0.1), default=2.0, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
@click.option("--sort", type=click.Choice(SORTS), default="tree", show_default=True)
@click.option("--filter", "search", default="", help="Only routes whose path has this text.")
def top(config_path: str, as_json: bool, interval_s: float, sort: str, search: str) -> None:
    """Show how the routes stand, over all processes; buffers on disk even if none is alive.

    At a pipe it prints one table.
    """
    tracker = load_tracker(config_path)
    folder = folder_of(tracker)

    def take() -> Picture:
        return take_picture(folder, tracker)

    if sys.stdout.isatty() and not as_json:
        from eventtracking_live.screen import run

        run(take, interval_s)
        return
    _print_once(take, interval_s, as_json, sort, search)


def _print_once(
    take: Callable[[], Picture], interval_s: float, as_json: bool, sort: str, search: str
) -> None:
    before, began = take(), time.monotonic()
    time.sleep(interval_s)
    picture = take()
    rows = rows_of(picture, before, time.monotonic() - began, sort, search)
    if as_json:
        fields = ("in_per_s", "out_per_s", "pending", "oldest_s", "failed", "dead", "missing")
        routes = [
            {"route": row.path, **dict(zip(fields, row.numbers, strict=True)), "note": row.note}
            for row in rows
        ]
        print_json({"processes": [one.pid for one in picture.processes], "routes": routes})
        return
    click.echo(head(picture))
    for line in render(rows):
        click.echo(printable(line))


def _field(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Any:
    pairs = {}
    for value in values:
        path, sign, expected = value.partition("=")
        if not sign or not path:
            raise click.BadParameter(f"{value!r} is not PATH=VALUE, such as user_id=7")
        pairs[path] = expected
    return pairs


@click.command("tap")
@config_option
@click.argument("route", default="")
@click.option("--before", is_flag=True, help="As events come, before the route's processors.")
@click.option("--name", default="", help="Only this name; edx.* stands for all that begin so.")
@click.option("--field", "fields", multiple=True, callback=_field, help="Only PATH=VALUE.")
@click.option("--limit", type=click.IntRange(1), help="End after so many events.")
@json_option
def tap(
    config_path: str,
    route: str,
    before: bool,
    name: str,
    fields: dict[str, str],
    limit: int | None,
    as_json: bool,
) -> None:
    """Show the events that pass ROUTE now, in all processes, with the outcome of each.

    Without ROUTE, all events. At most 100 a second of each process; the number that was skipped is
    told. Processors that redact are applied.
    """
    sockets = living_sockets(folder_of(load_tracker(config_path)))
    if not sockets:
        raise click.ClickException(
            'no living process with the observer live; add [[observers]] plugin = "live"'
        )
    request = {"ask": "tap", "route": route, "before": before, "name": name, "fields": fields}
    shown, skipped = 0, {}
    with suppress(KeyboardInterrupt):
        for source, message in _messages(sockets, request):
            if "error" in message:
                raise click.ClickException(printable(message["error"]))
            skipped[source] = message["skipped"]
            for event in message["events"][: None if limit is None else limit - shown]:
                shown += 1
                _print_event(event, as_json)
            if limit is not None and shown >= limit:
                break
    _tell_skipped(shown, sum(skipped.values()))


def _tell_skipped(shown: int, skipped: int) -> None:
    click.echo(f"{shown} events shown, {skipped} skipped", err=True)


def _messages(sockets: list[Path], request: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yield the messages of the processes as they come, until all have gone."""
    arrivals: queue.Queue[tuple[Path, Any]] = queue.Queue(maxsize=100)

    def read(path: Path) -> None:
        try:
            with connection(path, request, _QUIET_S) as lines:
                for line in lines:
                    arrivals.put((path, msgspec.json.decode(line)))
        except (OSError, ValueError):
            pass
        arrivals.put((path, None))

    for path in sockets:
        threading.Thread(target=read, args=(path,), daemon=True).start()
    living = len(sockets)
    while living:
        source, message = arrivals.get()
        if message is None:
            living -= 1
        else:
            yield source, message


def _print_event(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(printable(msgspec.json.encode(event).decode()))
        return
    data = msgspec.json.encode(event.get("data", {})).decode()
    line = f"{event['timestamp']}  {event['outcome']:<13} {event['name']}  {data}"
    click.echo(printable(line))
