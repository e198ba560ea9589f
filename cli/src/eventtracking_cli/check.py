"""The command `check`: every problem of the config at once, and whether its backends can
be opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from rich.text import Text

from eventtracking import ConfigError, Problem, Tracker
from eventtracking.config import RouteSpec, Spec, advice, parse
from eventtracking_cli._terminal import describe_error, show, show_table
from eventtracking_cli.config import config_option, load_config
from eventtracking_cli.logs import logging_to
from eventtracking_cli.output import json_option, print_json, printable

__all__ = ["check_command"]

_CLOSE_TIMEOUT_S: Final = 1.0
"""For backends that were opened only to see whether they can be."""


@click.command("check")
@config_option
@click.option(
    "--connect",
    is_flag=True,
    help=(
        "Open the backends too, see that what they need is there, and report each. Routers may"
        " deliver what they hold."
    ),
)
@click.option("--strict", is_flag=True, help="Let a warning be a problem.")
@json_option
@click.pass_context
def check_command(
    ctx: click.Context, config_path: str, connect: bool, strict: bool, as_json: bool
) -> None:
    """Check the config; report all its problems at once.

    Exit status 1 if there is one. A warning is about an allowed setting that is likely a mistake.
    """
    config = load_config(config_path)
    try:
        spec = parse(config)
    except ConfigError as error:
        _report(config_path, error.problems, (), None, as_json)
        ctx.exit(1)
    warnings = [*advice(spec), *_advice_of_processors(config)]
    opened = _open(config) if connect else None
    _report(config_path, (), warnings, opened, as_json)
    failed = [route for route, error in (opened or {}).items() if error]
    if not as_json:
        _conclude(config_path, spec, failed)
    if (strict and warnings) or failed:
        ctx.exit(1)


def _advice_of_processors(config: Mapping[str, Any]) -> list[Problem]:
    """Ask each processor that has advice about the whole tree; nothing is opened."""
    found: dict[Problem, None] = {}
    with Tracker.from_config(config) as tracker:
        for view in tracker.routes():
            for processor in view.processors:
                try:
                    found |= dict.fromkeys(getattr(processor, "advice", _no_advice)(tracker))
                except Exception as error:  # noqa: BLE001 - advice must not hide that the config is sound
                    text = f"{type(processor).__name__} cannot advise ({describe_error(error)})"
                    found[Problem(path=view.path, message=text)] = None
    return list(found)


def _no_advice(_tracker: Tracker) -> tuple[Problem, ...]:
    return ()


def _open(config: Mapping[str, Any]) -> dict[str, str]:
    """Open each backend; return the error of each route with one, or nothing."""
    with logging_to(None):  # routers may deliver meanwhile, to the plugin logger too
        tracker = Tracker.from_config(config)
        try:
            errors = tracker.probe()
        finally:
            tracker.close(_CLOSE_TIMEOUT_S)
    leaves = [route for route in _routes(parse(config).routes) if route.plugin is not None]
    return {
        leaf.route: describe_error(errors[leaf.route]) if leaf.route in errors else ""
        for leaf in leaves
    }


def _routes(routes: tuple[RouteSpec, ...]) -> Iterator[RouteSpec]:
    for route in routes:
        yield route
        yield from _routes(route.children)


def _report(
    config_path: str,
    problems: tuple[Problem, ...],
    warnings: list[Problem] | tuple[Problem, ...],
    opened: dict[str, str] | None,
    as_json: bool,
) -> None:
    if as_json:
        print_json({"problems": _plain(problems), "warnings": _plain(warnings), "opened": opened})
        return
    if problems:
        click.echo(printable(f"{config_path}: {ConfigError(problems)}", keep_lines=True), err=True)
    for warning in warnings:
        click.echo(printable(f"{config_path}: warning: {warning}"), err=True)
    if opened is not None:
        show_table(("route", "open"), [(route, error or "ok") for route, error in opened.items()])


def _plain(problems: tuple[Problem, ...] | list[Problem]) -> list[dict[str, str | None]]:
    return [
        {
            "path": problem.path,
            "message": problem.message,
            "found": problem.found,
            "hint": problem.hint,
        }
        for problem in problems
    ]


def _conclude(config_path: str, spec: Spec, failed: list[str]) -> None:
    if failed:
        text = (
            f"{config_path}: {_count(len(failed), 'backend')} cannot be used now:"
            f" {', '.join(failed)}"
        )
        click.echo(printable(text), err=True)
        return
    routes = list(_routes(spec.routes))
    processors = len(spec.processors) + sum(len(route.processors) for route in routes)
    ok = "ok" if routes else "ok, but no event goes anywhere"
    counts = f"{_count(len(routes), 'route')}, {_count(processors, 'processor')}"
    show(Text(printable(f"{config_path}: {ok} ({counts})")))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
