"""The command `emit`: one event through the config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from eventtracking import Counts, Tracker
from eventtracking_cli._counts import failures_since, plain_counts, reasons, show_counts
from eventtracking_cli._documents import describe_json_error
from eventtracking_cli._interrupt import Interrupt, catching_interrupts, closing, drain
from eventtracking_cli._terminal import describe_error
from eventtracking_cli.config import config_option, load_tracker
from eventtracking_cli.logs import log_option, logging_to
from eventtracking_cli.output import json_option, print_json, printable, warn

__all__ = ["emit_command", "open_all", "report", "timeout_option", "warn_of_rest"]

timeout_option = click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="How long to wait at the end for what routers hold.",
)
"""Add `--timeout SECONDS` to a command; its function is given `timeout_s`."""


def _json_object(ctx: click.Context, param: click.Parameter, value: str) -> dict[str, Any]:
    """Parse a JSON object from the command line."""
    try:
        parsed = json.loads(value)
    except (RecursionError, ValueError) as error:
        reason = (
            describe_json_error(error)
            if isinstance(error, json.JSONDecodeError)
            else type(error).__name__
        )
        raise click.BadParameter(f"it is not JSON: {reason}", ctx, param) from error
    if not isinstance(parsed, dict):
        raise click.BadParameter("expected a JSON object, such as '{\"user_id\": 5}'", ctx, param)
    return parsed


@click.command("emit", short_help="Send one event through the config.")
@click.argument("name")
@click.option(
    "--data",
    callback=_json_object,
    default="{}",
    metavar="JSON",
    help="What happened, a JSON object.",
)
@click.option(
    "--context", callback=_json_object, default="{}", metavar="JSON", help="Where, a JSON object."
)
@config_option
@timeout_option
@log_option
@json_option
@click.pass_context
def emit_command(
    ctx: click.Context,
    name: str,
    data: Mapping[str, Any],
    context: Mapping[str, Any],
    config_path: str,
    timeout_s: float,
    log_path: str | None,
    as_json: bool,
) -> None:
    """Emit one event called NAME through the config, and print its outcome on each route.

    A disk buffer remembers its counts, so those of earlier events are in them.
    """
    if not name:
        raise click.BadParameter("the name of an event must not be empty", ctx, param_hint="NAME")
    with (
        catching_interrupts() as interrupt,
        logging_to(log_path),
        closing(load_tracker(config_path), interrupt) as tracker,
    ):
        before = open_all(tracker, interrupt)
        with tracker.context(context):
            tracker.emit(name, data)
        finished = drain(tracker, timeout_s, interrupt)
        report(tracker, as_json)
        failed = failures_since(before, tracker.stats())
    if interrupt.is_set:
        warn("interrupted")
    if not finished:
        warn_of_rest(timeout_s, interrupt)
    if failed or not finished or interrupt.is_set:
        ctx.exit(1)


def open_all(tracker: Tracker, interrupt: Interrupt) -> dict[str, Counts]:
    """Open every backend, say which cannot be, and return the counts before any event; the others
    are used all the same.

    Raises:
        KeyboardInterrupt: At Ctrl-C.
    """
    for path, error in interrupt.wait_for(tracker.open).items():
        warn(f"the backend at {path!r} cannot be opened: {describe_error(error)}")
    return tracker.stats()


def warn_of_rest(timeout_s: float, interrupt: Interrupt) -> None:
    """Say that some events were not delivered."""
    within = "" if interrupt.is_set else f" within {timeout_s:g} s"
    warn(f"not everything was delivered{within}; see `pending`")


def report(tracker: Tracker, as_json: bool) -> None:
    """Print the counts of every route, and the reasons."""
    stats = tracker.stats()
    if as_json:
        print_json(plain_counts(stats))
        return
    show_counts(stats)
    for line in reasons(stats):
        click.echo(printable(line))
