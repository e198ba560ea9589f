"""The commands that this plugin adds to `eventtracking`: `worker` and `celery-dead-letters`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from eventtracking.errors import ConfigError, DeliveryError
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_buffer.selecting import json_option, selecting
from eventtracking_cli.config import ConfigFailure, config_option, load_config, load_tracker

__all__ = ["dead_letters", "worker"]


@click.command("worker", context_settings={"ignore_unknown_options": True})
@config_option
@click.option("--route", metavar="PATH", help="The async_celery router to work for, if they have several brokers.")
@click.option("-q", "--queue", "queues", metavar="NAME", multiple=True, help="Read only this queue; may be repeated.")
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(config_path: str, route: str | None, queues: tuple[str, ...], celery_options: tuple[str, ...]) -> None:
    """Start a Celery worker that delivers what async_celery routers send.

    Further options go to `celery worker`: --concurrency 4 --pool prefork --loglevel info.
    """
    load_config(config_path)
    app = _load_app(config_path, route)
    chosen = ["--queues", ",".join(queues)] if queues else []
    # Two workers of one name, on one broker, shut each other out; Celery's own default is the same for all of a machine.
    name = ["--hostname", f"eventtracking-{os.getpid()}@%h"]
    sys.exit(app.worker_main(["worker", *name, *chosen, *celery_options]) or 0)


def _load_app(config_path: str, route: str | None) -> Any:
    from eventtracking_async_celery.startup import CONFIG_VARIABLE, ROUTE_VARIABLE

    os.environ[CONFIG_VARIABLE] = config_path  # Celery may start other processes, which read it again
    if route is not None:
        os.environ[ROUTE_VARIABLE] = route
    try:
        from eventtracking_async_celery.worker import app
    except ConfigError as error:
        raise ConfigFailure(error, config_path) from error
    return app


class _Group(click.Group):
    """Says what the broker refused, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except DeliveryError as error:
            raise click.ClickException(str(error)) from error


@click.group("celery-dead-letters", cls=_Group)
def dead_letters() -> None:
    """List, show, replay or purge what workers could not deliver."""


@dead_letters.command("list")
@selecting
@json_option
def list_letters(config_path: str, as_json: bool, **filters: Any) -> None:
    """Print a line for each: number, when, where, event id, name, attempts, reason."""
    found = [_summary(letter) for letter in _letters(config_path, Selection(**filters))]
    if as_json:
        _print_json(found)
        return
    for summary in found:
        click.echo("\t".join(str(value) for value in summary.values()))


@dead_letters.command("show")
@config_option
@click.argument("which", metavar="NUMBER|EVENT_ID")
def show(config_path: str, which: str) -> None:
    """Print a dead letter whole, with its event, as JSON. It may hold personal data."""
    chosen = Selection(numbers=frozenset([int(which)])) if which.isdigit() else Selection(event_id=which)
    found = _letters(config_path, chosen)
    if not found:
        raise click.ClickException(
            f"there is no dead letter {which!r}; `eventtracking celery-dead-letters list` shows them"
        )
    for letter in found:
        _print_json({**_summary(letter), "event": msgspec.json.decode(letter.event.to_json())})


def _letters(config_path: str, selection: Selection) -> list[DeadLetter]:
    return [letter for router in _routers(config_path) for letter in router.dead_letters(selection)]


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "last_failed": letter.last_failed.isoformat(timespec="seconds"),
        "first_failed": letter.first_failed.isoformat(timespec="seconds"),
        "route": letter.route,
        "id": letter.event.id,
        "name": letter.event.name,
        "attempts": letter.attempts,
        "reason": letter.reason,
    }


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@dead_letters.command("replay")
@selecting
def replay(config_path: str, **filters: Any) -> None:
    """Send dead letters to the workers again."""
    count = sum(router.replay(Selection(**filters)) for router in _routers(config_path))
    click.echo(f"{count} events go to the workers again")


@dead_letters.command("purge")
@selecting
@click.confirmation_option(prompt="Delete them for good?")
def purge(config_path: str, **filters: Any) -> None:
    """Delete dead letters for good."""
    count = sum(router.purge(Selection(**filters)) for router in _routers(config_path))
    click.echo(f"{count} dead letters are deleted")


def _routers(config_path: str) -> Iterator[Any]:
    """The routers of a config, one after the other; what the broker refuses ends the command."""
    from eventtracking_async_celery.registry import owners_in

    with load_tracker(config_path) as tracker:
        found = owners_in(tracker)
        if not found:
            raise click.ClickException(f"{config_path} names no async_celery router")
        yield from found
