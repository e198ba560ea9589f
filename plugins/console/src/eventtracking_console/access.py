"""Who may use the console: checks before any page is reached.

Each request passes them in this order: the Host header is one of ours (or a page of another site
has its name resolve to us), an unsafe method comes from our own pages, and the caller is known by
the cookie that the one-time URL sets, or by the password. Every answer forbids foreign content.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Final

import attrs
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventtracking_console.viewer import Viewer, viewer

__all__ = ["SAFE_METHODS", "Access", "Guard", "SecurityHeaders", "is_same_origin"]

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_COOKIE: Final = "eventtracking_console"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_same_origin(headers: Headers) -> bool:
    """Whether an unsafe request comes from one of our own pages, or from no browser."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or origin.partition("://")[2] == headers.get("host")


@attrs.define(eq=False)
class Access:
    """The secrets of one run."""

    hosts: Collection[str] = LOOPBACK
    """The names, without a port, by which a browser may call us."""
    password: str | None = attrs.field(default=None, repr=False)
    token: str = attrs.field(factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Opens the console once."""
    _session: str = attrs.field(factory=lambda: secrets.token_urlsafe(32), repr=False)
    _token_used: bool = attrs.field(default=False, init=False)

    def names_us(self, headers: Headers) -> bool:
        """Whether the Host header is one of ours."""
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return name.lower() in self.hosts

    def takes(self, token: str) -> bool:
        """Use the one-time token up, if it is the right one."""
        if self._token_used or not hmac.compare_digest(token.encode(), self.token.encode()):
            return False
        self._token_used = True
        return True

    def knows(self, headers: Headers) -> bool:
        """Whether the caller has the cookie, or the password."""
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        morsel = cookies.get(_COOKIE)
        given = morsel.value if morsel is not None else ""
        return hmac.compare_digest(given.encode(), self._session.encode()) or self._has_password(
            headers.get("authorization", "")
        )

    def user(self, headers: Headers) -> str:
        """Return the name that came with the password; empty if there is none."""
        authorization = headers.get("authorization", "")
        if not self._has_password(authorization):
            return ""
        return _basic(authorization)[0].decode("utf-8", "replace")

    def _has_password(self, authorization: str) -> bool:
        if self.password is None:
            return False
        return hmac.compare_digest(_basic(authorization)[1], self.password.encode())

    def welcome(self) -> Response:
        """Set the cookie, and lead to the first page without the token in its address."""
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(_COOKIE, self._session, httponly=True, samesite="strict", path="/")
        return answer


def _basic(authorization: str) -> tuple[bytes, bytes]:
    """Read name and password; both are empty if there are none."""
    kind, _, content = authorization.partition(" ")
    if kind.lower() != "basic":
        return b"", b""
    try:
        name, _, given = base64.b64decode(content, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return name, given


class Guard:
    """Lets only those in who may use the console."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = Request(scope)
        answer = self._refusal(request)
        if name := self._access.user(request.headers):
            viewer.set(Viewer(name=name))
        await (self._app if answer is None else answer)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        access, headers = self._access, request.headers
        if not access.names_us(headers):
            return PlainTextResponse("This address is not the console's.\n", 421)
        if request.method not in SAFE_METHODS and not is_same_origin(headers):
            return PlainTextResponse("A change must come from the console's own pages.\n", 403)
        token = request.query_params.get("token")
        if token is not None and request.method == "GET" and request.url.path == "/":
            if access.takes(token):
                return access.welcome()
            if not access.knows(headers):
                return PlainTextResponse(
                    "This address was used, or is wrong; start the console again.\n", 403
                )
            return RedirectResponse("/", status_code=303)
        if access.knows(headers):
            return None
        if access.password is not None:
            ask = {"WWW-Authenticate": 'Basic realm="eventtracking", charset="UTF-8"'}
            return PlainTextResponse("The console needs its password.\n", 401, ask)
        return PlainTextResponse("Open the address that the command has printed.\n", 403)


class SecurityHeaders:
    """Puts the headers on every answer, refusals and errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, sending)
