"""The command `eventtracking migrate`."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from eventtracking import ConfigError
from eventtracking_legacy.environment import check_environment
from eventtracking_legacy.notes import DISABLED, MERGED_YAML, Note
from eventtracking_legacy.settings import BACKENDS, ENABLED, PROCESSORS, translate
from eventtracking_legacy.toml import UnwritableError, write_config

__all__ = ["migrate"]


@click.command()
@click.argument("settings", metavar="SETTINGS_MODULE_OR_FILE", required=False)
@click.option(
    "--check-environment",
    "environment",
    is_flag=True,
    help="Name the packages that require event-tracking, and the commands that keep it out.",
)
@click.pass_context
def migrate(ctx: click.Context, settings: str | None, environment: bool) -> None:
    """Print the config that settings of event-tracking amount to, as TOML.

    SETTINGS_MODULE_OR_FILE is a module of Django settings (site.settings), or a file: .py, .json,
    .yml. The config goes to the standard output; a warning for each difference that matters goes to
    the standard error. Nothing is changed.

    With --check-environment, settings are not read; exit status 1 if event-tracking is installed,
    or has damaged the package `eventtracking`.
    """
    if environment:
        report = check_environment()
        click.echo("\n".join(report.lines()))
        ctx.exit(0 if report.is_sound else 1)
    if settings is None:
        raise click.UsageError("name the settings, or say --check-environment")
    values, notes = _read(settings)
    if values.get(BACKENDS) is None and values.get(PROCESSORS) is None:
        raise click.ClickException(f"{settings} has neither {BACKENDS} nor {PROCESSORS}")
    try:
        translation = translate(
            values.get(BACKENDS), values.get(PROCESSORS), plain=True, queue=lambda: _queue(values)
        )
        text = write_config(translation.config)
    except (ConfigError, UnwritableError) as error:
        raise click.ClickException(str(error)) from error
    if values.get(ENABLED, True) is False:
        notes.append(Note(ENABLED, DISABLED))
    _warn([*notes, *translation.notes])
    click.echo(text, nl=False)


def _read(settings: str) -> tuple[Mapping[str, Any], list[Note]]:
    path = Path(settings)
    try:
        if path.suffix == ".py":
            return runpy.run_path(settings), []
        if path.suffix == ".json":
            return _table(json.loads(path.read_text(encoding="utf-8"))), []
        if path.suffix in (".yml", ".yaml"):
            return _table(_read_yaml(path)), [Note(BACKENDS, MERGED_YAML)]
        sys.path.insert(0, str(Path.cwd()))
        return vars(import_module(settings)), []
    except click.ClickException:
        raise
    except ImportError as error:
        raise click.ClickException(
            f"{settings} cannot be read: {type(error).__name__}: {error}{_hint(path, error)}"
        ) from error
    except Exception as error:
        raise click.ClickException(
            f"{settings} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _hint(path: Path, error: ImportError) -> str:
    """A file that imports relatively only works as a part of its package."""
    if path.suffix != ".py" or "relative import" not in str(error):
        return ""
    folder, parts = path.resolve().parent, [path.stem]
    while (folder / "__init__.py").exists():
        folder, parts = folder.parent, [folder.name, *parts]
    return (
        f"; name the module in its place, from the folder {folder}: eventtracking migrate"
        f" {'.'.join(parts)}"
    )


def _queue(values: Mapping[str, Any]) -> str:
    """The queue that the workers read by default, as the settings have it."""
    names = ("CELERY_TASK_DEFAULT_QUEUE", "CELERY_DEFAULT_QUEUE")
    return next((str(values[name]) for name in names if values.get(name)), "celery")


def _table(values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise click.ClickException("the file holds no settings: a table is expected")
    return values


def _read_yaml(path: Path) -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]  # optional, and its stubs are, too
    except ImportError as error:
        text = f"{path} cannot be read: YAML needs PyYAML; pip install 'eventtracking-legacy[yaml]'"
        raise click.ClickException(text) from error
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _warn(notes: Iterable[Note]) -> None:
    places: dict[str, list[str]] = {}
    for note in notes:
        places.setdefault(note.text, []).append(note.place)
    for text, found in places.items():
        click.echo(f"warning: {text}\n  at {', '.join(found)}", err=True)
