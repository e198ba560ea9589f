"""From the options in a config to an instance of a plugin's class.

Each option is checked by itself, so that one mistake hides no other: the class judges the sound
options, with a stand-in for each one that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
import msgspec

from eventtracking.config.node import Node
from eventtracking.config.options import MISSING, Option, nested_in, options_of
from eventtracking.config.words import did_you_mean, hide, is_at, join, show
from eventtracking.errors import OptionsError, Problem

__all__ = ["build", "read_options"]

_WRONG: Final = (msgspec.ValidationError, TypeError, ValueError)
_WITHHELD: Final = "refused (the reason is withheld: it may quote a value from a variable)"
_STAND_INS: Final[tuple[Any, ...]] = ("x", 1, False, [], {})
_Found = tuple[Any, list[Problem]]


class _Owner(msgspec.Struct, frozen=True, eq=False):
    """The class whose options are read, as errors speak of it."""

    plugin: str
    name: str
    """The plugin's name, or that of the option whose type is a nested class."""
    secret: bool = False


def read_options(
    plugin_class: type[Any], node: Node, plugin: str, settled: Collection[str] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    """Convert options to their types; return those that are sound, and every problem.

    Args:
        node: The table of options.
        plugin: The plugin's name, for the messages.
        settled: Places with a known problem: nothing is converted there.
    """
    return _read(plugin_class, node, _Owner(plugin, plugin), settled)


def _read(
    plugin_class: type[Any], node: Node, owner: _Owner, settled: Collection[str] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    options = options_of(plugin_class)
    converted: dict[str, Any] = {}
    problems = [_unknown(key, node, owner, options) for key in node.value if key not in options]
    for name, option in options.items():
        given = node.child(name, None)
        if name not in node.value:
            problems += _missing(option, given.path, owner)
        elif not any(is_at(known, given.path) for known in settled):
            secret = owner.secret or option.secret
            found, more = _convert(option, given, _Owner(owner.plugin, name, secret))
            problems += more
            if not more:
                converted[name] = found
    return converted, problems


def _convert(option: Option, node: Node, owner: _Owner) -> _Found:
    """Convert the value of one option, and of the classes nested in it."""
    kind, nested = nested_in(option.type) or ("", object)
    if kind == "one" and isinstance(node.value, Mapping):
        return _nest(nested, node, owner)
    if kind == "table" and isinstance(node.value, Mapping):
        return _nest_each(nested, node.children(), owner)
    if kind == "list" and isinstance(node.value, list | tuple):
        found, problems = _nest_each(nested, enumerate(node.members()), owner)
        return list(found.values()), problems
    found, error = _attempt(option, node.value, node.is_substituted)
    if error is not None:
        return None, _misfits(option, node, error, owner)
    return found, _line_breaks(found, node, owner)


def _attempt(option: Option, value: Any, from_text: bool) -> tuple[Any, Exception | None]:
    """Return the converted value, or the error of one that does not fit."""
    try:
        return option.convert(value, from_text), None
    except _WRONG as error:
        return None, error


def _nest(nested_class: type[Any], node: Node, owner: _Owner) -> _Found:
    if isinstance(node.value, nested_class):
        return node.value, []
    if not isinstance(node.value, Mapping):
        return None, [Problem(node.path, "expected a table", _shown(node, owner))]
    options, problems = _read(nested_class, node, owner)
    instance, more = build(nested_class, options, node, bool(problems), owner.secret)
    return instance, [*problems, *more]


def _nest_each(
    nested_class: type[Any], members: Iterable[tuple[Any, Node]], owner: _Owner
) -> tuple[dict[Any, Any], list[Problem]]:
    made: dict[Any, Any] = {}
    problems: list[Problem] = []
    for key, node in members:
        made[key], more = _nest(nested_class, node, owner)
        problems += more
    return made, problems


def build(
    plugin_class: type[Any],
    options: Mapping[str, Any],
    node: Node,
    partly: bool = False,
    secret: bool = False,
) -> _Found:
    """Make an instance; return it, or None, and the refusals, which show no secret.

    Args:
        options: The converted options.
        node: The table that they come from.
        partly: Whether options are left out because of their problems: then no instance is
            returned, and the class is asked for its opinion of the others alone.
        secret: Whether no value at all may be shown.
    """
    tell = _Teller(plugin_class, options, node, secret)
    problems = list(tell.of_validators())
    refused = {problem.path for problem in problems}
    sound = {name: value for name, value in options.items() if join(node.path, name) not in refused}
    partly = partly or bool(problems)
    try:
        instance = plugin_class(**(_completed(plugin_class, sound) if partly else sound))
    except OptionsError as error:
        return None, [*problems, *tell.of_options(error, sound if partly else None)]
    except Exception as error:  # noqa: BLE001 - a plugin's class may raise any; it is a problem of the config
        return None, problems if partly else [tell.of_class(error)]
    return (None if partly else instance), problems


def _completed(plugin_class: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Add a stand-in for each option that is missing, so that the class can judge the others."""
    completed = dict(options)
    for name, option in options_of(plugin_class).items():
        if name not in options and option.default is MISSING:
            for value in (*option.schema.get("enum", ()), *_STAND_INS):
                found, error = _attempt(option, value, from_text=False)
                if error is None:
                    completed[name] = found
                    break
    return completed


class _Teller(msgspec.Struct, frozen=True, eq=False):
    """Turns the exceptions of a plugin's class into problems that show no secret."""

    plugin_class: type[Any]
    options: Mapping[str, Any]
    node: Node
    secret: bool

    def of_validators(self) -> Iterator[Problem]:
        """Ask the validator of each option by itself."""
        stub = object.__new__(self.plugin_class)
        fields = {field.alias or field.name: field for field in attrs.fields(self.plugin_class)}
        for name, value in self.options.items():
            object.__setattr__(stub, fields[name].name, value)
        for name, value in self.options.items():
            field = fields[name]
            if field.validator is None or field.converter is not None:
                continue
            with suppress(Exception):  # the class itself raises any other again, with all options
                try:
                    field.validator(stub, field, value)
                except (ValueError, TypeError) as error:
                    yield self._problem(name, _text_of(error))

    def of_options(self, error: OptionsError, only: Mapping[str, Any] | None) -> Iterator[Problem]:
        """Tell an `OptionsError`, of some options only or of all."""
        for place, text in error.problems.items():
            if only is None or _option_at(place) in only:
                yield self._problem(place, text)

    def of_class(self, error: Exception) -> Problem:
        """Tell any other error, which may be about any option."""
        text = _text_of(error)
        if any(map(self._is_substituted, self.options)):
            text = _WITHHELD
        elif not isinstance(error, ValueError | TypeError):
            # Those are raised by validators, with words for the reader.
            text = f"{self.plugin_class.__qualname__} raised {type(error).__name__}: {text}"
        return Problem(self.node.path, hide(text, self._secrets()))

    def _problem(self, place: str, text: str) -> Problem:
        option = options_of(self.plugin_class).get(_option_at(place))
        if option is not None and self._is_substituted(option.name):
            text = f"{_WITHHELD}; accepted is {option.accepted}"
        found = self._found(option, place)
        return Problem(join(self.node.path, place), hide(text, self._secrets()), found)

    def _is_substituted(self, name: str) -> bool:
        original = self.node.original.get(name)
        return "${" in str(original) and original != self.options.get(name)

    def _found(self, option: Option | None, place: str) -> str | None:
        """Show the value at `option` or `option[2]`, unless it is secret."""
        originals = self.node.original
        if option is None or option.secret or self.secret or option.name not in originals:
            return None
        value = originals[option.name]
        number = place.partition("[")[2].rstrip("]")
        if number.isdigit() and isinstance(value, list | tuple) and int(number) < len(value):
            value = value[int(number)]
        return show(value)

    def _secrets(self) -> list[str]:
        known = options_of(self.plugin_class)
        secret = [
            value for name, value in self.options.items() if self.secret or known[name].secret
        ]
        return list(_texts(secret))


def _option_at(place: str) -> str:
    return re.split(r"[.\[]", place)[0]


def _text_of(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _shown(node: Node, owner: _Owner) -> str | None:
    return None if owner.secret else node.shown


def _texts(value: Any) -> Iterator[str]:
    """Yield every text and number inside of a secret value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _unknown(key: str, node: Node, owner: _Owner, options: Mapping[str, Option]) -> Problem:
    accepted = f"it takes {', '.join(options)}" if options else "it takes none"
    text = f"{owner.name} has no option {key!r}; {accepted}"
    hint = did_you_mean(key, options) or f"see `eventtracking plugins {owner.plugin}`"
    return Problem(join(node.path, key), text, hint=hint)


def _missing(option: Option, path: str, owner: _Owner) -> Iterator[Problem]:
    if option.default is MISSING:
        text = f"{owner.name} needs the option {option.name!r} ({option.accepted})"
        hint = option.help or f"see `eventtracking plugins {owner.plugin}`"
        yield Problem(path, text, hint=hint)


def _line_breaks(found: Any, node: Node, owner: _Owner) -> list[Problem]:
    """Refuse a secret, or text from a variable, that ends in a line break: a file was read whole,
    and destinations would refuse it, or take it for another.
    """
    if not isinstance(found, str) or found == found.rstrip("\r\n"):
        return []
    if not (node.is_substituted or owner.secret):
        return []
    hint = "remove it where the value comes from, such as a file that was read whole"
    return [Problem(node.path, "the value ends in a line break", _shown(node, owner), hint)]


def _misfits(option: Option, node: Node, error: Exception, owner: _Owner) -> list[Problem]:
    """Name each value that does not fit; of a list, each member by itself."""
    inside: list[Problem] = []
    if isinstance(node.value, list | tuple) and len(node.value) > 1:
        for index, member in enumerate(node.value):
            _, wrong = _attempt(option, [member], node.is_substituted)
            if wrong is not None:
                inside.append(_misfit(option, node, wrong, owner, index))
    return inside or [_misfit(option, node, error, owner)]


def _misfit(
    option: Option, node: Node, error: Exception, owner: _Owner, index: int | None = None
) -> Problem:
    """Name one value that does not fit.

    Args:
        index: Of the member, where the error is that of a list of one.
    """
    at, _, inside = str(error).rpartition(" - at `$")
    inside = inside.rstrip("`") if at else ""
    if index is not None:
        inside = inside.replace("[0]", f"[{index}]", 1)
    is_text = isinstance(node.original, str) and not owner.secret
    hint = did_you_mean(node.original, option.schema.get("enum", ())) if is_text else None
    return Problem(node.path + inside, f"expected {option.accepted}", _shown(node, owner), hint)
