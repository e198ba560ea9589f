"""The options of a plugin: the fields of its attrs class.

That one definition drives everything. A field's type says what is accepted (constraints in
`Literal` and `Annotated[..., msgspec.Meta(...)]`), its default what holds without it,
`metadata={"help": ...}` what it is for, and `repr=False` that it is a secret.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import get_annotations
from types import SimpleNamespace
from typing import Any, Final, get_type_hints

import attrs
import msgspec

from eventtracking.errors import OptionsError, Problem

__all__ = ["MISSING", "Option", "build", "did_you_mean", "options_of", "read_options"]

MISSING: Final = attrs.NOTHING


@attrs.frozen(kw_only=True, eq=False)
class Option:
    """One option of a plugin."""

    name: str
    type: Any
    default: Any
    """`MISSING` if it must be given."""
    help: str
    secret: bool

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema (2020-12), without the help."""
        try:
            (schema,), definitions = msgspec.json.schema_components(
                [self.type], ref_template="#/$defs/{name}"
            )
        except TypeError:  # a type that JSON Schema has no words for
            return {}
        return {**schema, "$defs": definitions} if definitions else schema

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        return _words(self.schema) or getattr(self.type, "__name__", "any value")

    def convert(self, value: Any, from_text: bool) -> Any:
        """Turn a value of the config into one of the option's type.

        Args:
            from_text: Whether the value came out of a `${VAR}`, so that "8" will do for a number.

        Raises:
            msgspec.ValidationError: If it does not fit.
        """
        return msgspec.convert(value, self.type, strict=not from_text)


def options_of(plugin_class: type[Any]) -> dict[str, Option]:
    """Return the options of a plugin's class, by name, in their order.

    Raises:
        NameError: If the type of an option names what its module does not have.
    """
    fields = [field for field in attrs.fields(plugin_class) if field.init]
    hints = _hints(plugin_class, {field.name for field in fields})
    return {
        field.alias or field.name: _option(field, hints.get(field.name, Any)) for field in fields
    }


def _hints(plugin_class: type[Any], names: Collection[str]) -> dict[str, Any]:
    """Resolve the annotations of the options alone: other fields may have types that are imported
    for type checkers only.
    """
    hints: dict[str, Any] = {}
    for base in reversed(plugin_class.__mro__):
        own = {name: hint for name, hint in get_annotations(base).items() if name in names}
        module = vars(sys.modules[base.__module__])
        hints |= get_type_hints(
            SimpleNamespace(__annotations__=own), module, dict(vars(base)), include_extras=True
        )
    return hints


def _option(field: attrs.Attribute[Any], hint: Any) -> Option:
    default: Any = field.default
    if hasattr(default, "takes_self"):  # an attrs.Factory
        default = None if default.takes_self else default.factory()
    return Option(
        name=field.alias or field.name,
        type=Any if hint is None else hint,
        default=default,
        help=str(field.metadata.get("help", "")),
        secret=field.repr is False,
    )


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
    options = options_of(plugin_class)
    converted: dict[str, Any] = {}
    problems = [_unknown(name, path, plugin, options) for name in given if name not in options]
    for option in options.values():
        if option.name not in given:
            problems += _missing(option, path, plugin)
            continue
        value, original = given[option.name], originals.get(option.name)
        if any(_is_at(place, _join(path, option.name)) for place in settled):
            continue
        try:
            converted[option.name] = option.convert(value, from_text=value != original)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            problems += _misfits(option, path, value, original, error)
    return converted, problems


def build(
    plugin_class: type[Any],
    options: Mapping[str, Any],
    path: str,
    originals: Mapping[str, Any],
    partly: bool = False,
) -> tuple[Any, list[Problem]]:
    """Make an instance; what its validators refuse becomes problems, with secrets taken out.

    Args:
        options: The converted options.
        path: The place of the plugin in the config.
        originals: The options as they were written, for the messages.
        partly: Whether some options are left out because they have problems already. Then no
            instance is returned, and only what the class says of the others is told.

    Returns:
        The instance, or None, and the problems.
    """
    try:
        instance = plugin_class(**options)
        return (None if partly else instance), []
    except OptionsError as error:
        clean = _without_secrets(plugin_class, options)
        return None, [
            Problem(
                path=f"{path}.{option}",
                message=clean(text),
                found=_found_in(plugin_class, originals, option),
            )
            for option, text in error.problems.items()
            if not partly or re.split(r"[.\[]", option)[0] in options
        ]
    except Exception as error:  # noqa: BLE001 - whatever a plugin's class raises is a problem of the config
        if partly:
            return None, []
        text = _without_secrets(plugin_class, options)(
            str(error.args[0]) if error.args else type(error).__name__
        )
        if not isinstance(
            error, ValueError | TypeError
        ):  # those are what validators raise, with words for the reader
            text = f"{plugin_class.__qualname__} raised {type(error).__name__}: {text}"
        return None, [Problem(path=path, message=text)]


def _found_in(plugin_class: type[Any], originals: Mapping[str, Any], place: str) -> str | None:
    """Show what stands at `option` or `option[2]`, unless it is secret."""
    name, _, index = place.partition("[")
    option = options_of(plugin_class).get(name)
    if option is None or option.secret or name not in originals:
        return None
    value = originals[name]
    number = index.rstrip("]")
    if number.isdigit() and isinstance(value, list | tuple) and int(number) < len(value):
        value = value[int(number)]
    return show(value)


def _without_secrets(plugin_class: type[Any], options: Mapping[str, Any]) -> Callable[[str], str]:
    secrets = [
        str(options[o.name])
        for o in options_of(plugin_class).values()
        if o.secret and options.get(o.name)
    ]
    forms = {
        form for secret in secrets for form in (secret, repr(secret)[1:-1], _json(secret)[1:-1])
    }

    def clean(text: str) -> str:
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text

    return clean


def _is_at(place: str, path: str) -> bool:
    """Whether a place is the one at a path, or inside it."""
    return place.startswith(path) and place[len(path) : len(path) + 1] in ("", ".", "[")


def _unknown(name: str, path: str, plugin: str, options: Mapping[str, Option]) -> Problem:
    accepted = f"it takes {', '.join(options)}" if options else "it takes none"
    return Problem(
        path=_join(path, name),
        message=f"{plugin} has no option {name!r}; {accepted}",
        hint=did_you_mean(name, options) or f"see `eventtracking plugins {plugin}`",
    )


def _missing(option: Option, path: str, plugin: str) -> Iterator[Problem]:
    if option.default is MISSING:
        yield Problem(
            path=_join(path, option.name),
            message=f"{plugin} needs the option {option.name!r} ({option.accepted})",
            hint=option.help or f"see `eventtracking plugins {plugin}`",
        )


def _misfits(
    option: Option, path: str, value: Any, original: Any, error: Exception
) -> list[Problem]:
    """Tell what does not fit; of a list, each member by itself."""
    if isinstance(value, list | tuple) and len(value) > 1:
        inside = [
            _misfit(option, path, original, wrong, index)
            for index, member in enumerate(value)
            if (wrong := _refusal(option, [member], from_text=value != original)) is not None
        ]
        if inside:
            return inside
    return [_misfit(option, path, original, error)]


def _refusal(option: Option, value: Any, from_text: bool) -> Exception | None:
    try:
        option.convert(value, from_text)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        return error
    return None


def _misfit(
    option: Option, path: str, original: Any, error: Exception, index: int | None = None
) -> Problem:
    """Tell what does not fit.

    Args:
        index: Of the member, where the error is that of a list of one.
    """
    at, _, place = str(error).rpartition(" - at `$")
    inside = place.rstrip("`") if at else ""
    if index is not None:
        inside = inside.replace("[0]", f"[{index}]", 1)
    return Problem(
        path=_join(path, option.name) + inside,
        message=f"expected {option.accepted}",
        found=None if option.secret else show(original),
        hint=did_you_mean(original, option.schema.get("enum", ()))
        if isinstance(original, str)
        else None,
    )


def did_you_mean(name: str, known: Any, cutoff: float = 0.6) -> str | None:
    """Suggest the nearest of the known names, if one is near: by `difflib`'s ratio, from 0 to 1 for
    equal, at least `cutoff`.
    """
    from difflib import get_close_matches  # for a mistake alone

    near = get_close_matches(str(name), [str(one) for one in known], n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else None


def _json(value: Any, **how: Any) -> str:
    import json  # for a mistake alone

    return json.dumps(value, **how)


def show(value: Any) -> str:
    """Quote what a config holds, shortly."""
    try:
        text = _json(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_BOUNDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matching {}",
}
_KINDS: Final = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
    "object": "a table",
}


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(_json(value) for value in schema["enum"])
    if schema.get("type") == "array":
        items = _words(schema.get("items") or {})
        words = f"a list (each {items})" if items else "a list"
    else:
        words = _KINDS.get(schema.get("type", ""), "")
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return f"{words}, {' and '.join(bounds)}" if bounds else words
