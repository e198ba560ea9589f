"""The commands that this plugin adds to `eventtracking`: `worker` and `celery-dead-letters`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from eventtracking.errors import ConfigError, DeliveryError
from eventtracking.tracker import DEFAULT_NAME, Tracker, register_tracker
from eventtracking_buffer.cli.listing import (
    check_route,
    print_list,
    print_whole,
    row_of,
    selection_of,
)
from eventtracking_buffer.cli.selecting import json_option, selecting
from eventtracking_buffer.dead_letters import DeadLetter, Selection
from eventtracking_cli.config import ConfigFailure, config_option, load_config, load_tracker

__all__ = ["dead_letters", "worker"]


_SHIELD: Final = "\0"
"""Before an option that is Celery's: no argument of a command begins with it."""
_DETACHING: Final = frozenset({"-D", "--detach"})


class _WorkerCommand(click.Command):
    """Keeps click from finding an option of ours, `-c` or `-q`, within one of Celery's, such as
    `-lcritical`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options apart."""
        own = {option[:2] for parameter in self.params for option in parameter.opts}
        return super().parse_args(ctx, [arg if arg[:2] in own else _shielded(arg) for arg in args])


def _shielded(arg: str) -> str:
    return f"{_SHIELD}{arg}" if len(arg) > 2 and arg.startswith("-") else arg


@click.command("worker", cls=_WorkerCommand, context_settings={"ignore_unknown_options": True})
@config_option
@click.option(
    "--route",
    metavar="PATH",
    help="The async_celery router to work for, if they have several brokers.",
)
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    help="Read only this queue; may be repeated.",
)
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(
    config_path: str, route: str | None, queues: tuple[str, ...], celery_options: tuple[str, ...]
) -> None:
    """Start a Celery worker that delivers what async_celery routers send.

    Further options go to `celery worker`: --concurrency 4 --pool prefork --loglevel info.
    """
    passed_on = [option.removeprefix(_SHIELD) for option in celery_options]
    if not _DETACHING.isdisjoint(passed_on):
        raise click.UsageError(
            "a worker cannot detach itself: Celery would start it anew without the config; leave"
            " --detach out, and let the init system, or `nohup ... &`, keep it in the background"
        )
    _prepare(config_path, route, queues)
    chosen = ["--queues", ",".join(queues)] if queues else []
    # Two workers of one name, on one broker, shut each other out; Celery's own default is the same
    # for all of a machine.
    name = ["--hostname", f"eventtracking-{os.getpid()}@%h"]
    _become(["worker", *name, *chosen, *passed_on])


def _prepare(config_path: str, route: str | None, queues: tuple[str, ...]) -> None:
    """Tell the Celery app which config and route are meant, and see that it can be made."""
    from eventtracking_async_celery.startup import CONFIG_VARIABLE, ROUTE_VARIABLE, choose_app

    os.environ[CONFIG_VARIABLE] = str(Path(config_path).absolute())
    os.environ.pop(ROUTE_VARIABLE, None)
    if route is not None:
        os.environ[ROUTE_VARIABLE] = route
    tracker = Tracker()
    config = load_config(config_path)
    try:
        tracker.configure(config, partly=True)
        app = choose_app(tracker, route)
    except ConfigError as error:
        raise ConfigFailure(error, config_path) from error
    known = [queue.name for queue in app.conf.task_queues]
    for queue in queues:
        if queue not in known:
            raise click.UsageError(
                f"--queue: found {queue!r}, expected a queue of this config: {', '.join(known)}"
            )


def _become(arguments: list[str]) -> None:
    """Replace this process by Celery's own command.

    So its exit status is Celery's, and gevent and eventlet can patch the standard library before
    anything else is imported.
    """
    script = str(Path(__file__).with_name("launch.py"))
    command = [sys.executable, script, "-A", "eventtracking_async_celery.worker"]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*command, *arguments])  # noqa: S606 - our own interpreter


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


_tracker_option = click.option(
    "--tracker",
    metavar="NAME",
    default=DEFAULT_NAME,
    show_default=True,
    help="Under which name the application registers the tracker of this config.",
)


@dead_letters.command("list")
@selecting
@_tracker_option
@json_option
def list_letters(config_path: str, tracker: str, as_json: bool, **filters: Any) -> None:
    """Print a line for each: number, when, where, event id, name, attempts, reason."""
    print_list(
        [row_of(letter) for letter in _letters(config_path, tracker, Selection(**filters))], as_json
    )


@dead_letters.command("show")
@config_option
@_tracker_option
@click.argument("which", metavar="NUMBER|EVENT_ID")
def show(config_path: str, tracker: str, which: str) -> None:
    """Print a dead letter with its event, as JSON, redacted as the config says.

    Without a processor that redacts, it may hold personal data.
    """
    found = [
        (row_of(letter), letter) for letter in _letters(config_path, tracker, selection_of(which))
    ]
    print_whole(found, which, "celery-dead-letters", config_path)


def _letters(config_path: str, tracker: str, selection: Selection) -> list[DeadLetter]:
    return [
        letter
        for router in _routers(config_path, tracker, selection)
        for letter in router.dead_letters(selection)
    ]


@dead_letters.command("replay")
@selecting
@_tracker_option
def replay(config_path: str, tracker: str, **filters: Any) -> None:
    """Send dead letters to the workers again."""
    selection = Selection(**filters)
    count = sum(router.replay(selection) for router in _routers(config_path, tracker, selection))
    click.echo(f"{count} events go to the workers again")


@dead_letters.command("purge")
@selecting
@_tracker_option
@click.confirmation_option(prompt="Delete them for good?")
def purge(config_path: str, tracker: str, **filters: Any) -> None:
    """Delete dead letters for good."""
    selection = Selection(**filters)
    count = sum(router.purge(selection) for router in _routers(config_path, tracker, selection))
    click.echo(f"{count} dead letters are deleted")


def _routers(config_path: str, name: str, selection: Selection) -> Iterator[Any]:
    """The routers of a config, one after the other; what the broker refuses ends the command.

    Args:
        config_path: The file.
        name: That of the tracker, in the application, whose dead letters are meant.
        selection: Which are meant; a route that there is not is refused.
    """
    from eventtracking_async_celery.registry import owners_in

    with load_tracker(config_path) as tracker:
        if name != DEFAULT_NAME:
            register_tracker(tracker, name)
        found = owners_in(tracker)
        if not found:
            raise click.ClickException(f"{config_path} names no async_celery router")
        check_route(
            selection.route, [leaf for router in found for leaf in router.downstream.leaves]
        )
        yield from found
