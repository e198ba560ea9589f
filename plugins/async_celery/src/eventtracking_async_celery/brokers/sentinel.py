"""Redis behind sentinels: `sentinel://host:26379;sentinel://other:26379/0?master_name=NAME`."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from eventtracking_async_celery.brokers.redis import RedisBroker

__all__ = ["SentinelBroker"]

_MASTER: Final = "master_name"
_PASSWORD: Final = "sentinel_password"  # noqa: S105 - the name of a parameter
_KNOWN: Final = (_MASTER, _PASSWORD)


class SentinelBroker(RedisBroker):
    """Reads the name of the master, which kombu takes from an option alone, from the URL."""

    @classmethod
    def problem(cls, broker_url: str) -> str:
        """Say that the master has no name: the sentinels do not tell it."""
        _, options = cls.split(broker_url)
        if options.get(_MASTER):
            return ""
        return (
            "a sentinel URL needs the name of the master; expected"
            " sentinel://host:26379/0?master_name=NAME (several sentinels: URLs joined by ';')"
        )

    @classmethod
    def split(cls, broker_url: str) -> tuple[str, dict[str, Any]]:
        """Move `master_name` and `sentinel_password` from the query to the options."""
        found: dict[str, str] = {}
        parts = []
        for part in broker_url.split(";"):
            base, _, query = part.partition("?")
            pairs = parse_qsl(query, keep_blank_values=True)
            found |= {key: value for key, value in pairs if key in _KNOWN}
            rest = urlencode([(key, value) for key, value in pairs if key not in _KNOWN])
            parts.append(f"{base}?{rest}" if rest else base)
        options: dict[str, Any] = {}
        if _MASTER in found:
            options[_MASTER] = found[_MASTER]
        if _PASSWORD in found:
            options["sentinel_kwargs"] = {"password": found[_PASSWORD]}
        return ";".join(parts), options
