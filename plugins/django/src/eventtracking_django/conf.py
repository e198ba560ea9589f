"""The settings: where each comes from, and what it means."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from django.conf import settings
from django.utils.module_loading import import_string

from eventtracking import ConfigError, Problem
from eventtracking.config import load_file

__all__ = [
    "CONFIG_SETTINGS",
    "CONTEXT",
    "ENABLED",
    "OLD_BACKENDS",
    "OLD_PROCESSORS",
    "ON_COMMIT",
    "SETTING",
    "TRUSTED_PROXIES",
    "Proxies",
    "celery_context",
    "config_path",
    "context_callable",
    "is_enabled",
    "on_commit",
    "read_config",
    "request_id_header",
    "trusted_proxies",
    "uses_old_settings",
]

SETTING: Final = "EVENT_TRACKING"
ON_COMMIT: Final = "EVENT_TRACKING_ON_COMMIT"
ENABLED: Final = "EVENT_TRACKING_ENABLED"
CONTEXT: Final = "EVENT_TRACKING_CONTEXT"
TRUSTED_PROXIES: Final = "EVENT_TRACKING_TRUSTED_PROXIES"
OLD_BACKENDS: Final = "EVENT_TRACKING_BACKENDS"
OLD_PROCESSORS: Final = "EVENT_TRACKING_PROCESSORS"

CONFIG_SETTINGS: Final = frozenset({SETTING, ENABLED, OLD_BACKENDS, OLD_PROCESSORS})
"""The settings that the default tracker is made from."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED_BITS: Final = 96
"""Bits of an IPv6 address before the IPv4 address that it holds."""


def _get(name: str, default: Any = None) -> Any:
    return getattr(settings, name, default)


def is_enabled() -> bool:
    """Whether events are captured: `EVENT_TRACKING_ENABLED`, True by default."""
    return bool(_get(ENABLED, True))


def on_commit() -> bool:
    """Whether events wait for the surrounding transaction: `EVENT_TRACKING_ON_COMMIT`, False by
    default.
    """
    return settings.configured and bool(_get(ON_COMMIT, False))


def celery_context() -> bool:
    """Whether Celery tasks run in the context of the code that sent them:
    `EVENT_TRACKING_CELERY_CONTEXT`, True by default.
    """
    return bool(_get("EVENT_TRACKING_CELERY_CONTEXT", True))


def request_id_header() -> str:
    """The header that carries the request's id: `EVENT_TRACKING_REQUEST_ID_HEADER`, `X-Request-ID`
    by default.
    """
    return str(_get("EVENT_TRACKING_REQUEST_ID_HEADER", "X-Request-ID"))


def uses_old_settings() -> bool:
    """Whether the config stands in the predecessor's settings."""
    return _get(SETTING) is None and (
        _get(OLD_BACKENDS) is not None or _get(OLD_PROCESSORS) is not None
    )


def config_path() -> str | None:
    """Return the path of the config, if `EVENT_TRACKING` is one.

    Raises:
        ConfigError: If the setting is missing, or is neither a mapping nor a path.
    """
    value = _setting()
    return None if isinstance(value, Mapping) else value


def read_config() -> Mapping[str, Any]:
    """Return the config: `EVENT_TRACKING`, a mapping or the path of a file.

    Raises:
        ConfigError: If there is none, or the file cannot be read.
    """
    value = _setting()
    if isinstance(value, Mapping):
        return value
    try:
        return load_file(value)
    except ConfigError as error:
        problems = [
            attrs.evolve(problem, path=f"{SETTING}: {problem.path}") for problem in error.problems
        ]
        raise ConfigError(problems) from error


def _setting() -> Mapping[str, Any] | str:
    value = _get(SETTING)
    if isinstance(value, Mapping):
        return value
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(path, str) and path:
        return path
    raise ConfigError([_missing() if value is None else _no_config(value)])


def _missing() -> Problem:
    return Problem(
        path=SETTING,
        message="the setting is missing; it takes a config, or the path of a file with one",
        hint="set EVENT_TRACKING_ENABLED = False if no events are wanted",
    )


def _no_config(value: object) -> Problem:
    """Only the type is told, because what stands in a config may be secret."""
    found = "an empty text" if value == "" else f"a value of type {type(value).__name__}"
    return Problem(path=SETTING, message="expected a dict, or the path of a file", found=found)


def context_callable() -> Callable[[Any], Mapping[str, Any]] | None:
    """Return the project's own callable, from a request to further keys of its context:
    `EVENT_TRACKING_CONTEXT`.

    Raises:
        ImportError: If the dotted path leads nowhere.
    """
    value = _get(CONTEXT)
    found: Callable[[Any], Mapping[str, Any]] | None = (
        import_string(value) if isinstance(value, str) else value
    )
    return found


@attrs.frozen
class Proxies:
    """Which hops before us are believed when they name the client in `X-Forwarded-For`."""

    count: int = 0
    networks: tuple[Network, ...] = ()


def trusted_proxies() -> Proxies:
    """Read `EVENT_TRACKING_TRUSTED_PROXIES`: how many there are, or a list of their addresses and
    networks. None by default.

    Raises:
        ValueError: If it is neither, or the number is negative.
    """
    value = _get(TRUSTED_PROXIES, 0)
    if isinstance(value, bool) or not isinstance(value, int | list | tuple):
        raise ValueError("expected a number, or a list of addresses and networks")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"expected how many proxies there are, 0 or more; found {value}")
        return Proxies(count=value)
    return Proxies(networks=tuple(map(_network, value)))


def _network(text: Any) -> Network:
    """Read a network; one of IPv4 addresses in IPv6 form (`::ffff:10.0.0.0/104`) is theirs."""
    network = ipaddress.ip_network(text, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))
