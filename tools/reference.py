"""Write the pages of docs/reference that follow from the code; `--check` only compares.

The options come from the plugins' classes, the hooks from their specs, the commands from their
help, and the errors and log messages from the source.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

import collected
import workspace
from eventtracking import hookspecs
from eventtracking.config.discovery import Plugin, installed_plugins
from eventtracking_cli.options import COLUMNS, option_rows, summary_of

REFERENCE = workspace.ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py: change the code and run it again. -->\n"
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
        REFERENCE / "errors.md": "".join(errors_page()),
        REFERENCE / "log-messages.md": "".join(log_messages_page()),
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
    """Make the table of plugins: their kinds, purposes and distributions."""
    yield "| plugin | kind | purpose | distribution |\n| --- | --- | --- | --- |\n"
    for plugin in our_plugins():
        first = summary_of(plugin).partition(". ")[0].rstrip(".")
        yield (
            f"| [{plugin.name}](#{plugin.name}) | {plugin.kind} | {cell(first)}. |"
            f" [{plugin.distribution}](../../plugins/{folder_of(plugin)}/README.md) |\n"
        )


def folder_of(plugin: Plugin) -> str:
    """Return the folder of a plugin's distribution below `plugins/`."""
    return plugin.distribution.removeprefix("eventtracking-").replace("-", "_")


def plugins_page() -> Iterator[str]:
    """Make the page of plugins and their options."""
    yield f"{NOTE}\n# Plugins and their options\n\n"
    yield "`eventtracking plugins NAME` prints the options of one. A config may also\n"
    yield "set `processors` on every backend and router, `backends` on every router, and\n"
    yield "`on_error` on every processor; see [the config](config.md).\n\n"
    yield from plugins_table()
    yield "\n[eventtracking-django](../../plugins/django/README.md) brings settings,\n"
    yield "middleware and commands for Django;\n"
    yield "[eventtracking-console](../../plugins/console/README.md) the web console;\n"
    yield "[eventtracking-testkit](../../testkit/README.md) the contract suites and fixtures.\n"
    for plugin in our_plugins():
        yield from plugin_section(plugin)


def plugin_section(plugin: Plugin) -> Iterator[str]:
    """Describe one plugin."""
    yield f"\n## {plugin.name}\n\n"
    yield (
        f"{'An' if plugin.kind == 'observer' else 'A'} {plugin.kind} of"
        f" [{plugin.distribution}](../../plugins/{folder_of(plugin)}/README.md)."
        f" {summary_of(plugin)}\n"
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
    """Make the page of the command line, from the help of each command."""
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
    yield "The commands of the plugins are listed below the built-in ones.\n"
    for name, command in collected.commands().items():
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


# The errors, and the log messages


def errors_page() -> Iterator[str]:
    """Make the page of public errors."""
    yield f"{NOTE}\n# The errors\n\n"
    yield "Exceptions that code outside of eventtracking may raise or catch. `emit()`\n"
    yield "raises none of them, but `DataError` in strict mode.\n\n"
    yield "| error | meaning | import it from |\n| --- | --- | --- |\n"
    for error in collected.errors(collected.modules()):
        yield f"| `{error.name}` | {cell(error.meaning)} | `{error.module}` |\n"


def log_messages_page() -> Iterator[str]:
    """Make the page of log messages."""
    yield f"{NOTE}\n# The log messages\n\n"
    yield "Each `%s`, `%r` and `%d` stands for a value: a path, a count, or an error that is\n"
    yield "safe to show. A message that is `%s` alone is composed where the fault is found.\n\n"
    yield "| logger | level | message |\n| --- | --- | --- |\n"
    for message in collected.log_messages(collected.modules()):
        level = "error" if message.level == "exception" else message.level
        yield f"| `{message.logger}` | {level} | {cell(message.text)} |\n"


if __name__ == "__main__":
    sys.exit(main())
