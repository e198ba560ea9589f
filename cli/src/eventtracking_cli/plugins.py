"""The command `plugins`: the list of the installed ones, and the options of one."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import attrs
import click
from rich.text import Text

from eventtracking import ConfigError
from eventtracking.config import parse
from eventtracking.config.discovery import (
    BrokenPluginError,
    Declaration,
    Plugin,
    Plugins,
    UnknownPluginError,
    installed_plugins,
)
from eventtracking_cli._terminal import show, show_table
from eventtracking_cli.options import COLUMNS, option_rows, summary_of
from eventtracking_cli.output import json_option, print_json, printable

__all__ = ["Entry", "adds_commands_only", "entries", "plugins_command"]


@attrs.frozen(kw_only=True)
class Entry:
    """One declared plugin and the state that it is in."""

    name: str
    kind: str
    """`backend`, `router`, `processor`, `commands` (it adds nothing else), or `?` for a broken one.
    """
    version: str
    distribution: str
    state: str
    """`ok`, `broken` or `clash`."""
    error: str = ""


def entries(plugins: Plugins) -> Iterator[Entry]:
    """Import every installed plugin and tell how each is."""
    clashes = plugins.clashes()
    for declaration in plugins.declarations:
        if declaration.name in clashes:
            claims = " and ".join(claim.distribution for claim in clashes[declaration.name])
            yield _entry(declaration, "?", "clash", f"claimed by {claims}; uninstall one of them")
        else:
            yield _loaded(plugins, declaration)


def _loaded(plugins: Plugins, declaration: Declaration) -> Entry:
    try:
        return _entry(declaration, plugins.load(declaration.name).kind, "ok")
    except BrokenPluginError as error:
        if adds_commands_only(plugins, declaration):
            return _entry(declaration, "commands", "ok")
        return _entry(declaration, "?", "broken", str(error))


def adds_commands_only(plugins: Plugins, declaration: Declaration) -> bool:
    """Whether a plugin that registers no class does not mean to."""
    try:
        module = plugins.module(declaration)
    except BrokenPluginError:
        return False
    hooks = {name for name in dir(module) if name.startswith("eventtracking_register_")}
    return hooks == {"eventtracking_register_commands"}


def _entry(declaration: Declaration, kind: str, state: str, error: str = "") -> Entry:
    return Entry(
        name=declaration.name,
        kind=kind,
        version=declaration.version,
        distribution=declaration.distribution,
        state=state,
        error=error,
    )


@click.command("plugins", short_help="List the installed plugins, or the options of one.")
@click.argument("name", required=False)
@click.option("--traceback", "traced", is_flag=True, help="Show where the plugin NAME broke.")
@json_option
def plugins_command(name: str | None, traced: bool, as_json: bool) -> None:
    """List the installed plugins, or the options of the one called NAME."""
    plugins = installed_plugins()
    if traced and name is None:
        raise click.UsageError("--traceback: needs the NAME of a plugin; give one")
    if name is None:
        _list(list(entries(plugins)), as_json)
    else:
        _describe(_load(plugins, name, traced), as_json)


def _list(found: list[Entry], as_json: bool) -> None:
    if as_json:
        print_json([attrs.asdict(entry) for entry in found])
        return
    rows = [
        (e.name, e.kind, e.version, e.distribution, f"{e.state}: {e.error}" if e.error else e.state)
        for e in found
    ]
    show_table(("name", "kind", "version", "distribution", "state"), rows)


def _load(plugins: Plugins, name: str, traced: bool) -> Plugin:
    if name in plugins.clashes():
        claims = " and ".join(claim.distribution for claim in plugins.clashes()[name])
        raise click.ClickException(
            f"the plugin name {name!r} is claimed by {claims}; uninstall one of them"
        )
    try:
        return plugins.load(name)
    except UnknownPluginError as error:
        installed = ", ".join(plugins.names) or "none"
        text = (
            f"no plugin named {name!r} is installed; installed plugins are {installed};"
            f" {_hint(plugins, name)}"
        )
        raise click.UsageError(text) from error
    except BrokenPluginError as error:
        if traced:
            click.echo("\n".join(map(printable, _trace(error))), err=True)
        raise click.ClickException(str(error)) from error


def _trace(error: BrokenPluginError) -> list[str]:
    """Return the lines of the traceback from the plugin's first line on."""
    cause = error.__cause__
    if cause is None:
        return ["No code of the plugin raised: its declaration or its hooks are at fault."]
    frame = cause.__traceback__
    while frame is not None and _is_on_the_way(frame.tb_frame.f_globals.get("__name__", "")):
        frame = frame.tb_next
    lines = traceback.format_exception(type(cause), cause, frame)
    return "".join(lines).splitlines()


def _is_on_the_way(module: str) -> bool:
    """Whether a module calls plugins: core's, or one of Python's import system."""
    return module.partition(".")[0] in ("eventtracking", "importlib", "importlib_metadata")


def _hint(plugins: Plugins, name: str) -> str:
    """Advise on a plugin that is not installed, as core says it of a config that names
    it.
    """
    try:
        parse({"processors": [{"plugin": name}]}, plugins)
    except ConfigError as error:
        return next(p.hint or "" for p in error.problems if p.path == "processors[0].plugin")
    raise AssertionError(f"{name!r} is installed after all")


def _describe(plugin: Plugin, as_json: bool) -> None:
    rows = option_rows(plugin)
    if as_json:
        facts = {"name": plugin.name, "kind": plugin.kind, "version": plugin.version}
        more = {"distribution": plugin.distribution, "summary": summary_of(plugin)}
        print_json({**facts, **more, "options": [attrs.asdict(row) for row in rows]})
        return
    show(
        Text(
            printable(f"{plugin.name}: {plugin.kind}, {plugin.distribution} {plugin.version}"),
            style="bold",
        )
    )
    show(Text(printable(summary_of(plugin))))
    if rows:
        show_table(COLUMNS, [row.cells for row in rows])
    else:
        show(Text("It takes no options."))
