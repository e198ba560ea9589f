"""The command `graph`: the routing tree, for the terminal and as Mermaid."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.text import Text
from rich.tree import Tree

from eventtracking.config import ProcessorSpec, RouteSpec, Spec
from eventtracking.config.discovery import Plugin
from eventtracking.config.options import options_of
from eventtracking.config.words import show as quote
from eventtracking_cli._terminal import show
from eventtracking_cli.config import config_option, load_spec
from eventtracking_cli.output import printable

__all__ = ["graph_command", "mermaid", "tree"]


@click.command("graph", short_help="Draw the routing tree.")
@config_option
@click.option(
    "--format", "format_", type=click.Choice(["tree", "mermaid"]), default="tree", show_default=True
)
def graph_command(config_path: str, format_: str) -> None:
    """Draw the routing tree: the nodes that events meet, from top to bottom."""
    spec = load_spec(config_path)
    if format_ == "mermaid":
        click.echo("\n".join(mermaid(spec)))
    else:
        show(tree(spec))


# For the terminal


def tree(spec: Spec) -> Tree:
    """Draw a tree of lines.

    Processors stand at their route, in order; options are as written, secrets left out.
    """
    root = Tree(Text("every event", style="bold"), guide_style="dim")
    _draw(root, spec.processors, spec.routes)
    return root


def _draw(node: Tree, processors: Sequence[ProcessorSpec], routes: Sequence[RouteSpec]) -> None:
    for processor in processors:
        node.add(
            _line(
                "",
                processor.plugin,
                _shown(processor.plugin, processor.options),
                "yellow",
                processor.on_error,
            )
        )
    for route in routes:
        below = node.add(_line(_name_of(route), route.plugin, _options_of(route), "cyan"))
        _draw(below, route.processors, route.children)


def _line(
    name: str, plugin: Plugin | None, options: str, style: str, on_error: str = "drop"
) -> Text:
    line = Text()
    if name:
        line.append(printable(f"{name}: "), style="bold")
    line.append(plugin.name if plugin is not None else "group", style=style)
    if plugin is not None and plugin.kind != "backend":
        line.append(f" ({plugin.kind})")
    if on_error != "drop":
        line.append(f" on_error={on_error}")
    line.append(printable(f" {options}") if options else "", style="dim")
    return line


def _options_of(route: RouteSpec) -> str:
    return "" if route.plugin is None else _shown(route.plugin, route.options)


def _shown(plugin: Plugin, given: dict[str, Any]) -> str:
    """Quote the options that the config gives, as they are written, secrets left out."""
    known = options_of(plugin.plugin_class)
    return " ".join(
        f"{name}={'***' if known[name].secret else quote(value)}" for name, value in given.items()
    )


# As Mermaid


def mermaid(spec: Spec) -> Iterator[str]:
    """Draw a Mermaid flowchart, line by line.

    Nodes that events pass through are hexagons, those where they end are cylinders.
    """
    numbers = itertools.count(1)
    yield "flowchart LR"
    yield '  n0(["every event"])'
    last, lines = _row("n0", spec.processors, numbers)
    yield from lines
    yield from _flow(last, spec.routes, numbers)


def _flow(above: str, routes: Sequence[RouteSpec], numbers: Iterator[int]) -> Iterator[str]:
    """Draw the routes side by side; the processors of each before its backend, as on an event's
    way.
    """
    for route in routes:
        last, lines = _row(above, route.processors, numbers)
        node = f"n{next(numbers)}"
        yield from [*lines, f"  {last} --> {node}{_shape(route)}"]
        yield from _flow(node, route.children, numbers)


def _row(
    above: str, processors: Sequence[ProcessorSpec], numbers: Iterator[int]
) -> tuple[str, list[str]]:
    """Draw processors one behind the other; return the last node, too."""
    lines = []
    for processor in processors:
        node = f"n{next(numbers)}"
        lines.append(f'  {above} --> {node}{{{{"{_escaped(processor.plugin.name)}"}}}}')
        above = node
    return above, lines


def _name_of(route: RouteSpec) -> str:
    return route.route.rpartition("/")[2]  # a name may hold dots, but no slash


def _shape(route: RouteSpec) -> str:
    name = _escaped(_name_of(route))
    if route.plugin is None:
        return f'["{name}"]'
    label = f"{name}<br/>{_escaped(route.plugin.name)}"
    return f'[["{label}"]]' if route.plugin.kind == "router" else f'[("{label}")]'


def _escaped(text: str) -> str:
    """Write characters of Mermaid or HTML as entities, in Mermaid's form."""
    return "".join(char if char.isalnum() or char in " _-." else f"#{ord(char)};" for char in text)
