"""The catalog's pages, where the plugin `catalog` is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import attrs
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from eventtracking import Tracker

__all__ = ["CatalogSite"]


@attrs.define(eq=False)
class CatalogSite:
    """An ASGI application: the site of the catalog, written when a page of it is asked for.

    The catalog is no dependency: its modules are found by name, where it is installed.
    """

    tracker: Tracker
    is_installed: bool = attrs.field(factory=lambda: find_spec("eventtracking_catalog") is not None)
    _folder: TemporaryDirectory[str] | None = None
    _pages: ASGIApp | None = None
    _lock: Lock = attrs.field(factory=Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page."""
        pages = self._pages
        if pages is None:
            pages = await run_in_threadpool(self._written)
        await pages(scope, receive, send)

    def _written(self) -> ASGIApp:
        with self._lock:
            if self._pages is None:
                self._folder = TemporaryDirectory(prefix="eventtracking-console-")
                if not _write(self.tracker, Path(self._folder.name)):
                    return PlainTextResponse("No event type is declared here.\n", 404)
                self._pages = StaticFiles(directory=self._folder.name, html=True)
            return self._pages


def _write(tracker: Tracker, folder: Path) -> bool:
    """Write the site; return whether there are any types."""
    registry = import_module("eventtracking_catalog.registry").registry
    types = list(registry.all())
    if types:
        routes = import_module("eventtracking_catalog.routes").routes_of(tracker, types)
        write_site = import_module("eventtracking_catalog.site").write_site
        write_site(folder, types, list(registry.all("context")), routes, {})
    return bool(types)
