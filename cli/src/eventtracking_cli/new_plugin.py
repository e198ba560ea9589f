"""The command `new-plugin`: an installable distribution with one plugin and its tests."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Final

import click

from eventtracking_cli.output import printable

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable
else:
    from importlib.abc import Traversable

__all__ = ["KINDS", "files_of", "new_plugin_command"]

KINDS: Final = ("backend", "processor", "router", "observer")
_SUFFIX: Final = ".tmpl"
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_CONFIG: Final = "config.toml"
"""The template of the config in the README; no file of the plugin."""


@click.command("new-plugin", short_help="Make the distribution of a plugin of your own.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
def new_plugin_command(kind: str, name: str) -> None:
    """Make the folder NAME: an installable distribution with a plugin of that name.

    It has the class with its options, the entry point, tests on the contract that every plugin of
    its KIND keeps, a README, a licence and a file for CI. Its tests are green as they are.
    """
    _check(name)
    files = files_of(kind, name)
    folder = Path(name)
    try:
        folder.mkdir()
    except FileExistsError as error:
        text = f"the folder {name!r} exists already; take another name, or remove it"
        raise click.ClickException(text) from error
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        click.echo(printable(str(place)))
    click.echo(f"\nNext: cd {name} && pip install -e '.[test]' && pytest")


def _check(name: str) -> None:
    """Refuse a name that is no import name, or that hides a module.

    Raises:
        click.BadParameter: With the accepted form.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        accepted = "lower-case letters, digits and single underscores, beginning with a letter"
        raise click.BadParameter(f"{name!r} is no plugin name; accepted are {accepted}: acme_store")
    if name in sys.stdlib_module_names or name in ("eventtracking", "tests"):
        raise click.BadParameter(
            f"{name!r} would hide the module of that name; put your own name before it: acme_{name}"
        )


def files_of(kind: str, name: str) -> dict[str, str]:
    """Return the files of a new plugin: their texts, by path below its folder.

    Args:
        kind: One of `KINDS`.
        name: The plugin's name, which is the import name, too.
    """
    words = {
        "kind": kind,
        "name": name,
        "class_name": _class_name(kind, name),
        "distribution": name.replace("_", "-"),
        "version": version("eventtracking"),
        "year": str(datetime.now(timezone.utc).year),
    }
    templates = resources.files("eventtracking_cli") / "templates"
    own = dict(_filled(templates / kind, words))
    words["config"] = own.pop(_CONFIG)
    return dict(sorted({**dict(_filled(templates / "common", words)), **own}.items()))


def _class_name(kind: str, name: str) -> str:
    words = "".join(part.capitalize() for part in name.split("_"))
    return words if words.endswith(kind.capitalize()) else words + kind.capitalize()


def _filled(folder: Traversable, words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path, template in _templates(folder, ""):
        text = Template(template.read_text(encoding="utf-8"))
        yield path.replace("NAME", words["name"]), text.substitute(words)


def _templates(folder: Traversable, above: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda found: found.name):
        if entry.is_dir():
            yield from _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield above + entry.name.removesuffix(_SUFFIX), entry
