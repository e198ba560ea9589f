"""Config files: TOML, or JSON if the name ends in `.json`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from eventtracking.config.words import join
from eventtracking.errors import ConfigError, Problem

__all__ = ["FileConfig", "load_file", "too_deep"]


class FileConfig(dict[str, Any]):
    """A config that was read from a file: `${VAR}` in it is substituted when it is parsed."""

    __slots__ = ()


class _Table(list[tuple[str, Any]]):
    """The pairs of a JSON object, as they stand in the file."""

    __slots__ = ()


def load_file(path: str | os.PathLike[str]) -> FileConfig:
    """Read a config file, TOML or (if its name ends in `.json`) JSON.

    Raises:
        ConfigError: If it cannot be read or parsed.
    """
    file = Path(path)
    problems: list[Problem] = []
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors put a mark at the beginning
        config = _parse(text, file.suffix.lower(), problems)
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError([Problem(str(file), f"cannot be parsed: {error}")]) from error
    except RecursionError:
        raise ConfigError([too_deep(str(file))]) from None
    if not isinstance(config, dict):
        found = f"a {type(config).__name__}"
        problems = [Problem(str(file), "expected a table", found)]
    if problems:
        raise ConfigError(problems)
    return FileConfig(config)


def _parse(text: str, suffix: str, problems: list[Problem]) -> Any:
    """Parse a config; the parsers are imported here, because most applications have theirs in
    Python.
    """
    if suffix == ".json":
        import json

        found = json.loads(text, object_pairs_hook=_Table, parse_constant=_refuse_constant)
        return _plain(found, "", problems)
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _plain(value: Any, path: str, problems: list[Problem]) -> Any:
    """Turn tables into dicts; a key that stands twice is a problem."""
    if isinstance(value, _Table):
        found: dict[str, Any] = {}
        for key, member in value:
            if key in found:
                message = "the key stands twice, and only one of the values could be used"
                hint = "remove or rename one of them"
                problems.append(Problem(join(path, key), message, hint=hint))
            found[key] = _plain(member, join(path, key), problems)
        return found
    if isinstance(value, list):
        return [_plain(member, f"{path}[{at}]", problems) for at, member in enumerate(value)]
    return value


def too_deep(path: str) -> Problem:
    """Say that a config has no end, or too many levels."""
    text = "nested too deeply: more levels than Python's stack has room for, or a cycle"
    return Problem(path, text)
