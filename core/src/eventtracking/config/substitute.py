"""`${VAR}` and `${VAR:-default}` in the text of a config, after it was parsed, so that a value can
never become syntax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from eventtracking.errors import Problem

__all__ = ["substitute"]

_REFERENCE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?)"
)


def substitute(value: Any, environ: Mapping[str, str], path: str, problems: list[Problem]) -> Any:
    """Return a copy with every reference in text replaced, and `$$` by a dollar.

    Args:
        environ: Where the variables are.
        path: Where the value stands in the config.
        problems: What is wrong is added here: a variable that is not set, or a `${` that is no
            reference.
    """
    if isinstance(value, str):
        return _substitute_text(value, environ, path, problems)
    if isinstance(value, Mapping):
        return {
            key: substitute(item, environ, f"{path}.{key}" if path else str(key), problems)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            substitute(item, environ, f"{path}[{index}]", problems)
            for index, item in enumerate(value)
        ]
    return value


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
