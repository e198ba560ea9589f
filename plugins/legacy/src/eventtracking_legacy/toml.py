"""Write a config as TOML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, Final

__all__ = ["UnwritableError", "write_config"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SPECIAL: Final = re.compile("[\x7f\ud800-\udfff]")


class UnwritableError(Exception):
    """Raised for a value that TOML has no words for.

    Args:
        path: Where it stands in the config.
        kind: The name of its type.
    """

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(path, kind)
        self.path = path
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"{self.path} is a {self.kind}, which a file cannot hold; keep the config in the"
            " settings, as a dict EVENT_TRACKING, or let the class make that object itself"
        )


def write_config(config: Mapping[str, Any]) -> str:
    """Write a config: the processors of the root, then one table for each route, parents first.

    Raises:
        UnwritableError: If TOML cannot say a value.
    """
    blocks = [_lines({"values": config["values"]}, "")] if "values" in config else []
    for index, processor in enumerate(config.get("processors", ())):
        blocks.append("[[processors]]\n" + _lines(processor, f"processors[{index}]"))
    for name, node in config["backends"].items():
        blocks += _tables(node, f"backends.{_key(name)}")
    return "\n".join(blocks)


def _tables(node: Mapping[str, Any], path: str) -> Iterator[str]:
    own = {key: value for key, value in node.items() if key != "backends"}
    if own:
        yield f"[{path}]\n{_lines(own, path)}"
    for name, child in node.get("backends", {}).items():
        yield from _tables(child, f"{path}.backends.{_key(name)}")


def _lines(table: Mapping[str, Any], path: str) -> str:
    return "".join(
        f"{_key(key)} ="
        f" {_several(value, path) if key == 'processors' else _value(value, f'{path}.{key}')}\n"
        for key, value in table.items()
        if value is not None
    )


def _several(processors: list[Any], path: str) -> str:
    lines = [
        f"  {_value(one, f'{path}.processors[{index}]')},\n" for index, one in enumerate(processors)
    ]
    return f"[\n{''.join(lines)}]"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return _SPECIAL.sub(
        lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False)
    )


def _value(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value.replace("$", "$$"))  # in a file a dollar may begin a reference
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return (
            repr(value)
            if math.isfinite(value)
            else "nan"
            if math.isnan(value)
            else "inf"
            if value > 0
            else "-inf"
        )
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        fields = [
            f"{_key(key)} = {_value(item, f'{path}.{key}')}"
            for key, item in value.items()
            if item is not None
        ]
        return f"{{ {', '.join(fields)} }}" if fields else "{}"
    if isinstance(value, list | tuple):
        return (
            f"[{', '.join(_value(item, f'{path}[{index}]') for index, item in enumerate(value))}]"
        )
    if isinstance(value, set | frozenset):
        return _value(sorted(value, key=str), path)
    raise UnwritableError(path, type(value).__name__)
