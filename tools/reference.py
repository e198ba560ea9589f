"""Write the pages of docs/reference that follow from the code, and the README's table of plugins;
`--check` only compares.

The options come from the plugins' classes, the hooks from their specs, and the commands from their
help.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

import workspace
from eventtracking import hookspecs
from eventtracking.config.discovery import Plugin, installed_plugins
from eventtracking_cli.app import BUILT_IN, app
from eventtracking_cli.options import COLUMNS, option_rows, summary_of

REFERENCE = workspace.ROOT / "docs" / "reference"
README = workspace.ROOT / "README.md"
NOTE = "<!-- Written by tools/reference.py: change the code and run it again. -->\n"
TABLE = re.compile(r"(?<=<!-- plugins -->\n).*?(?=<!-- end of plugins -->)", re.DOTALL)
HELP_WIDTH = 100


def main() -> int:
    """Write what is out of date, or tell of it; exit status 1 if `--check` finds something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and fail if a page is out of date"
    )
    only_check = parser.parse_args().check
    old = outdated()
    for path, text in old.items():
        if only_check:
            print(
                f"{path.relative_to(workspace.ROOT)} is out of date; run: .venv/bin/python"
                " tools/reference.py"
            )
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if only_check and old else 0


def outdated() -> dict[Path, str]:
    """Find the files that are not as they should be, with what should be in them."""
    return {
        path: text
        for path, text in pages().items()
        if not path.exists() or path.read_text("utf-8") != text
    }


def pages() -> dict[Path, str]:
    """Make every page."""
    return {
        REFERENCE / "plugins.md": "".join(plugins_page()),
        REFERENCE / "command-line.md": "".join(commands_page()),
        REFERENCE / "hooks.md": "".join(hooks_page()),
        README: TABLE.sub(lambda _: "".join(plugins_table()), README.read_text(encoding="utf-8")),
    }


def our_plugins() -> list[Plugin]:
    """Load the plugins of this workspace, by name."""
    plugins = installed_plugins()
    ours = {workspace.load(member)["project"]["name"] for member in workspace.ready_members()}
    names = [
        d.name
        for d in plugins.declarations
        if d.distribution in ours and registers_a_class(plugins.module(d))
    ]
    return [plugins.load(name) for name in dict.fromkeys(names)]


def registers_a_class(module: object) -> bool:
    """Tell whether a plugin adds more than commands."""
    return any(
        hasattr(module, f"eventtracking_register_{kind}")
        for kind in ("backends", "processors", "observers")
    )


# The plugins


def plugins_table() -> Iterator[str]:
    """Make the README's table: each plugin, and what it is for."""
    yield "\n| plugin | kind | what it does | install |\n| --- | --- | --- | --- |\n"
    for plugin in our_plugins():
        folder = plugin.distribution.removeprefix("eventtracking-").replace("-", "_")
        first = summary_of(plugin).partition(". ")[0].rstrip(".")
        yield (
            f"| [{plugin.name}](plugins/{folder}/README.md) | {plugin.kind} | {cell(first)}. |"
            f" `{plugin.distribution}` |\n"
        )
    yield "\n"


def plugins_page() -> Iterator[str]:
    """Make the page of options."""
    yield f"{NOTE}\n# The options of every plugin\n\n"
    yield (
        "What `eventtracking plugins NAME` prints. Beside these, every backend and router takes"
        " `processors`, every router "
    )
    yield "`backends`, and every processor `on_error`; see [the config](config.md).\n"
    for plugin in our_plugins():
        yield from plugin_section(plugin)


def plugin_section(plugin: Plugin) -> Iterator[str]:
    """Describe one plugin."""
    folder = plugin.distribution.removeprefix("eventtracking-").replace("-", "_")
    yield f"\n## {plugin.name}\n\n"
    yield (
        f"{'An' if plugin.kind == 'observer' else 'A'} {plugin.kind} of"
        f" [{plugin.distribution}](../../plugins/{folder}/README.md). {summary_of(plugin)}\n"
    )
    rows = option_rows(plugin)
    if not rows:
        yield "\nIt takes no options.\n"
        return
    yield f"\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}\n"
    for row in rows:
        name, accepts, default, meaning = (cell(text) for text in row.cells)
        shown = default if default in ("required", "none") else f"`{default}`"
        yield f"| `{name}` | {accepts} | {shown} | {meaning} |\n"


def cell(text: str) -> str:
    """Make text safe for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", r"\|").replace("<", "&lt;")


# The commands


def commands_page() -> Iterator[str]:
    """Make the page of the command line, from the help of each built-in command."""
    yield f"{NOTE}\n# The command line\n\n"
    yield (
        "`pip install eventtracking-cli` brings the command `eventtracking`. The config is that of"
        " `-c FILE`, else of the "
    )
    yield (
        "environment variable `EVENTTRACKING_CONFIG`, else `eventtracking.toml` in the current"
        " folder.\n\n"
    )
    yield "| exit status | meaning |\n| --- | --- |\n| 0 | Success. |\n"
    yield "| 1 | Problems were found: in the config, in a file of events, or an event failed. |\n"
    yield (
        "| 2 | Wrong usage: an unknown command, option or plugin, or a file that is not there."
        " |\n\n"
    )
    yield "Plugins add commands of their own; `eventtracking --help` lists them with these.\n"
    for name in BUILT_IN:
        if command := app.get_command(click.Context(app), name):
            yield f"\n## {name}\n\n```text\n{help_of(name, command)}```\n"


def help_of(name: str, command: click.Command) -> str:
    """Render the help of a command as on a wide terminal."""
    context = click.Context(
        command,
        info_name=f"eventtracking {name}",
        max_content_width=HELP_WIDTH,
        terminal_width=HELP_WIDTH,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context).rstrip() + "\n"


# The hooks


def hooks_page() -> Iterator[str]:
    """Make the page of hooks, from their specs."""
    yield f"{NOTE}\n# The hooks\n\n"
    yield (
        "A plugin is a module that an entry point in the group `eventtracking` names. It implements"
        " these hooks, marked with "
    )
    yield (
        "`eventtracking.hookimpl`. None is called on the way of an event. [Write a"
        " plugin](../how-to/write-a-plugin.md) shows them in use.\n"
    )
    for name in hookspecs.__all__:
        if name.startswith("eventtracking_"):
            hook = getattr(hookspecs, name)
            parameters = ", ".join(inspect.signature(hook).parameters)
            yield f"\n## {name}({parameters})\n\n{as_markdown(hook)}\n"
    yield f"\n## What `register` is\n\n{as_markdown(hookspecs.Register.__call__)}\n"


def as_markdown(function: Callable[..., object]) -> str:
    """Write the sections of a docstring as lists."""
    text = inspect.getdoc(function) or ""
    text = re.sub(
        r"^(Args|Raises):$", lambda found: f"{found.group(1)}:\n", text, flags=re.MULTILINE
    )
    return re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
