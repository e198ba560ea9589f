"""A site's class by its dotted path, and instances of it, made as event-tracking made them from its
settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs

from eventtracking import OptionsError

__all__ = [
    "Given",
    "Verbatim",
    "find_class",
    "instantiate",
    "make",
    "options_for",
    "require_fitting_options",
]


@attrs.frozen(eq=False)
class Verbatim:
    """Options that come from settings, not from a config file: `$` stands for itself, and tuples
    stay tuples.
    """

    value: Any = attrs.field(repr=False)


@attrs.frozen(eq=False)
class Given:
    """A site's object that exists already, in the place of its options."""

    value: Any = attrs.field(repr=False)


def options_for(engine: str, given: Any) -> dict[str, Any]:
    """Return the keyword arguments for a site's class.

    Raises:
        OptionsError: If they are no mapping with text keys.
    """
    value = given.value if isinstance(given, Verbatim) else given
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise OptionsError({"options": f"expected a table with the keyword arguments of {engine}"})
    return dict(value)


def find_class(engine: str, method: str | None = None) -> type[Any]:
    """Import a class by its dotted path. It is not called.

    Args:
        engine: The dotted path.
        method: A method that its instances must have.

    Raises:
        OptionsError: If it cannot be imported, is no class, or lacks the method.
    """
    module_name, _, name = engine.rpartition(".")
    if not module_name:
        raise OptionsError({"engine": "expected a dotted path, `package.module.Class`"})
    try:
        module = import_module(module_name)
    except Exception as error:
        raise OptionsError(
            {"engine": f"importing {module_name} raised {type(error).__name__}: {error}"}
        ) from error
    if not hasattr(module, name):
        raise OptionsError({"engine": f"{module_name} has no {name}"})
    found = getattr(module, name)
    if not isinstance(found, type):
        raise OptionsError({"engine": f"{engine} is a {type(found).__name__}, not a class"})
    if method is not None and not _has_method(found, method):
        raise OptionsError({"engine": f"{engine} has no method `{method}`"})
    return found


def _has_method(found: type[Any], method: str) -> bool:
    """Look into the class and its bases alone: every class itself can be called."""
    return any(callable(vars(base).get(method)) for base in found.__mro__) or (
        method != "__call__" and callable(getattr(found, method, None))
    )


def make(site_class: type[Any], options: Mapping[str, Any]) -> Any:
    """Make an instance; the nodes in its options become instances first.

    Raises:
        OptionsError: If the class refuses them.
    """
    try:
        return site_class(**instantiate(options))
    except OptionsError:
        raise
    except Exception as error:  # the text may hold an option's value
        raise OptionsError(
            {"options": f"{site_class.__name__} refused them with {type(error).__name__}"}
        ) from error


def require_fitting_options(site_class: type[Any], options: Mapping[str, Any]) -> None:
    """Hold the options to the class's signature.

    Raises:
        OptionsError: If the class would not take them.
    """
    try:
        inspect.signature(site_class).bind(**options)
    except TypeError as error:
        raise OptionsError(
            {"options": f"{site_class.__name__} does not take them: {error}"}
        ) from error
    except ValueError:  # a class in C says nothing of its arguments
        return


def instantiate(node: Any) -> Any:
    """Make every `{"ENGINE": ..., "OPTIONS": ...}` in a value of the settings into an instance,
    however deep it lies.

    Raises:
        OptionsError: If a class cannot be imported.
    """
    if isinstance(node, Mapping):
        if "ENGINE" in node:
            return find_class(str(node["ENGINE"]))(**instantiate(dict(node.get("OPTIONS") or {})))
        return {key: instantiate(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(instantiate(item) for item in node)
    return node
