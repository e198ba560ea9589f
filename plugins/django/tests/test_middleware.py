"""The middleware: each event is in the context of its request, and of no other."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.test.client import RequestFactory
from django.utils.functional import SimpleLazyObject

from eventtracking import Event, tracker
from eventtracking_django.conf import trusted_proxies
from eventtracking_django.middleware import EventTrackingMiddleware
from eventtracking_django.request import client_ip, hash_session, session_key
from eventtracking_django.testing import capture_events

pytestmark = pytest.mark.needs("logger")

HEADERS = {
    "user-agent": "tests",
    "referer": "http://testserver/before",
    "accept-language": "de",
    "x-request-id": "r-1",
}


@pytest.fixture
def events() -> Iterator[Sequence[Event]]:
    """What is emitted."""
    with capture_events() as captured:
        yield captured


@pytest.fixture
def user() -> Iterator[Any]:
    """Somebody who can log in."""
    from django.contrib.auth import get_user_model

    people: Any = get_user_model().objects
    found = people.create_user("ada", password="secret")
    yield found
    found.delete()


def test_what_a_request_tells(events: Sequence[Event]) -> None:
    """An anonymous request gives its address, its page and its headers."""
    Client().get("/page?n=1", headers=HEADERS)
    assert [event.context for event in events] == [
        {
            "ip": "127.0.0.1",
            "host": "testserver",
            "path": "/page",
            "method": "GET",
            "referer": "http://testserver/before",
            "agent": "tests",
            "accept_language": "de",
            "request_id": "r-1",
        }
    ] * 2


def test_the_user_and_the_session(events: Sequence[Event], user: Any) -> None:
    """A user who is logged in is named, and the session by a hash, from which nobody gets
    its key.
    """
    client = Client()
    client.force_login(user)
    client.get("/page")
    key = client.session.session_key
    context = events[0].context
    assert (context["user_id"], context["username"]) == (user.pk, "ada")
    assert context["session"] == hash_session(str(key))
    assert str(key) not in str(events)


def test_the_user_in_an_async_view(events: Sequence[Event], user: Any) -> None:
    """The same on the event loop, where the user must not be loaded by blocking it."""

    async def ask() -> None:
        client = AsyncClient()
        await sync_to_async(client.force_login)(user)
        await client.get("/async-page")

    asyncio.run(ask())
    assert [event.context["username"] for event in events] == ["ada", "ada"]


def test_an_anonymous_request_costs_no_query(events: Sequence[Event]) -> None:
    """Without a session nothing is loaded, and no `Vary: Cookie` keeps the page out of caches."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        response = Client().get("/page")
    assert len(queries) == 0
    assert not response.has_header("Vary")


def test_the_context_is_left(events: Sequence[Event]) -> None:
    """After the answer, and after an error, nothing of the request is left behind."""
    Client().get("/page")
    assert tracker.resolve_context() == {}
    with pytest.raises(RuntimeError, match="the view is broken"):
        Client().get("/broken")
    assert tracker.resolve_context() == {}


def test_a_stream_has_the_context(events: Sequence[Event]) -> None:
    """Every part of a streaming answer is made in the context, and nothing is left between the
    parts.
    """
    response: Any = Client().get("/stream")
    parts = iter(response)
    assert next(parts) == b"0"
    assert tracker.resolve_context() == {}
    assert list(parts) == [b"1", b"2"]
    assert [event.context["path"] for event in events] == ["/stream"] * 4


def test_an_aborted_stream_leaves_nothing(events: Sequence[Event]) -> None:
    """A client that goes away after the first part leaves no context behind; what the view then
    emits has it.
    """
    response: Any = Client().get("/stream")
    next(iter(response))
    response.close()
    assert tracker.resolve_context() == {}
    assert [(event.name, event.context["path"]) for event in events] == [
        ("stream.part", "/stream"),
        ("stream.end", "/stream"),
    ]


def test_an_async_stream_has_the_context(events: Sequence[Event]) -> None:
    """The same on the event loop."""

    async def read() -> list[bytes]:
        response: Any = await AsyncClient().get("/async-stream")
        parts = [part async for part in response]
        assert tracker.resolve_context() == {}
        return parts

    assert asyncio.run(read()) == [b"0", b"1", b"2"]
    assert [event.context["path"] for event in events] == ["/async-stream"] * 4


def test_the_projects_own_keys(events: Sequence[Event]) -> None:
    """A callable of the project adds keys; one that fails costs its keys, not the request."""
    with (
        override_settings(EVENT_TRACKING_CONTEXT="project_urls.project_context"),
        capture_events() as captured,
    ):
        Client().get("/page?course=demo")
    assert captured[0].context["course_id"] == "demo"
    with (
        override_settings(EVENT_TRACKING_CONTEXT="project_urls.broken_context"),
        capture_events() as captured,
    ):
        assert Client().get("/page").status_code == 200
    assert captured[0].context["path"] == "/page"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "peer", "expected"),
    [
        (0, "6.6.6.6", "10.0.0.1", "10.0.0.1"),
        (1, "6.6.6.6, 1.2.3.4", "10.0.0.1", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.2", "10.0.0.1", "1.2.3.4"),
        (1, "", "10.0.0.1", "10.0.0.1"),
        (["10.0.0.0/8"], "6.6.6.6, 1.2.3.4, 10.0.0.2", "10.0.0.1", "1.2.3.4"),
        (["10.0.0.0/8"], "6.6.6.6", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.3, 10.0.0.2", "10.0.0.1", "10.0.0.3"),
        (["10.0.0.1"], "nonsense", "10.0.0.1", None),
        (["::1", "10.0.0.0/8"], "2001:db8::1", "::1", "2001:db8::1"),
        # a server on a socket file names no peer
        (0, "6.6.6.6", "", None),
        (0, "", "", None),
        (1, "6.6.6.6, 9.9.9.9", "", "9.9.9.9"),
        (1, "", "", None),
        (2, "6.6.6.6, 9.9.9.9, 10.0.0.2", "", "9.9.9.9"),
        (["10.0.0.0/8"], "6.6.6.6, 9.9.9.9", "", "9.9.9.9"),
        (["10.0.0.0/8"], "6.6.6.6, 9.9.9.9, 10.0.0.2", "", "9.9.9.9"),
        (["10.0.0.0/8"], "nonsense", "", None),
        (["10.0.0.0/8"], "", "", None),
        # nginx on a socket file
        (["10.0.0.0/8"], "6.6.6.6, 9.9.9.9, unix:", "10.0.0.1", "9.9.9.9"),
        (["10.0.0.0/8"], "unix:, 9.9.9.9, 10.0.0.2", "unix:/run/app", "9.9.9.9"),
        (["10.0.0.0/8"], "unix:", "10.0.0.1", None),
        (1, "6.6.6.6, 9.9.9.9", "unix:", "9.9.9.9"),
        (0, "", "unix:", None),
        # networks in IPv6 form
        (["::ffff:10.0.0.0/104"], "6.6.6.6, 1.2.3.4, 10.0.0.2", "10.0.0.1", "1.2.3.4"),
        (["::ffff:10.0.0.1"], "1.2.3.4", "10.0.0.1", "1.2.3.4"),
        (["::ffff:10.0.0.1"], "1.2.3.4", "10.0.0.2", "10.0.0.2"),
        (["::ffff:0:0/96"], "2001:db8::1, 1.2.3.4", "10.0.0.2", "2001:db8::1"),
    ],
)
def test_only_trusted_proxies_are_believed(
    proxies: Any, forwarded: str, peer: str, expected: str | None
) -> None:
    """What a client writes into X-Forwarded-For counts for nothing; what trusted proxies append
    does.
    """
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    with override_settings(EVENT_TRACKING_TRUSTED_PROXIES=proxies):
        assert client_ip(request, trusted_proxies()) == expected


def test_wrong_proxies_cost_the_address_alone(events: Sequence[Event]) -> None:
    """With a wrong setting for the proxies, which the checks tell, requests are answered, and have
    the rest of their context.
    """
    with override_settings(EVENT_TRACKING_TRUSTED_PROXIES=-1):
        Client().get("/page")
    assert events[0].context["path"] == "/page"
    assert "ip" not in events[0].context


@pytest.mark.timeout(180)
def test_a_thousand_requests_at_once_never_mix() -> None:
    """500 requests in threads and 500 on an event loop, at the same time: each event has its own
    request's context.
    """

    def in_threads() -> None:
        with ThreadPoolExecutor(25) as pool:
            list(
                pool.map(
                    lambda n: Client().get(f"/page?n={n}", headers={"x-request-id": str(n)}),
                    range(500),
                )
            )

    async def on_the_loop() -> None:
        client = AsyncClient()
        numbers = range(500, 1000)
        await asyncio.gather(
            *(client.get(f"/async-page?n={n}", headers={"x-request-id": str(n)}) for n in numbers)
        )

    with capture_events() as events, ThreadPoolExecutor(1) as other:
        threads = other.submit(in_threads)
        asyncio.run(on_the_loop())
        threads.result()
    assert len(events) == 2000
    assert [event for event in events if event.context["request_id"] != event.data["n"]] == []


def test_it_is_asynchronous_exactly_if_what_it_wraps_is() -> None:
    """Django asks the middleware which of the two it is."""
    from asgiref.sync import iscoroutinefunction

    async def answer(request: Any) -> Any: ...

    def answer_at_once(request: Any) -> Any: ...

    found: list[Any] = [EventTrackingMiddleware(answer), EventTrackingMiddleware(answer_at_once)]
    assert [iscoroutinefunction(one) for one in found] == [True, False]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7:50123", "203.0.113.7"),
        ("[2001:db8::7]:50123", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.2:443", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unknown", None),
        ("300.1.1.1:80, 10.0.0.2", None),
    ],
)
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_each_form_of_an_address_behind_proxies(
    forwarded: str, client: str | None, peer: str
) -> None:
    """Ports, brackets and mapped addresses are understood; a proxy is never the client."""
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    with override_settings(EVENT_TRACKING_TRUSTED_PROXIES=["10.0.0.0/8"]):
        assert client_ip(request, trusted_proxies()) == client


class Token:
    """A user that a middleware for API tokens sets, without a session."""

    pk = 7
    is_authenticated = True

    def get_username(self) -> str:
        return "mara"


async def _of_token() -> Token:
    return Token()


def context_for(is_async: bool, **attributes: Any) -> dict[str, Any]:
    """The context of a request that another middleware has given attributes."""
    from django.contrib.auth.middleware import AuthenticationMiddleware
    from django.contrib.sessions.middleware import SessionMiddleware

    found: list[dict[str, Any]] = []
    request = RequestFactory().get("/")
    session_middleware = SessionMiddleware(lambda _: HttpResponse())
    session_middleware.process_request(request)
    AuthenticationMiddleware(lambda _: HttpResponse()).process_request(request)
    for name, value in attributes.items():
        setattr(request, name, value)

    def view(_: Any) -> Any:
        found.append(tracker.resolve_context())
        return HttpResponse()

    async def async_view(_: Any) -> Any:
        return view(_)

    answer: Any = EventTrackingMiddleware(async_view if is_async else view)(request)
    response = asyncio.run(answer) if is_async else answer
    session_middleware.process_response(request, response)
    assert not response.has_header("Vary")
    return found[0]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("user", [Token, lambda: SimpleLazyObject(Token)])
def test_a_user_without_a_session(is_async: bool, user: Any) -> None:
    """A user that another middleware has set is in the context, a lazy one too."""
    context = context_for(is_async, user=user())
    assert (context["user_id"], context["username"]) == (7, "mara")


def test_a_foreign_auser() -> None:
    """An asynchronous middleware for tokens may set no more than that."""
    assert context_for(True, auser=_of_token)["user_id"] == 7


@pytest.mark.parametrize("is_async", [False, True])
def test_a_token_wins_over_the_session(is_async: bool, user: Any) -> None:
    """The user that the view sees is the one that is told."""
    session = Client()
    session.force_login(user)
    context = context_for(is_async, session=session.session, user=SimpleLazyObject(Token))
    assert context["username"] == "mara"
    assert context["session"]


@pytest.mark.parametrize("is_async", [False, True])
def test_no_user_without_a_session(is_async: bool) -> None:
    """Django's own lazy user is not loaded, so that caches may keep the page."""
    assert "user_id" not in context_for(is_async)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_user_that_cannot_be_loaded_costs_itself_alone(is_async: bool) -> None:
    """A token that is refused leaves the request and the rest of its context as they are."""

    def refuse() -> None:
        raise PermissionError("expired")

    context = context_for(is_async, user=SimpleLazyObject(refuse))
    assert context["path"] == "/"
    assert "user_id" not in context


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", ["async_context", "querying_context", "late_context"])
def test_the_projects_callable_may_wait(is_async: bool, name: str) -> None:
    """As `async def`, with a query of the database, or with an awaitable as its result."""
    with override_settings(EVENT_TRACKING_CONTEXT=f"project_urls.{name}"):
        assert context_for(is_async)["found"] == 0


def test_a_key_that_is_the_data_names_no_session() -> None:
    """The key of a signed cookie changes with its content, so it names no session."""
    from django.contrib.sessions.backends import db, signed_cookies

    request = RequestFactory().get("/")
    request.session = signed_cookies.SessionStore("the:data:signed")
    assert session_key(request) is None
    request.session = db.SessionStore("a" * 32)
    assert session_key(request) == "a" * 32


def test_the_end_of_an_async_stream_is_in_the_context(events: Sequence[Event]) -> None:
    """A client that goes away ends the view's generator in the context of the request."""

    async def visit() -> None:
        async def parts() -> Any:
            try:
                yield b"one"
                yield b"two"
            finally:
                tracker.emit("stream.ended")

        async def view(_: Any) -> Any:
            return StreamingHttpResponse(parts())

        request = RequestFactory().get("/stream")
        response: Any = await EventTrackingMiddleware(view)(request)  # type: ignore[misc]  # async
        content = aiter(response.streaming_content)
        assert await anext(content) == b"one"
        await content.aclose()
        del content, response  # a server lets go of it, and the loop ends what is left
        gc.collect()
        await asyncio.sleep(0.1)

    asyncio.run(visit())
    assert [event.context.get("path") for event in events] == ["/stream"]
