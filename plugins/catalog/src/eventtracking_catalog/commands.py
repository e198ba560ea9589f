"""The command `eventtracking catalog`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import click

from eventtracking import Event, Tracker
from eventtracking_catalog.declaration import Declaration
from eventtracking_catalog.diff import WORDS, Change, compare
from eventtracking_catalog.entry_points import load_entry_points
from eventtracking_catalog.export import cloudevents, json_schema
from eventtracking_catalog.files import FileError
from eventtracking_catalog.findings import findings, marked_share
from eventtracking_catalog.infer import infer
from eventtracking_catalog.lock import lock_text, read_catalog
from eventtracking_catalog.registry import registry
from eventtracking_catalog.routes import Routes, routes_of
from eventtracking_catalog.show import shown
from eventtracking_cli.config import DEFAULT_CONFIG, config_option, load_tracker
from eventtracking_cli.output import json_option, print_json, printable, warn

__all__ = ["catalog"]

_LOCK: Final = "catalog.lock.json"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group("catalog")
def catalog() -> None:
    """List, check, export and document the event types that are declared.

    Declarations come from the files that the config names, from installed distributions (entry
    points in the group eventtracking.catalog), and from each --module.
    """


def declared(command: _Command) -> _Command:
    """Add the options that say where declarations come from."""
    module = click.option(
        "-m",
        "--module",
        "modules",
        multiple=True,
        metavar="MODULE",
        help="Import this module first, for the declarations in it.",
    )
    return module(config_option(command))


@contextmanager
def _loaded(config_path: str, modules: Sequence[str]) -> Iterator[Tracker | None]:
    """Read every declaration; give the tracker of the config, if there is a config."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            text = f"importing {module} raised {type(error).__name__}: {error}"
            raise click.ClickException(printable(text)) from error
    for problem in load_entry_points():
        warn(problem)
    is_default = os.fspath(config_path) == DEFAULT_CONFIG
    if is_default and not Path(config_path).exists():
        yield None
        return
    with load_tracker(config_path) as tracker:
        yield tracker


def _named(name: str, kind: str = "event") -> Declaration:
    found = registry.get(name, kind)
    if found is None:
        from eventtracking.config.words import did_you_mean

        hint = did_you_mean(name, registry.names(kind)) or "see `eventtracking catalog list`"
        raise click.ClickException(printable(f"no event type {name!r} is declared; {hint}"))
    return found


@catalog.command("list")
@declared
@json_option
def list_types(config_path: str, modules: Sequence[str], as_json: bool) -> None:
    """Print a line for each event type and context, and the share of fields with a PII mark."""
    with _loaded(config_path, modules):
        types, contexts = list(registry.all()), list(registry.all("context"))
        marked, total = marked_share([*types, *contexts])
    if as_json:
        facts = {"fields": total, "marked": marked}
        documents = {"types": [one.document() for one in types]}
        print_json({**documents, "contexts": [one.document() for one in contexts], "pii": facts})
        return
    for one in types:
        click.echo(printable(f"{one.schema}  {_summary(one)}".rstrip()))
    for one in contexts:
        click.echo(printable(f"{one.name} (context)  {_summary(one)}".rstrip()))
    if total:
        share = f"{marked} of {total} fields ({100 * marked // total} %)"
        click.echo(f"{share} have a PII mark or an explicit none")
    else:
        click.echo("nothing is declared; name modules with --module, or files in the config")


def _summary(one: Declaration) -> str:
    first = one.description.partition("\n")[0]
    return f"(deprecated) {first}" if one.deprecated else first


@catalog.command("show")
@click.argument("name")
@declared
@json_option
def show(name: str, config_path: str, modules: Sequence[str], as_json: bool) -> None:
    """Print one event type: its fields, marks, owner, and the routes that take it."""
    with _loaded(config_path, modules) as tracker:
        one = _named(name.partition("@")[0])
        routes = {} if tracker is None else routes_of(tracker, [one])
    takes = routes[one.name].takes if routes else None
    if as_json:
        print_json({**one.document(), "routes": takes})
    else:
        click.echo(printable(shown(one, takes), keep_lines=True))


@catalog.command("check")
@declared
@click.pass_context
def check(ctx: click.Context, config_path: str, modules: Sequence[str]) -> None:
    """Read and compile every declaration; exit status 1 if one has a problem.

    Names, too, the types that only the slow path can check, and the routes that take a type and
    drop its records.
    """
    with _loaded(config_path, modules) as tracker:
        types = list(registry.all())
        routes: Routes = {} if tracker is None else routes_of(tracker, types)
        problems, notes = findings(registry, routes)
        problems += load_entry_points()
    for text in notes:
        click.echo(printable(f"note: {text}"))
    for text in problems:
        click.echo(printable(f"problem: {text}"), err=True)
    if problems:
        ctx.exit(1)
    click.echo(f"ok ({len(types)} event types)")


@catalog.command("export")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json-schema", "cloudevents"]),
    default="json-schema",
    show_default=True,
    help="JSON Schema by name, or CloudEvents types with their dataschema.",
)
@declared
def export(names: Sequence[str], form: str, config_path: str, modules: Sequence[str]) -> None:
    """Print the declarations of all event types, or of these, for other tools."""
    with _loaded(config_path, modules):
        found = [_named(name) for name in names] if names else list(registry.all())
    if form == "cloudevents":
        print_json(cloudevents(found))
    elif len(names) == 1:
        print_json(json_schema(found[0]))
    else:
        print_json({one.name: json_schema(one) for one in found})


@catalog.command("lock")
@click.option("-o", "--output", default=_LOCK, show_default=True, help="The file; - prints it.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if it is old.")
@declared
@click.pass_context
def lock(
    ctx: click.Context, output: str, only_check: bool, config_path: str, modules: Sequence[str]
) -> None:
    """Write every declaration to a file that is committed, for `diff`."""
    with _loaded(config_path, modules):
        text = lock_text(registry)
    if output == "-":
        click.echo(text, nl=False)
        return
    file = Path(output)
    is_old = not file.exists() or file.read_text(encoding="utf-8") != text
    if only_check:
        click.echo(
            f"{output}: {'out of date; run: eventtracking catalog lock' if is_old else 'ok'}"
        )
        ctx.exit(1 if is_old else 0)
    if is_old:
        file.write_text(text, encoding="utf-8")
    count = len(registry.names())
    click.echo(f"{output}: {count} event types, {'written' if is_old else 'unchanged'}")


@catalog.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option(
    "--fail-on",
    type=click.Choice(["major", "privacy"]),
    help="Exit with status 1 on a change of this word, or a more severe one.",
)
@json_option
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, fail_on: str | None, as_json: bool) -> None:
    """Tell how two locks (or declaration files) differ: docs, minor, major or privacy."""
    before, after = _read(old), _read(new)
    changes = compare(before["event"], after["event"])
    changes += compare(before["context"], after["context"], "context")
    if as_json:
        print_json([change._asdict() for change in changes])
    for change in () if as_json else changes:
        click.echo(printable(_line(change)))
    if fail_on and any(WORDS.index(one.word) >= WORDS.index(fail_on) for one in changes):
        ctx.exit(1)


def _read(path: str) -> Any:
    try:
        return read_catalog(path)
    except FileError as error:
        raise click.ClickException(printable(f"{path}: {error}")) from error


def _line(change: Change) -> str:
    place = f"{change.event}: {change.path}" if change.path else change.event
    return f"{change.word:<8}{place}: {change.text}"


@catalog.command("docs")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--records",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE.db|FILE.jsonl",
    help="Stored events: the records in them tell who emits a type, and since when.",
)
@declared
def docs(folder: str, records: str | None, config_path: str, modules: Sequence[str]) -> None:
    """Write a static site and Markdown: every type, its fields, marks, routes and versions."""
    from eventtracking_catalog.history import read_records
    from eventtracking_catalog.site import write_site

    history = {} if records is None else read_records(Path(records))
    with _loaded(config_path, modules) as tracker:
        types = list(registry.all())
        routes = {} if tracker is None else routes_of(tracker, types)
        page = write_site(Path(folder), types, list(registry.all("context")), routes, history)
    click.echo(f"{page}: {len(types)} event types")


@catalog.command("infer")
@click.argument("file", type=click.File("rb"), metavar="FILE.jsonl")
def infer_command(file: BinaryIO) -> None:
    """Print a declaration file under which the events of FILE.jsonl conform.

    How often a field was seen stands beside it. With fewer than 20 events of a type, every field is
    proposed optional.
    """
    click.echo(infer(_events(file)), nl=False)


def _events(file: BinaryIO) -> Iterator[Event]:
    from eventtracking_cli._documents import read_lines

    for line in read_lines(file):
        if line.event is not None:
            yield line.event
        elif line.problem:
            warn(f"line {line.number}: {line.problem}")
