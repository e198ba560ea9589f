"""`${VAR}` and `${VAR:-default}` in the text of a config, after it was parsed, so that a value can
never become syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from eventtracking.config.words import join
from eventtracking.errors import Problem

__all__ = ["references_in", "substitute"]

_WHOLE: Final = re.compile(r"\$\{([A-Za-z_]\w*)(?::-[^}]*)?\}")
_REFERENCE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?)"
)


def substitute(value: Any, environ: Mapping[str, str], path: str, problems: list[Problem]) -> Any:
    """Return a copy with every reference in text replaced, and `$$` by a dollar.

    Args:
        environ: Where the variables are.
        path: Where the value stands in the config.
        problems: Problems are added here: a variable that is not set, or a `${` that is no
            reference.
    """
    if isinstance(value, str):
        return _substitute_text(value, environ, path, problems)
    if isinstance(value, Mapping):
        return {
            key: substitute(item, environ, join(path, key), problems) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            substitute(item, environ, f"{path}[{index}]", problems)
            for index, item in enumerate(value)
        ]
    return value


def references_in(value: Any, path: str) -> Iterator[Problem]:
    """Yield a problem for each text that is a whole reference, in a mapping made in Python.

    Such a mapping is taken as it is, since Python has read its variables already.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        yield Problem(
            path=path,
            message="a reference is not substituted in Python",
            found=value,
            hint=f'use os.environ["{value[2:-1].partition(":-")[0]}"]',
        )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references_in(item, join(path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from references_in(item, f"{path}[{index}]")


def _substitute_text(
    text: str, environ: Mapping[str, str], path: str, problems: list[Problem]
) -> str:
    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["name"] is None:
            return _keep(match, path, problems)
        if "${" in (match["default"] or ""):
            problems.append(_nested(path))
            return ""
        value = environ.get(match["name"], "") or match["default"]
        if value is None and match["name"] not in environ:
            problems.append(_unset(match["name"], match[0], path))
        return value or ""

    return _REFERENCE.sub(replace, text) if "$" in text else text


def _keep(match: re.Match[str], path: str, problems: list[Problem]) -> str:
    if match[0] == "${":
        problems.append(
            Problem(
                path=path,
                message="`${` starts no reference; accepted are ${VAR} and ${VAR:-default}",
                hint="write $${ for the text itself",
            )
        )
    return match[0]


def _nested(path: str) -> Problem:
    message = "a default stands for itself, and takes no further reference"
    return Problem(
        path=path, message=message, hint="set the variable, or write a default without ${"
    )


def _unset(name: str, reference: str, path: str) -> Problem:
    return Problem(
        path=path,
        message=f"the environment variable {name} is not set",
        found=reference,
        hint=f"set it, or write ${{{name}:-default}}",
    )
