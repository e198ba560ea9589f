"""Values of the old settings as a config takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = [
    "as_list",
    "as_names",
    "as_patterns",
    "copied",
    "has_tuple",
    "kind_of",
    "route_names",
    "with_uri",
]

_MONGO_PORT: Final = 27017
_FLAGS: Final = {
    "a": re.ASCII,
    "i": re.IGNORECASE,
    "m": re.MULTILINE,
    "s": re.DOTALL,
    "x": re.VERBOSE,
}
_PORTED: Final = re.compile(r"(^[^:\[]+|\]):\d+$")
"""A host that names its port; the colons of a bare IPv6 address name none."""


def has_tuple(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(has_tuple(item) for item in value.values())
    return isinstance(value, tuple | set | frozenset) or (
        isinstance(value, list) and any(map(has_tuple, value))
    )


def as_list(value: Any) -> Any:
    """Any collection but text and mappings as a list; a set, which has no order, is sorted.

    An iterator is none: the settings are read more than once, and the first reading would use it
    up.
    """
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    is_other = isinstance(value, str | bytes | bytearray | Mapping | Iterator)
    return list(value) if isinstance(value, Iterable) and not is_other else value


def as_names(value: Any) -> Any:
    return list(value) if isinstance(value, Mapping) else as_list(value)


def as_patterns(value: Any) -> Any:
    """Any collection of patterns as a list of text; compiled ones keep their flags."""
    found = as_names(value)
    return [*map(_pattern_text, found)] if isinstance(found, list) else found


def _pattern_text(pattern: Any) -> Any:
    if not isinstance(pattern, re.Pattern):
        return pattern
    flags = "".join(letter for letter, flag in _FLAGS.items() if pattern.flags & flag)
    return f"(?{flags}){pattern.pattern}" if flags else pattern.pattern


def kind_of(value: Any) -> str | None:
    """Name the type of a value, and the keys of a dict. Their values may be secret."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return f"a value of type {type(value).__name__}"
    keys = [
        repr(key) if isinstance(key, str) else f"a key of type {type(key).__name__}"
        for key in value
    ]
    return f"a dict with {', '.join(keys)}" if keys else "an empty dict"


def route_names(keys: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Give each backend the name of its route: its own, if that can be one, else the nearest that
    no sibling has.
    """
    taken = {key for key in keys if isinstance(key, str) and key and "/" not in key}
    for key in keys:
        name = str(key)
        if not isinstance(key, str) or key not in taken:
            name = name.replace("/", "_") or "_"
            while name in taken:
                name += "_"
            taken.add(name)
        yield key, name


def with_uri(node: Mapping[str, Any]) -> dict[str, Any]:
    """Put a host that is a URI, which pymongo takes in its place, where the plugin `mongo` takes
    one.
    """
    host = as_list(node.get("host"))
    only = host[0] if isinstance(host, list) and len(host) == 1 else host
    if not isinstance(only, str) or "://" not in only:
        return dict(node)
    others = {key: value for key, value in node.items() if key not in ("host", "port")}
    return {**others, "uri": _with_port(only, node.get("port"))}


def _with_port(uri: str, port: Any) -> str:
    """Give the hosts of a URI that name no port the one that stands beside it, as pymongo does."""
    scheme, _, rest = uri.partition("://")
    if scheme != "mongodb" or port in (None, _MONGO_PORT):
        return uri
    authority = re.split(r"[/?]", rest)[0]
    user, at, hosts = authority.rpartition("@")
    ported = (host if _PORTED.search(host) else f"{host}:{port}" for host in hosts.split(","))
    return f"{scheme}://{user}{at}{','.join(ported)}{rest[len(authority) :]}"


def copied(value: Any) -> Any:
    """Copy tables and lists, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list | tuple) else value
