"""Where MongoDB is, and how to get in: the options that lead to it, checked together."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import attrs
from pymongo.common import validate
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from eventtracking import OptionsError

__all__ = ["Address"]

_SRV: Final = "mongodb+srv://"
_OURS: Final = {
    "document_class": "the backend sets it",
    "host": "give it as `host`",
    "password": "give it as `password`",
    "port": "give it as `port`",
    "timeoutms": "give it as `timeout_s`",
    "type_registry": "the backend sets it",
    "tz_aware": "the backend sets it",
    "tzinfo": "the backend sets it",
    "username": "give it as `user`",
    "uuidrepresentation": "the backend sets it",
    "w": "give it as `write_concern`",
}
"""Options of pymongo that `extra` may not hold, in lower case, and what to do instead."""
_URI_SHAPE: Final = (
    "no valid MongoDB URI: expected mongodb://user:password@host:27017/?option=value, "
    "with the characters : / ? # [ ] @ % of user and password percent-encoded"
)


@attrs.frozen(kw_only=True)
class Address:
    """The checked options."""

    arguments: Mapping[str, Any] = attrs.field(repr=False)
    """What `MongoClient` is called with."""
    hosts: str
    """Where it is, without user and password."""

    def __str__(self) -> str:
        return self.hosts

    @property
    def limits_connecting(self) -> bool:
        """Whether the options say how long connecting to one server may take."""
        texts = [*self.arguments, str(self.arguments["host"])]
        return any("connecttimeoutms" in text.lower() for text in texts)

    @classmethod
    def checked(
        cls,
        uri: str | None,
        host: str | Sequence[str] | None,
        port: int | None,
        user: str | None,
        password: str | None,
        extra: Mapping[str, Any],
    ) -> Address:
        """Check the options together, without asking the network.

        Raises:
            OptionsError: If they contradict each other, or pymongo would refuse them. It holds no part of a URI or password.
        """
        hosts = _split(host)
        user, password = user or None, password or None  # an empty one is that of an unset variable
        problems = {
            **dict(_clashes(uri, host, port, user, password)),
            **dict(_host_problems(hosts)),
            **(_uri_problems(uri) if uri is not None else {}),
            **dict(_extra_problems(extra)),
        }
        if problems:
            raise OptionsError(problems)
        arguments = {"host": uri or hosts, "port": port, "username": user, "password": password, **extra}
        given = {name: value for name, value in arguments.items() if value is not None}
        return cls(arguments=given, hosts=_hosts_of(uri) if uri else ",".join(_with_port(name, port) for name in hosts))


def _split(host: str | Sequence[str] | None) -> list[str]:
    given = [host] if isinstance(host, str) else ["localhost"] if host is None else host
    return [name.strip() for names in given for name in names.split(",")]


def _clashes(
    uri: str | None, host: object, port: int | None, user: str | None, password: str | None
) -> Iterator[tuple[str, str]]:
    if uri is not None:
        for name, value in (("host", host), ("port", port)):
            if value is not None:
                yield name, f"`uri` says where the server is already: leave out `{name}`, or `uri`"
    if password is not None and not user and not _has_user(uri):
        yield "user", "`password` is given without it"
    if (user is not None or password is not None) and _has_user(uri):
        yield "uri", "it names a user, and so do `user` or `password`: name one in one place"


def _has_user(uri: str | None) -> bool:
    return uri is not None and "@" in uri.partition("://")[2].partition("/")[0]


def _host_problems(hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not hosts or not all(hosts):
        yield "host", "expected a name or an address; it is empty"
    if any("://" in name or "@" in name for name in hosts):
        # told of `uri`, which is secret, so that the text of `host` is not shown: it may hold a password
        yield "uri", "`host` holds a URI or a user: give a URI as `uri`, or name, user and password each by itself"


def _uri_problems(uri: str) -> dict[str, str]:
    """Say what is wrong with a URI. The driver's own words would quote parts of the password."""
    if not uri.startswith(("mongodb://", _SRV)):
        return {"uri": _URI_SHAPE}
    wrong = [name for name, value in _uri_options(uri) if not _is_accepted(name, value)]
    if wrong:
        return {"uri": f"pymongo does not know, or refuses the value of: {', '.join(sorted(set(wrong)))}"}
    if uri.startswith(_SRV):  # parsing it would ask the DNS
        return {} if urlsplit(uri).netloc.rpartition("@")[2] else {"uri": _URI_SHAPE}
    try:
        parse_uri(uri, validate=False)
    except (PyMongoError, ValueError):
        return {"uri": _URI_SHAPE}
    return {}


def _uri_options(uri: str) -> list[tuple[str, str]]:
    """The options in a URI; the names are safe to show, because they are words."""
    query = uri.partition("://")[2].partition("?")[2]
    return [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if re.fullmatch(r"[A-Za-z0-9_]+", name) and name.lower() != "readpreferencetags"
    ]


def _extra_problems(extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in extra.items():
        if name.lower() in _OURS:
            yield f"extra.{name}", f"not here: {_OURS[name.lower()]}"
        elif not _is_accepted(name, value):
            yield f"extra.{name}", "pymongo's MongoClient has no such option, or refuses its value"


def _is_accepted(name: str, value: Any) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            validate(name, value)
    except OSError:  # a file of certificates: it must be there when the connection is opened
        return True
    except (PyMongoError, ValueError, TypeError):
        return False
    return True


def _hosts_of(uri: str) -> str:
    return re.split(r"[/?]", uri.partition("://")[2].rpartition("@")[2])[0]


def _with_port(host: str, port: int | None) -> str:
    return host if re.search(r"(^[^:]*|\]):\d+$", host) else f"{host}:{port or 27017}"
