"""Collect from the code what the reference lists: public errors, log messages, commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

import workspace
from eventtracking_cli._extensions import plugin_commands
from eventtracking_cli.app import BUILT_IN, app

LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
LOGGER = "_log"
"""Every module's logger has this name."""


@dataclass(frozen=True)
class Error:
    """A public exception."""

    distribution: str
    module: str
    name: str
    meaning: str


@dataclass(frozen=True)
class LogMessage:
    """One call of a logger."""

    distribution: str
    logger: str
    level: str
    text: str


@dataclass(frozen=True)
class Module:
    """A module of a distribution, parsed."""

    distribution: str
    name: str
    tree: ast.Module
    is_package: bool

    @property
    def public(self) -> list[str]:
        """Return the names in `__all__`; none if the module itself is private."""
        if "._" in self.name:
            return []
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return [str(name) for name in ast.literal_eval(node.value)]
        return []


@cache
def modules() -> list[Module]:
    """Parse every module of every distribution."""
    return [
        Module(
            workspace.load(member)["project"]["name"],
            _dotted(path, member / "src"),
            ast.parse(path.read_text(encoding="utf-8")),
            path.name == "__init__.py",
        )
        for member in workspace.ready_members()
        for path in sorted((member / "src").rglob("*.py"))
        if "templates" not in path.parts
    ]


def _dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def errors(parsed: list[Module]) -> list[Error]:
    """Find the exception classes that a module exports, by distribution."""
    classes = [(m, n) for m in parsed for n in ast.walk(m.tree) if isinstance(n, ast.ClassDef)]
    known = {"Exception", "OSError", "ValueError", "TypeError", "click.ClickException"}
    before = 0
    while len(known) != before:  # until no class is found to inherit from those
        before = len(known)
        known |= {n.name for _, n in classes if any(ast.unparse(b) in known for b in n.bases)}
    found = []
    for module, node in classes:
        home = _home(module, node.name, parsed)
        if node.name in known and home:
            found.append(Error(module.distribution, home, node.name, _first_sentence(node)))
    return found


def _home(module: Module, name: str, parsed: list[Module]) -> str:
    """Return where to import a name from: the shortest package, else a module of errors."""
    packages = [
        other.name
        for other in parsed
        if other.is_package and other.distribution == module.distribution and name in other.public
    ]
    if packages:
        return min(packages, key=len)
    last = module.name.rpartition(".")[2]
    return module.name if last in ("errors", "exceptions") and name in module.public else ""


def _first_sentence(node: ast.ClassDef) -> str:
    paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
    return paragraph.partition(". ")[0].rstrip(".") + "."


def log_messages(parsed: list[Module]) -> list[LogMessage]:
    """Find the messages that each logger writes."""
    return [message for module in parsed for message in _messages_of(module)]


def _messages_of(module: Module) -> Iterator[LogMessage]:
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    for call in calls:
        target = call.func
        if not isinstance(target, ast.Attribute) or target.attr not in LEVELS:
            continue
        if ast.unparse(target.value) == LOGGER:
            yield LogMessage(
                module.distribution, _logger_of(module), target.attr, _text(call.args[0])
            )


def _logger_of(module: Module) -> str:
    for node in module.tree.body:
        found = (
            re.match(rf"{LOGGER}\b.*getLogger\('([^']+)'\)", ast.unparse(node))
            if (isinstance(node, ast.Assign | ast.AnnAssign))
            else None
        )
        if found:
            return found[1]
    return module.name


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            "%s" if isinstance(part, ast.FormattedValue) else _text(part) for part in node.values
        )
    return "%s"


def commands() -> dict[str, click.Command]:
    """Return each command of the command line by its words, those of our plugins included."""
    top = {name: app.get_command(click.Context(app), name) for name in BUILT_IN}
    ours = {workspace.load(member)["project"]["name"] for member in workspace.ready_members()}
    for name, added in sorted(plugin_commands(frozenset(BUILT_IN)).all().items()):
        if added.owner.split()[0] in ours:
            top[name] = added.command
    found: dict[str, click.Command] = {}
    for name, command in top.items():
        if command is not None:
            found |= _with_parts(name, command)
    return found


def _with_parts(name: str, command: click.Command) -> dict[str, click.Command]:
    found = {name: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for part in command.list_commands(context):
            if inner := command.get_command(context, part):
                found |= _with_parts(f"{name} {part}", inner)
    return found
