"""From what a config gives to an instance of a plugin's class; each option is checked by itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
import msgspec
from msgspec.structs import replace

from eventtracking.config.options import MISSING, Option, nested_in, options_of
from eventtracking.config.words import did_you_mean, hide, is_at, join, show
from eventtracking.errors import OptionsError, Problem

__all__ = ["build", "read_options"]

_WRONG: Final = (msgspec.ValidationError, TypeError, ValueError)
_WITHHELD: Final = "refused (the reason is withheld: it may quote a value from a variable)"
_STAND_INS: Final[tuple[Any, ...]] = ("x", 1, False, [], {})


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where options stand, and how errors speak of them."""

    path: str
    plugin: str
    name: str
    """The plugin's name, or the option's that a nested class is the type of."""
    secret: bool = False


def read_options(
    plugin_class: type[Any],
    given: Mapping[str, Any],
    path: str,
    plugin: str,
    originals: Mapping[str, Any],
    settled: Collection[str] = (),
) -> tuple[dict[str, Any], list[Problem]]:
    """Convert what a config gives to the types of the options.

    Args:
        given: The options, with `${VAR}` substituted.
        path: The place of the plugin in the config.
        plugin: The plugin's name, for the messages.
        originals: The options as they were written, for the messages.
        settled: The places of which a problem is known already: nothing is converted there.

    Returns:
        The converted options, and every problem.
    """
    place = _Place(path=path, plugin=plugin, name=plugin)
    return _read(plugin_class, given, place, originals, settled)


def _read(
    plugin_class: type[Any],
    given: Mapping[str, Any],
    place: _Place,
    originals: Mapping[str, Any],
    settled: Collection[str] = (),
) -> tuple[dict[str, Any], list[Problem]]:
    options = options_of(plugin_class)
    converted: dict[str, Any] = {}
    problems = [_unknown(name, place, options) for name in given if name not in options]
    for option in options.values():
        at = join(place.path, option.name)
        if option.name not in given:
            problems += _missing(option, place)
        elif not any(is_at(known, at) for known in settled):
            value, original = given[option.name], originals.get(option.name)
            found, more = _convert(option, value, original, replace(place, path=at))
            problems += more
            if not more:
                converted[option.name] = found
    return converted, problems


def _convert(option: Option, value: Any, original: Any, place: _Place) -> tuple[Any, list[Problem]]:
    """Convert the value of one option, and of the classes nested in it."""
    nested = nested_in(option.type)
    inner = replace(place, name=option.name, secret=place.secret or option.secret)
    if nested is not None:
        kind, nested_class = nested
        if kind == "one" and isinstance(value, Mapping):
            return _nest(nested_class, value, original, inner)
        if kind == "list" and isinstance(value, list | tuple):
            return _nest_each(nested_class, dict(enumerate(value)), original, inner)
        if kind == "table" and isinstance(value, Mapping):
            return _nest_each(nested_class, value, original, inner)
    try:
        found = option.convert(value, from_text=value != original)
    except _WRONG as error:
        return None, _misfits(option, value, original, error, inner)
    return found, _line_breaks(found, value != original, original, inner)


def _nest(
    nested_class: type[Any], value: Any, original: Any, place: _Place
) -> tuple[Any, list[Problem]]:
    if isinstance(value, nested_class):
        return value, []
    if not isinstance(value, Mapping):
        found = None if place.secret else show(original)
        return None, [Problem(path=place.path, message="expected a table", found=found)]
    originals = original if isinstance(original, Mapping) else value
    options, problems = _read(nested_class, value, place, originals)
    instance, more = build(
        nested_class, options, place.path, originals, partly=bool(problems), secret=place.secret
    )
    return instance, [*problems, *more]


def _nest_each(
    nested_class: type[Any], members: Mapping[Any, Any], original: Any, place: _Place
) -> tuple[Any, list[Problem]]:
    is_list = not isinstance(original, Mapping)
    made: dict[Any, Any] = {}
    problems: list[Problem] = []
    for key, member in members.items():
        at = f"{place.path}[{key}]" if is_list else join(place.path, key)
        inner = replace(place, path=at)
        made[key], more = _nest(nested_class, member, original[key], inner)
        problems += more
    return (list(made.values()) if is_list else made), problems


def build(
    plugin_class: type[Any],
    options: Mapping[str, Any],
    path: str,
    originals: Mapping[str, Any],
    partly: bool = False,
    secret: bool = False,
) -> tuple[Any, list[Problem]]:
    """Make an instance; what its validators refuse becomes problems, with secrets taken out.

    Args:
        options: The converted options.
        path: The place of the plugin in the config.
        originals: The options as they were written, for the messages.
        partly: Whether some options are left out because they have problems already. Then no
            instance is returned, and only what the class says of the others is told.
        secret: Whether nothing of the values may be shown.

    Returns:
        The instance, or None, and the problems.
    """
    tell = _Teller(plugin_class, options, path, originals, secret)
    problems = list(tell.of_validators())
    refused = {problem.path for problem in problems}
    sound = {name: value for name, value in options.items() if join(path, name) not in refused}
    partly = partly or bool(problems)
    try:
        instance = plugin_class(**(_completed(plugin_class, sound) if partly else sound))
    except OptionsError as error:
        found = tell.of_options(error, sound if partly else None)
        return None, [*problems, *found]
    except Exception as error:  # noqa: BLE001 - whatever a plugin's class raises is a problem of the config
        return None, problems if partly else [tell.of_class(error)]
    return (None if partly else instance), problems


def _completed(plugin_class: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with a stand-in for each that is missing, so that the class can judge the
    others.
    """
    completed = dict(options)
    for option in options_of(plugin_class).values():
        if option.name in options or option.default is not MISSING:
            continue
        for value in (*option.schema.get("enum", ()), *_STAND_INS):
            try:
                completed[option.name] = option.convert(value, from_text=False)
            except _WRONG:
                continue
            break
    return completed


class _Teller(msgspec.Struct, frozen=True, eq=False):
    """Turns what a plugin's class raises into problems that show no secret."""

    plugin_class: type[Any]
    options: Mapping[str, Any]
    path: str
    originals: Mapping[str, Any]
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
                    text = str(error.args[0]) if error.args else type(error).__name__
                    yield self._problem(name, text)

    def of_options(self, error: OptionsError, only: Mapping[str, Any] | None) -> Iterator[Problem]:
        """Tell an `OptionsError`, of some options only or of all."""
        for place, text in error.problems.items():
            if only is None or re.split(r"[.\[]", place)[0] in only:
                yield self._problem(place, text)

    def of_class(self, error: Exception) -> Problem:
        """Tell any other error, which may be about any option."""
        text = str(error.args[0]) if error.args else type(error).__name__
        if any(map(self._is_substituted, self.options)):
            text = (
                "refused (the reason is withheld: it may quote a value that came from a variable)"
            )
        elif not isinstance(error, ValueError | TypeError):
            # Those are what validators raise, with words for the reader.
            text = f"{self.plugin_class.__qualname__} raised {type(error).__name__}: {text}"
        return Problem(path=self.path, message=hide(text, self._secrets()))

    def _problem(self, place: str, text: str) -> Problem:
        name = re.split(r"[.\[]", place)[0]
        option = options_of(self.plugin_class).get(name)
        if option is None or self.secret or option.secret or self._is_substituted(name):
            text = hide(text, self._secrets())
        if option is not None and self._is_substituted(name):
            text = f"{_WITHHELD}; accepted is {option.accepted}"
        return Problem(
            path=join(self.path, place),
            message=hide(text, self._secrets()),
            found=self._found(option, place),
        )

    def _is_substituted(self, name: str) -> bool:
        original = self.originals.get(name)
        return "${" in str(original) and original != self.options.get(name)

    def _found(self, option: Option | None, place: str) -> str | None:
        """Show what stands at `option` or `option[2]`, unless it is secret."""
        if option is None or option.secret or self.secret or option.name not in self.originals:
            return None
        value = self.originals[option.name]
        number = place.partition("[")[2].rstrip("]")
        if number.isdigit() and isinstance(value, list | tuple) and int(number) < len(value):
            value = value[int(number)]
        return show(value)

    def _secrets(self) -> list[str]:
        known = options_of(self.plugin_class)
        return [
            text
            for name, value in self.options.items()
            if self.secret or known[name].secret
            for text in _texts(value)
        ]


def _texts(value: Any) -> Iterator[str]:
    """Yield every text and number inside of a secret value."""
    if isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _unknown(name: str, place: _Place, options: Mapping[str, Option]) -> Problem:
    accepted = f"it takes {', '.join(options)}" if options else "it takes none"
    return Problem(
        path=join(place.path, name),
        message=f"{place.name} has no option {name!r}; {accepted}",
        hint=did_you_mean(name, options) or f"see `eventtracking plugins {place.plugin}`",
    )


def _missing(option: Option, place: _Place) -> Iterator[Problem]:
    if option.default is MISSING:
        yield Problem(
            path=join(place.path, option.name),
            message=f"{place.name} needs the option {option.name!r} ({option.accepted})",
            hint=option.help or f"see `eventtracking plugins {place.plugin}`",
        )


def _line_breaks(found: Any, from_text: bool, original: Any, place: _Place) -> list[Problem]:
    """Refuse a secret, or text from a variable, that ends in a line break: a file was read whole,
    and destinations would refuse it, or take it for another.
    """
    if not isinstance(found, str) or found == found.rstrip("\r\n"):
        return []
    if not (from_text or place.secret):
        return []
    return [
        Problem(
            path=place.path,
            message="the value ends in a line break",
            found=None if place.secret else show(original),
            hint="remove it where the value comes from, such as a file that was read whole",
        )
    ]


def _misfits(
    option: Option, value: Any, original: Any, error: Exception, place: _Place
) -> list[Problem]:
    """Tell what does not fit; of a list, each member by itself."""
    if isinstance(value, list | tuple) and len(value) > 1:
        inside = [
            _misfit(option, original, wrong, place, index)
            for index, member in enumerate(value)
            if (wrong := _refusal(option, [member], from_text=value != original)) is not None
        ]
        if inside:
            return inside
    return [_misfit(option, original, error, place)]


def _refusal(option: Option, value: Any, from_text: bool) -> Exception | None:
    try:
        option.convert(value, from_text)
    except _WRONG as error:
        return error
    return None


def _misfit(
    option: Option, original: Any, error: Exception, place: _Place, index: int | None = None
) -> Problem:
    """Tell what does not fit.

    Args:
        index: Of the member, where the error is that of a list of one.
    """
    at, _, inside = str(error).rpartition(" - at `$")
    inside = inside.rstrip("`") if at else ""
    if index is not None:
        inside = inside.replace("[0]", f"[{index}]", 1)
    return Problem(
        path=place.path + inside,
        message=f"expected {option.accepted}",
        found=None if place.secret else show(original),
        hint=did_you_mean(original, option.schema.get("enum", ()))
        if isinstance(original, str) and not place.secret
        else None,
    )
