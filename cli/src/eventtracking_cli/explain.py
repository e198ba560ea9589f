"""The command `explain`: which routes would take an event, which would not, and who decided."""

from __future__ import annotations

from typing import BinaryIO

import click
from rich.text import Text
from rich.tree import Tree

from eventtracking import Event, Outcome
from eventtracking.explain import Decision
from eventtracking_cli._documents import read_event
from eventtracking_cli._foreign import require_text
from eventtracking_cli._streams import EventFile
from eventtracking_cli._terminal import show
from eventtracking_cli.config import config_option, load_tracker
from eventtracking_cli.output import json_option, print_json, printable

__all__ = ["explain_command"]


@click.command("explain", short_help="Tell which routes would take an event.")
@click.argument("file", type=EventFile(), metavar="FILE.json")
@config_option
@json_option
def explain_command(file: BinaryIO, config_path: str, as_json: bool) -> None:
    """Tell which routes would take the event in FILE.json (or -, the standard input), and which
    processor decides.

    The processors run; nothing is sent, and no backend is opened.
    """
    event = _read(file)
    with load_tracker(config_path) as tracker:
        decisions = tracker.explain(event)
    if as_json:
        print_json([_plain(decision) for decision in decisions])
    else:
        show(_tree(event, decisions))


def _read(file: BinaryIO) -> Event:
    try:
        raw = file.read()
        require_text(raw, file)
        return read_event(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise click.ClickException(f"no event: not UTF-8 at byte {error.start + 1}") from error
    except ValueError as error:
        raise click.ClickException(f"no event: {error}") from error
    except OSError as error:
        raise click.ClickException(f"no event: it cannot be read: {error.strerror}") from error


def _plain(decision: Decision) -> dict[str, object]:
    return {
        "path": decision.path,
        "takes": decision.outcome is Outcome.DELIVERED,
        "outcome": decision.outcome.name.lower(),
        "processor": decision.processor,
        "reason": decision.reason,
    }


def _tree(event: Event, decisions: list[Decision]) -> Tree:
    nodes: dict[str, Tree] = {}
    for decision in decisions:
        line = _line(decision.path.rpartition("/")[2] or event.name, decision)
        parent = nodes.get(decision.path.rpartition("/")[0])
        nodes[decision.path] = Tree(line, guide_style="dim") if parent is None else parent.add(line)
    return nodes[""]


def _line(name: str, decision: Decision) -> Text:
    line = Text(printable(f"{name}: "), style="bold")
    if decision.outcome is Outcome.DELIVERED:
        return line.append("takes it", style="not bold green")
    verb = "filtered out" if decision.outcome is Outcome.FILTERED else "fails"
    line.append(
        verb, style="not bold yellow" if decision.outcome is Outcome.FILTERED else "not bold red"
    )
    return line.append(printable(f" by {decision.processor} ({decision.reason})"), style="not bold")
