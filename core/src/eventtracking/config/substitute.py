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
        hint = f'use os.environ["{value[2:-1].partition(":-")[0]}"]'
        yield Problem(path, "a reference is not substituted in Python", value, hint)
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
            if match[0] == "${":
                text = "`${` starts no reference; accepted are ${VAR} and ${VAR:-default}"
                problems.append(Problem(path, text, hint="write $${ for the text itself"))
            return match[0]
        if "${" in (match["default"] or ""):
            text = "a default stands for itself, and takes no further reference"
            hint = "set the variable, or write a default without ${"
            problems.append(Problem(path, text, hint=hint))
            return ""
        value = environ.get(match["name"], "") or match["default"]
        if value is None and match["name"] not in environ:
            text = f"the environment variable {match['name']} is not set"
            hint = f"set it, or write ${{{match['name']}:-default}}"
            problems.append(Problem(path, text, match[0], hint))
        return value or ""

    return _REFERENCE.sub(replace, text) if "$" in text else text
