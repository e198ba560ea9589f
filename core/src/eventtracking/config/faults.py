"""Faults of a plugin, found when it is registered, with the author's file and line."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any, Final

from eventtracking import hookspecs
from eventtracking.config.options import options_of, unsupported
from eventtracking.config.words import did_you_mean
from eventtracking.errors import PluginError

__all__ = ["RESERVED_KEYS", "faults_of_class", "faults_of_module", "quote", "whence"]

RESERVED_KEYS: Final = frozenset({"plugin", "processors", "backends", "on_error"})
"""The keys of a config's node itself, so that no option may have these names."""
_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "send": ("events",),
    "__call__": ("event",),
    "start": ("tracker",),
    "bind": ("downstream",),
    "open": (),
    "flush": ("timeout_s",),
    "close": (),
    "probe": (),
    "exclusive": (),
    "tick": (),
    "accepts": ("name",),
    "shown": ("event",),
    "delivered": ("route", "count", "duration_s"),
}
"""The methods that core calls, with their arguments."""
_NEEDS: Final = {"name_only": "accepts", "defers": "bind"}
"""Attributes that say True of a class, and the method that each of them is about."""
_LAZY: Final = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)
"""Functions that do nothing when they are called."""
_CORE: Final = str(Path(__file__).parents[1])


def faults_of_class(plugin_class: Any, method: str) -> Iterator[str]:
    """Yield the faults of a plugin's class.

    Args:
        method: The one that it must have.
    """
    if not isinstance(plugin_class, type) or not hasattr(plugin_class, "__attrs_attrs__"):
        yield f"must be an attrs class, not {plugin_class!r}; decorate it with @attrs.define"
        return
    yield from _faults_of_options(plugin_class)
    at = f" ({_line_of_class(plugin_class)})"
    if not callable(getattr(plugin_class, method, None)):
        yield f"{plugin_class.__qualname__} has no method {method}{at}"
    for attribute, needed in _NEEDS.items():
        is_said = getattr(plugin_class, attribute, None) is True
        if is_said and not callable(getattr(plugin_class, needed, None)):
            yield f"{plugin_class.__qualname__}.{attribute} needs a method {needed}{at}"
    for name, arguments in _CALLS.items():
        fault = _fault_of_method(plugin_class, name, arguments)
        if fault:
            yield f"{plugin_class.__qualname__}.{name} {fault}{at}"


def _faults_of_options(plugin_class: type[Any]) -> Iterator[str]:
    try:
        options = options_of(plugin_class)
        wrong = {name: unsupported(option.type) for name, option in options.items()}
    except Exception as error:  # noqa: BLE001 - annotations are the author's code
        yield f"the types of its options cannot be read: {quote(error)}"
        return
    for name, kind in wrong.items():
        if kind is not None:
            yield (
                f"the type of its option {name!r} cannot be expressed in a config: {kind}; use"
                " text, numbers, lists, tables, paths, enums or an attrs class"
            )
    taken = RESERVED_KEYS & options.keys()
    if taken:
        yield f"has an option with a reserved name: {', '.join(sorted(taken))}"


def _fault_of_method(plugin_class: type[Any], name: str, arguments: tuple[str, ...]) -> str | None:
    found = inspect.getattr_static(plugin_class, name, None)
    taken = () if isinstance(found, staticmethod) else ("self",)
    function = getattr(found, "__func__", found)
    if not isinstance(function, FunctionType):
        return None  # it is not there, or its signature is its own affair
    if any(is_lazy(function) for is_lazy in _LAZY):
        return "must be a plain function; an async one, or one with `yield`, would never run"
    signature = inspect.signature(function)
    try:
        signature.bind(*taken, *arguments)
    except TypeError:
        return f"is called as {name}({', '.join(arguments)}), and takes {signature}"
    return None


def faults_of_module(module: Any) -> Iterator[str]:
    """Yield the faults of a module's hooks, and of the contract that it needs."""
    needed = getattr(module, "EVENTTRACKING_CONTRACT", hookspecs.CONTRACT)
    if not isinstance(needed, int) or needed > hookspecs.CONTRACT:
        yield (
            f"it needs contract {needed!r}, and this eventtracking has contract"
            f" {hookspecs.CONTRACT}; upgrade eventtracking"
        )
    known = [name for name in hookspecs.__all__ if name.startswith("eventtracking_")]
    for name, function in list(vars(module).items()):
        if not (name.startswith("eventtracking_") and isinstance(function, FunctionType)):
            continue
        is_marked = hasattr(function, f"{hookspecs.GROUP}_impl")
        at = f" ({_line_of(function)})"
        if is_marked and name not in known:
            near = did_you_mean(name, known) or f"the hooks are {', '.join(known)}"
            yield f"unknown hook {name!r}; {near}{at}"
        elif not is_marked and name in known:
            yield f"{name} lacks the decorator @hookimpl; add it{at}"
        elif is_marked:
            yield from _faults_of_arguments(name, function, at)


def _faults_of_arguments(name: str, function: FunctionType, at: str) -> Iterator[str]:
    given = list(inspect.signature(getattr(hookspecs, name)).parameters)
    for argument in inspect.signature(function).parameters:
        if argument not in given:
            near = did_you_mean(argument, given) or "use that name"
            yield f"{name} is called with {', '.join(given)}, and takes {argument!r}; {near}{at}"


def quote(error: BaseException) -> str:
    """Name an error of a plugin's code, with its text."""
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def whence(error: BaseException) -> str:
    """Return the author's file and line where an exception came from, in brackets."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    places = list(_places(error.__traceback__))
    if not places:
        return ""
    folder = os.path.dirname(places[0][0])  # noqa: PTH120 - text in, text out
    file, line = [place for place in places if place[0].startswith(folder)][-1]
    return f" ({file}:{line})"


def _places(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        foreign = file.startswith(("<", _CORE)) or "importlib_metadata" in file
        if not foreign and f"{os.sep}importlib{os.sep}" not in file:
            yield file, trace.tb_lineno
        trace = trace.tb_next


def _line_of(function: FunctionType) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def _line_of_class(plugin_class: type[Any]) -> str:
    own = [value for value in vars(plugin_class).values() if isinstance(value, FunctionType)]
    mine = [one for one in own if one.__module__ == plugin_class.__module__]
    written = [one for one in mine if not one.__code__.co_filename.startswith("<")]
    return _line_of(written[0]) if written else plugin_class.__module__
