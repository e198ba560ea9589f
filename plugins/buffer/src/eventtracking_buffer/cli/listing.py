"""How a command line shows dead letters; the same wherever they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import click

from eventtracking.config.words import did_you_mean
from eventtracking.shown import processors_on_the_way, shown
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_cli.config import load_tracker
from eventtracking_cli.output import print_json, printable

__all__ = ["Row", "check_route", "print_list", "print_whole", "row_of", "selection_of"]

Row = dict[str, Any]
"""What a line says of a dead letter, by heading."""

_MAX_NUMBER_DIGITS: Final = 18


def row_of(letter: DeadLetter, **place: object) -> Row:
    """Describe a dead letter without its payload.

    Args:
        letter: The dead letter.
        place: What stands before it: where it is kept, if there are several places.
    """
    return {
        **place,
        "number": letter.number,
        "last_failed": letter.last_failed.isoformat(timespec="seconds"),
        "first_failed": letter.first_failed.isoformat(timespec="seconds"),
        "route": letter.route,
        "id": letter.event.id,
        "name": letter.event.name,
        "attempts": letter.attempts,
        "reason": letter.reason,
    }


def print_list(rows: Sequence[Row], as_json: bool) -> None:
    """Print a line for each, its values apart by tabs, or all of them as JSON.

    That there is none is said on the standard error.
    """
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no dead letters", err=True)
    else:
        for one in rows:
            click.echo("\t".join(map(printable, one.values())))


def selection_of(which: str) -> Selection:
    """Read how a user names one dead letter: by its number, or by the id of its event."""
    if which.isdecimal() and len(which) <= _MAX_NUMBER_DIGITS:
        return Selection(numbers=frozenset([int(which)]))
    return Selection(event_id=which)


def print_whole(
    found: Sequence[tuple[Row, DeadLetter]], which: str, command: str, config_path: str
) -> None:
    """Print dead letters with their events, as JSON; processors with `shown` redact them.

    Args:
        found: The dead letters, each with what a line says of it.
        which: How the user named them.
        command: The group of commands, whose `list` shows what there is.
        config_path: The config, whose routes name the processors.

    Raises:
        click.ClickException: If there is none.
    """
    if not found:
        raise click.ClickException(
            f"there is no dead letter {which!r}; `eventtracking {command} list` shows them"
        )
    routes = load_tracker(config_path).routes()
    for one, letter in found:
        processors = processors_on_the_way(routes, letter.route)
        print_json({**one, "event": shown(letter.event, processors)})


def check_route(route: str | None, leaves: Iterable[str]) -> None:
    """Refuse a route that no dead letter can be at.

    Args:
        route: What the user gave as `--route`, if anything.
        leaves: The paths where events may die; the routes above them are meant too.

    Raises:
        click.BadParameter: If it is none of them.
    """
    known = list(dict.fromkeys(path for leaf in leaves for path in _with_parents(leaf)))
    if route is not None and route not in known:
        hint = did_you_mean(route, known)
        text = (
            f"there is no route {route!r}; there are"
            f" {', '.join(known) or 'none'}{f'; {hint}' if hint else ''}"
        )
        raise click.BadParameter(printable(text), param_hint="--route")


def _with_parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))
