"""Install a distribution for the length of a test: real files, a real `.dist-info`, on the import
path.
"""

from __future__ import annotations

import importlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

from eventtracking.hookspecs import GROUP

__all__ = ["CLASSES", "fake_distribution"]

CLASSES: Final[dict[str, Mapping[str, type[Any]]]] = {}
"""The classes that the generated plugin modules register, by module."""

_numbers = itertools.count(1)

_PLUGIN_MODULE: Final = '''\
"""Registers the classes that a test gave to `fake_distribution`."""

from eventtracking import hookimpl
from eventtracking_testkit.distribution import CLASSES


@hookimpl
def eventtracking_register_backends(register):
    for name, plugin_class in CLASSES[__name__].items():
        if hasattr(plugin_class, "send"):
            register(name, plugin_class)


@hookimpl
def eventtracking_register_processors(register):
    for name, plugin_class in CLASSES[__name__].items():
        if not hasattr(plugin_class, "send") and not _observes(plugin_class):
            register(name, plugin_class)


@hookimpl
def eventtracking_register_observers(register):
    for name, plugin_class in CLASSES[__name__].items():
        if not hasattr(plugin_class, "send") and _observes(plugin_class):
            register(name, plugin_class)


def _observes(plugin_class):
    return "start" in dir(plugin_class) and "__call__" not in dir(plugin_class)
'''


@contextmanager
def fake_distribution(
    name: str = "",
    *,
    version: str = "1.0",
    modules: Mapping[str, str] | None = None,
    entry_points: Mapping[str, str] | None = None,
    plugins: Mapping[str, type[Any]] | None = None,
    group: str = GROUP,
) -> Iterator[Path]:
    """Install a distribution until the end of the block, so that plugins are found as they are in
    real life.

    The quick way gives classes that are there already names for the config::

        with fake_distribution(plugins={"mine": MyBackend}):
            Tracker.from_config({"backends": {"a": {"plugin": "mine"}}})

    The long way writes everything, broken things too::

        with fake_distribution("acme", modules={"acme": "1/0"}, entry_points={"acme": "acme"}):
            ...

    At the end its modules are forgotten. Not for threads: it changes the import path of the
    process.

    Args:
        name: The distribution's name; one of its own if left out.
        version: Its version.
        modules: Source text by module, `{"acme": "...", "acme.backend": "..."}`. Indentation common
            to all lines is taken off.
        entry_points: Module by entry-point name.
        plugins: Classes by plugin name. They are known in this process and its forks alone.
        group: The group of the entry points.

    Yields:
        The folder that is on the import path.
    """
    number = next(_numbers)
    name = name or f"testkit-fake-{number}"
    sources, points = dict(modules or {}), dict(entry_points or {})
    if plugins:
        generated = f"testkit_fake_{number}"
        CLASSES[generated] = dict(plugins)
        sources[generated] = _PLUGIN_MODULE
        points.update(dict.fromkeys(plugins, generated))
    folder = Path(tempfile.mkdtemp(prefix="testkit-site-"))
    try:
        _write_modules(folder, sources)
        _write_metadata(folder, name, version, points, group)
        with _on_import_path(folder, sources):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if plugins:
            del CLASSES[generated]


def _write_modules(folder: Path, sources: Mapping[str, str]) -> None:
    packages = {name.rpartition(".")[0] for name in sources} - {""}
    for name, source in {**dict.fromkeys(packages, ""), **sources}.items():
        path = folder.joinpath(*name.split("."))
        path = path / "__init__.py" if name in packages else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")


def _write_metadata(
    folder: Path, name: str, version: str, points: Mapping[str, str], group: str
) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    lines = [f"[{group}]", *(f"{point} = {module}" for point, module in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def _on_import_path(folder: Path, sources: Mapping[str, str]) -> Iterator[None]:
    tops = {name.partition(".")[0] for name in sources}
    shadowed = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops
    }
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
        sys.modules.update(shadowed)
        importlib.invalidate_caches()
