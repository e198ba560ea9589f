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
from pymongo.uri_parser import parse_uri, split_hosts

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
_WITHOUT_PASSWORD: Final = frozenset({"GSSAPI", "MONGODB-AWS", "MONGODB-OIDC", "MONGODB-X509"})
"""Ways to authenticate by something else than a password."""
_URI_SHAPE: Final = (
    "no valid MongoDB URI: expected mongodb://user:password@host:27017/?option=value, with the"
    " characters : / ? # [ ] @ % of user and password, and @ of option values, percent-encoded"
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
        return "connecttimeoutms" in _driver_options(self.arguments)

    @property
    def wants_journal(self) -> bool:
        """Whether the options ask for a confirmation that the write is in the journal."""
        given = _driver_options(self.arguments)
        return any(str(given.get(name, "")).lower() == "true" for name in ("journal", "j"))

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
            OptionsError: If they contradict each other, or pymongo would refuse them. It holds no
                part of a URI or password.
        """
        hosts = _split(host)
        user, password = user or None, password or None  # an empty one is that of an unset variable
        problems = {
            **dict(_clashes(uri, host, port, user, password)),
            **dict(_lacks(uri, user, password, extra)),
            **dict(_host_problems(hosts)),
            **(_uri_problems(uri) if uri is not None else {}),
            **dict(_extra_problems(extra)),
        }
        if problems:
            raise OptionsError(problems)
        arguments = {
            "host": uri or hosts,
            "port": port,
            "username": user,
            "password": password,
            **extra,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return cls(
            arguments=given,
            hosts=_hosts_of(uri) if uri else ",".join(_with_port(name, port) for name in hosts),
        )


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


def _lacks(
    uri: str | None, user: str | None, password: str | None, extra: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    mechanism = _driver_options({"host": uri, **extra}).get("authmechanism", "")
    if user is not None and password is None and str(mechanism).upper() not in _WITHOUT_PASSWORD:
        yield "password", "`user` is given without it"


def _driver_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options of pymongo, those in a URI included, by their names in lower case."""
    uri = arguments.get("host")
    in_uri = _uri_options(uri) if isinstance(uri, str) else []
    return {name.lower(): value for name, value in [*in_uri, *arguments.items()]}


def _has_user(uri: str | None) -> bool:
    return uri is not None and "@" in _authority(uri)


def _host_problems(hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not hosts or not all(hosts):
        yield "host", "expected a name or an address; it is empty"
    elif any(not _is_host(name) for name in hosts if "://" not in name and "@" not in name):
        yield (
            "host",
            "expected a name or an address, with or without a port: name, name:port or [IPv6]:port",
        )
    if any("://" in name or "@" in name for name in hosts):
        # told of `uri`, which is secret, so that the text of `host` is not shown: it may hold a
        # password
        yield (
            "uri",
            (
                "`host` holds a URI or a user: give a URI as `uri`, or name, user and password each"
                " by itself"
            ),
        )


def _is_host(name: str) -> bool:
    try:
        return bool(split_hosts(name))
    except (PyMongoError, ValueError):
        return False


def _uri_problems(uri: str) -> dict[str, str]:
    """Say what is wrong with a URI. The driver's own words would quote parts of the password."""
    if not uri.startswith(("mongodb://", _SRV)) or not _authority(uri):
        return {"uri": _URI_SHAPE}
    if (
        "@" in uri.partition("://")[2][len(_authority(uri)) :]
    ):  # the end of a password that is not percent-encoded
        return {"uri": _URI_SHAPE}
    wrong = [name for name, value in _uri_options(uri) if not _is_accepted(name, value)]
    if wrong:
        return {
            "uri": (
                f"pymongo does not know, or refuses the value of: {', '.join(sorted(set(wrong)))}"
            )
        }
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


def _authority(uri: str) -> str:
    """What stands between the scheme and the path or the options: user, password and hosts."""
    return re.split(r"[/?]", uri.partition("://")[2])[0]


def _hosts_of(uri: str) -> str:
    return _authority(uri).rpartition("@")[2]


def _with_port(host: str, port: int | None) -> str:
    return host if re.search(r"(^[^:]*|\]):\d+$", host) else f"{host}:{port or 27017}"
