"""The web application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import attrs
import msgspec
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from eventtracking import EventTrackingError, Tracker
from eventtracking_console.access import Access, Guard, SecurityHeaders
from eventtracking_console.catalog import Catalog
from eventtracking_console.letters import Filter, LetterBox, reasons
from eventtracking_console.pages import (
    environment,
    explained,
    parsed,
    route_rows,
)
from eventtracking_console.searching import PAGE, Query, found_events, searchable
from eventtracking_console.streams import EventStream
from eventtracking_console.tail import tail
from eventtracking_console.viewer import viewer
from eventtracking_console.watch import Watcher, as_event
from eventtracking_live.letters import MemoryLetter, letters_in_memory
from eventtracking_live.observer import LiveObserver

__all__ = ["Console", "console_app"]

_HERE = Path(__file__).parent
_MAX_FORM_BYTES = 1_000_000
_MAX_VIEWERS = 200
_LETTERS_SHOWN = 200
_SAMPLE = 20


def console_app(
    config: Mapping[str, Any],
    *,
    allow_changes: bool = False,
    access: Access | None = None,
    prefix: str = "",
    tracker: Tracker | None = None,
) -> ASGIApp:
    """Make the console for a config, as an ASGI application.

    Args:
        config: The routing config, as a mapping.
        allow_changes: Whether dead letters may be replayed.
        access: Who may use it. None: every request that reaches it; the application that mounts it
            must ask first.
        prefix: The path below which it is mounted.
        tracker: One that was made from the config, and is not open.
    """
    made = Console(config, allow_changes, prefix, tracker or Tracker.from_config(config))
    app: ASGIApp = made.application()
    if access is not None:
        app = Guard(app, access)
    return SecurityHeaders(app)


@attrs.define(eq=False)
class Console:
    """The pages of one config."""

    config: Mapping[str, Any]
    allow_changes: bool
    prefix: str
    tracker: Tracker
    watcher: Watcher = attrs.field(init=False)
    letters: LetterBox = attrs.field(init=False)
    _templates: Environment = attrs.field(init=False)
    catalog: Catalog = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        live = [one for one in self.tracker.observers() if isinstance(one, LiveObserver)]
        self.watcher = Watcher((live or [LiveObserver()])[0].sockets, self.tracker)
        self.letters = LetterBox(self.tracker, self._deliverer)
        self._templates = environment()
        self.catalog = Catalog(self.tracker)

    def _deliverer(self) -> Tracker:
        """Make a tracker that delivers, without the observers of the application."""
        tracker = Tracker()
        tracker.configure({**self.config, "observers": []}, partly=True)
        return tracker

    def application(self) -> Starlette:
        """Return the routes."""
        pages = [
            Route("/", self.routes),
            Route("/live/routes", self.live_routes),
            Route("/events", self.events),
            Route("/live/events", self.live_events),
            Route("/events/explain", self.explain, methods=["GET", "POST"]),
            Route("/events/search", self.search),
            Route("/letters", self.list_letters),
            Route("/letters/one", self.one_letter),
            Route("/letters/freeze", self.freeze, methods=["POST"]),
            Route("/letters/replay", self.replay, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]
        if self.catalog.is_installed:
            pages += [Route("/catalog/", self.list_types), Route("/catalog/one", self.one_type)]
        return Starlette(routes=pages, exception_handlers={EventTrackingError: self._trouble})

    def _prefix(self) -> str:
        given = viewer.get().prefix
        return self.prefix if given is None else given

    def _may_change(self) -> bool:
        return self.allow_changes and viewer.get().may_change

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(
            prefix=self._prefix(),
            allow_changes=self._may_change(),
            csrf_token=viewer.get().csrf_token,
            is_live=viewer.get().is_live,
            has_catalog=self.catalog.is_installed,
            **values,
        )

    def _page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._render(template, **values), status)

    async def _trouble(self, _request: Request, error: Exception) -> Response:
        return self._page("trouble.html", 503, text=str(error))

    # Routes

    def _route_values(self) -> dict[str, Any]:
        return {
            "rows": route_rows(self.watcher),
            "processes": self.watcher.picture.processes,
            "silent": self.watcher.picture.silent,
        }

    async def routes(self, _request: Request) -> Response:
        """The tree of routes."""
        await run_in_threadpool(self.watcher.look)
        return self._page("routes.html", **self._route_values())

    async def live_routes(self, _request: Request) -> Any:
        """The tree, again with each look; once, where no connection is kept open."""
        if not viewer.get().is_live:
            await run_in_threadpool(self.watcher.look)
            return self._page("_routes.html", **self._route_values())
        return EventStream(self._route_updates)

    async def _route_updates(self) -> AsyncIterator[bytes]:
        watcher = self.watcher
        if watcher.viewers >= _MAX_VIEWERS:
            return
        watcher.viewers += 1
        watcher.start()
        try:
            while True:
                await watcher.next()
                yield watcher.rendered(lambda: self._render("_routes.html", **self._route_values()))
        finally:
            watcher.viewers -= 1

    # Events

    def _paths(self) -> list[str]:
        return [view.path for view in self.tracker.routes()]

    async def events(self, request: Request) -> Response:
        """The live tail, the search and the form to explain."""
        route, name = (request.query_params.get(key, "") for key in ("route", "name"))
        return self._page(
            "events.html",
            route=route,
            name=name,
            paths=self._paths(),
            stores=list(searchable(self.tracker)),
            stream=urlencode({"route": route, "name": name}),
        )

    async def live_events(self, request: Request) -> Any:
        """The events that pass a route now."""
        if not viewer.get().is_live:
            return self._page("trouble.html", 404, text="This server keeps no connection open.")
        route, name = (request.query_params.get(key, "") for key in ("route", "name"))

        async def updates() -> AsyncIterator[bytes]:
            messages = tail(self.watcher.folder, route, name)
            try:
                async for message in messages:
                    yield as_event(self._render("_events.html", **message))
            finally:
                await messages.aclose()  # type: ignore[attr-defined]  # an async generator

        return EventStream(updates)

    async def explain(self, request: Request) -> Response:
        """Where an event would go, and why."""
        text = (await _form(request)).get("event", "") if request.method == "POST" else ""
        values: dict[str, Any] = {"text": text, "decisions": None, "problem": ""}
        if text:
            try:
                event = parsed(text)
                values["decisions"] = await run_in_threadpool(explained, self.tracker, event)
            except (ValueError, msgspec.DecodeError) as error:
                values["problem"] = f"This is no event: {error}"
        return self._page("explain.html", **values)

    async def search(self, request: Request) -> Response:
        """The events of a store."""
        query = Query.of(request.query_params)
        stores = list(searchable(self.tracker))
        found: list[dict[str, Any]] = []
        problem = ""
        if query.route in stores:
            try:
                found = await run_in_threadpool(found_events, self.tracker, query)
            except ValueError as error:
                problem = str(error)
        older = query.next_page(found[-1]["id"]) if len(found) == PAGE else None
        return self._page(
            "search.html", query=query, stores=stores, events=found, older=older, problem=problem
        )

    # Catalog

    async def list_types(self, request: Request) -> Response:
        """The event types and contexts, with rates and last seen."""
        words = request.query_params.get("words", "")
        return self._page(
            "catalog.html",
            words=words,
            types=await run_in_threadpool(self.catalog.rows, "event", words),
            contexts=await run_in_threadpool(self.catalog.rows, "context", words),
            stores=list(searchable(self.tracker)),
        )

    async def one_type(self, request: Request) -> Response:
        """One event type or context."""
        name, kind = (request.query_params.get(key, "") for key in ("name", "kind"))
        one = self.catalog.one("context" if kind == "context" else "event", name)
        if one is None:
            return self._page("trouble.html", 404, text="No such type is declared here.")
        return await run_in_threadpool(self._type_page, one)

    def _type_page(self, one: Any) -> Response:
        catalog, is_event = self.catalog, one.kind == "event"
        return self._page(
            "event_type.html",
            one=one,
            seen=catalog.seen(one.name) if is_event else None,
            routes=catalog.routes(one) if is_event else (),
            fields=catalog.fields(one),
            versions=catalog.versions(one) if is_event else [],
        )

    # Dead letters

    async def list_letters(self, request: Request) -> Response:
        """Dead letters by route, reason and age."""
        wanted = _filter(request.query_params)
        found = await run_in_threadpool(self.letters.find, wanted, _LETTERS_SHOWN + 1)
        in_memory = await run_in_threadpool(self._letters_in_memory, wanted)
        history = await run_in_threadpool(self.letters.history)
        return self._page(
            "letters.html",
            wanted=wanted,
            letters=found[:_LETTERS_SHOWN],
            more=len(found) > _LETTERS_SHOWN,
            groups=list(reasons(found)),
            in_memory=in_memory,
            history=history,
            done=request.query_params.get("replayed", ""),
        )

    def _letters_in_memory(self, wanted: Filter) -> list[MemoryLetter]:
        return list(letters_in_memory(self.watcher.folder, wanted.given()))

    async def one_letter(self, request: Request) -> Response:
        """One dead letter, with its event as people may see it."""
        router, number = (request.query_params.get(key, "") for key in ("router", "number"))
        letter = None
        with suppress(ValueError):
            letter = await run_in_threadpool(self.letters.get, router, int(number))
        if letter is None:
            return self._page("trouble.html", 404, text="This dead letter is there no more.")
        event = self.letters.shown(letter)
        return self._page(
            "letter.html", router=router, letter=letter, event=event,
            decisions=explained(self.tracker, letter.event),
        )  # fmt: skip

    async def freeze(self, request: Request) -> Response:
        """The dry run: which letters are meant, frozen, with their number."""
        if not self._may_change():
            return self._read_only()
        wanted = _filter(await _form(request))
        frozen = await run_in_threadpool(self.letters.freeze, wanted, _who(request))
        sample = await run_in_threadpool(self.letters.find, wanted, _SAMPLE)
        return self._page("frozen.html", frozen=frozen, letters=sample)

    async def replay(self, request: Request) -> Response:
        """Deliver a frozen selection once more."""
        if not self._may_change():
            return self._read_only()
        form = await _form(request)
        router, selection = form.get("router", ""), form.get("selection", "")
        if router not in self.letters.boxes():
            return self._page("trouble.html", 400, text="There is no such router.")
        count = await run_in_threadpool(self.letters.replay, router, selection, _who(request))
        if not count:
            text = "This selection was used already, or holds no letter any more."
            return self._page("trouble.html", 409, text=text)
        return RedirectResponse(f"{self._prefix()}/letters?replayed={count}", status_code=303)

    def _read_only(self) -> Response:
        text = "You may not change anything here"
        if not self.allow_changes:
            text = "The console is read-only: start it with --allow-changes."
        return self._page("trouble.html", 403, text=text)


def _who(request: Request) -> str:
    """Name the person for the log and the store."""
    if name := viewer.get().name:
        return name
    return f"console ({request.client.host if request.client is not None else '?'})"


async def _form(request: Request) -> dict[str, str]:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MAX_FORM_BYTES:
            return {}
    return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))


def _filter(values: Mapping[str, str]) -> Filter:
    known = {key: values[key] for key in Filter.__struct_fields__ if key in values}
    made = Filter(**known)
    try:
        made.given()
    except ValueError:
        made.older_than_s = ""
    return made
