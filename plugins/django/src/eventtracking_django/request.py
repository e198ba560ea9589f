"""What a request tells of the context that events happen in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from inspect import isawaitable
from typing import Any, Final

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.sessions.backends.signed_cookies import SessionStore as _SignedCookies
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from eventtracking_django import conf
from eventtracking_django.conf import Proxies

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SOCKET_FILE: Final = "unix:"

__all__ = [
    "client_ip",
    "describe_client",
    "describe_own",
    "describe_own_async",
    "describe_request",
    "hash_session",
    "session_key",
]


def describe_client(request: HttpRequest) -> dict[str, Any]:
    """Return where a request comes from.

    Raises:
        ValueError: If `EVENT_TRACKING_TRUSTED_PROXIES` is wrong, which must cost no more than this.
    """
    address = client_ip(request)
    return {} if address is None else {"ip": address}


def describe_request(request: HttpRequest) -> dict[str, Any]:
    """Return the context of a request, but for its client and its user.

    Reads headers only: no session is loaded.
    """
    meta = request.META
    key = session_key(request)
    found = {
        "session": hash_session(key) if key else None,
        "host": _host(request),
        "path": request.path,
        "method": request.method,
        "referer": meta.get("HTTP_REFERER"),
        "agent": meta.get("HTTP_USER_AGENT"),
        "accept_language": meta.get("HTTP_ACCEPT_LANGUAGE"),
        "request_id": request.headers.get(conf.request_id_header()),
    }
    return {key: value for key, value in found.items() if value is not None}


def session_key(request: HttpRequest) -> str | None:
    """Return the key of the request's session.

    None where the key is the session's data, as with signed cookies: it changes with its content.
    """
    session = getattr(request, "session", None)
    key = getattr(session, "session_key", None)
    return None if key is None or isinstance(session, _SignedCookies) else str(key)


def describe_own(request: HttpRequest) -> Mapping[str, Any]:
    """Return the keys that the project's own callable adds; it may be an `async def`."""
    function = conf.context_callable()
    found: Any = None if function is None else function(request)
    return dict((async_to_sync(_awaited)(found) if isawaitable(found) else found) or {})


async def describe_own_async(request: HttpRequest) -> Mapping[str, Any]:
    """Return the same on an event loop, which a callable that is not `async` must not block."""
    function = conf.context_callable()
    if function is None:
        return {}
    found: Any = await sync_to_async(lambda: function(request))()
    return dict((await found if isawaitable(found) else found) or {})


async def _awaited(found: Any) -> Any:
    return await found


def hash_session(session_key: str) -> str:
    """Name a session so that its events belong together, and nobody can take it over."""
    return salted_hmac("eventtracking.session", session_key, algorithm="sha256").hexdigest()[:32]


def _host(request: HttpRequest) -> str | None:
    try:
        return request.get_host()
    except Exception:  # noqa: BLE001 - a host that ALLOWED_HOSTS refuses is the business of others
        return None


def client_ip(request: HttpRequest, proxies: Proxies | None = None) -> str | None:
    """Return the client's address: the peer's, or, if that is a trusted proxy, what the proxies
    say.

    `X-Forwarded-For` is read from its end, because only what trusted proxies appended can be
    believed. A server on a socket file names no peer; that place stays in the chain all the same,
    as the one that wrote the last entry.
    """
    proxies = conf.trusted_proxies() if proxies is None else proxies
    peer = request.META.get("REMOTE_ADDR") or ""
    hops = [
        part.strip()
        for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if part.strip()
    ]
    chain = [*hops, peer]
    if proxies.count:
        return _valid(chain[max(-1 - proxies.count, -len(chain))])
    if not proxies.networks:
        return _valid(peer) or (None if peer.startswith(_SOCKET_FILE) else peer or None)
    client = next(
        (address for address in reversed(chain) if not _is_trusted(address, proxies)), chain[0]
    )
    return _valid(client)


def _valid(address: str) -> str | None:
    parsed = _parsed(address)
    return None if parsed is None else str(parsed)


def _parsed(address: str) -> Address | None:
    """Read an address, with or without a port; an IPv4 address in IPv6 form is the IPv4 address.

    Azure's and other proxies write `203.0.113.7:50123` and `[2001:db8::7]:50123`.
    """
    host = address.strip().strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _is_trusted(address: str, proxies: Proxies) -> bool:
    """Whether an address is a proxy's.

    None at all is that of a socket file, which only the server's own machine reaches. nginx calls
    it `unix:` when it listens on one and passes on where a request came from.
    """
    if not address or address.startswith(_SOCKET_FILE):
        return True
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in proxies.networks)
