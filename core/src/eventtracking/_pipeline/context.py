"""The contexts that are entered at the moment, per tracker.

One module-level `ContextVar` holds an immutable mapping from tracker to its innermost frame. Frames
are linked and never changed, so that a thread, an asyncio task or a greenlet that inherited a stack
cannot see or undo the changes of others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

import msgspec

from eventtracking._data.intake import Intake, as_mapping, as_name, warn
from eventtracking._data.snapshot import snapshot
from eventtracking.errors import DataError

__all__ = ["ContextKeeper", "EnteredContext", "Frame", "enter", "frames", "leave", "put"]

_MAX_DEPTH: Final = 100
"""Contexts inside each other: more of them are a context that is not left."""


class Frame(msgspec.Struct, frozen=True, eq=False):
    """One entered context."""

    outer: Frame | None
    name: object
    """A name, or a private token for a context without one."""
    own: Mapping[str, Any]
    merged: dict[str, Any]
    """The base context, all outer ones and this one; made on enter, so that emitting costs a
    look-up.
    """
    depth: int = 1


frames: ContextVar[Mapping[int, Frame]] = ContextVar("eventtracking_frames", default={})  # noqa: B039 - never changed
"""The innermost frame of each tracker in which a context is entered, by the tracker's key."""


def enter(tracker_key: int, name: object, own: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Enter a context inside the current one."""
    entered = frames.get()
    frames.set({**entered, tracker_key: _inside(entered.get(tracker_key), name, own, base)})


def leave(tracker_key: int, name: object, base: Mapping[str, Any]) -> bool:
    """Leave the innermost context of that name, wherever it is in the stack.

    Return whether there was one.
    """
    return _change(tracker_key, name, None, base)


def put(tracker_key: int, name: object, own: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Enter a context, or give the innermost one of that name these keys, where it stands."""
    if not _change(tracker_key, name, own, base):
        enter(tracker_key, name, own, base)


def _change(
    tracker_key: int, name: object, own: Mapping[str, Any] | None, base: Mapping[str, Any]
) -> bool:
    entered = frames.get()
    inner: list[Frame] = []
    frame = entered.get(tracker_key)
    while frame is not None and frame.name != name:
        inner.append(frame)
        frame = frame.outer
    if frame is None:
        return False
    stack = frame.outer if own is None else _inside(frame.outer, name, own, base)
    for one in reversed(inner):
        stack = _inside(stack, one.name, one.own, base)
    others = {key: value for key, value in entered.items() if key != tracker_key}
    frames.set(others if stack is None else {**others, tracker_key: stack})
    return True


def _inside(
    outer: Frame | None, name: object, own: Mapping[str, Any], base: Mapping[str, Any]
) -> Frame:
    merged = {**(base if outer is None else outer.merged), **own}
    return Frame(outer, name, own, merged, 1 if outer is None else outer.depth + 1)


class EnteredContext(AbstractContextManager[None]):
    """A context for the length of a `with` block, or of the calls of a function it decorates."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        """Enter the context."""
        self._enter()

    def __exit__(self, *_: object) -> None:
        """Leave it."""
        self._leave()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function or a coroutine function.

        Raises:
            TypeError: If it is a generator function.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator: the code that it yields to would be in"
                " the context, too; enter it inside, with `with tracker.context(...):`"
            )

        @wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            with self:
                result = function(*args, **keywords)
            return self._awaited(result) if inspect.iscoroutine(result) else result

        @wraps(function)
        async def call_async(*args: Any, **keywords: Any) -> Any:
            return await self._awaited(function(*args, **keywords))

        return call_async if inspect.iscoroutinefunction(function) else call

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self:
            return await coroutine


class ContextKeeper(Intake):
    """The part of a tracker that enters contexts, which are copied then, and leaves them."""

    _key: int
    _base: dict[str, Any]
    """The context of the config, outside of all others."""
    _told_depth: bool

    def enter_context(self, name: str, context: Mapping[str, Any]) -> None:
        """Enter a context: its keys join those of the outer contexts, and win over them, until it
        is left.

        Valid for the current thread or asyncio task, and those that it starts with a copy of its
        contextvars.

        Args:
            name: A name to leave it by. Names may nest and repeat.
            context: The keys to add; copied.
        """
        self._enter(as_name(name), context)

    def exit_context(self, name: str) -> None:
        """Leave the innermost context of that name.

        None of that name is no error (in strict mode it is).

        Raises:
            DataError: In strict mode only, if there is none.
        """
        self._leave(as_name(name))

    def _entered_context(self, name: object, context: Any) -> EnteredContext:
        return EnteredContext(lambda: self._enter(name, context), lambda: self._leave(name))

    def context(
        self, name_or_context: str | Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> EnteredContext:
        """Enter a context for the length of a `with` block: `context(ctx)`, or `context(name,
        ctx)`.

        It decorates functions and coroutine functions, too. A generator is refused: the code that
        it yields to would be in the context as well.
        """
        if issubclass(
            type(name_or_context), str
        ):  # isinstance would ask the value, whose answer may raise
            return self._entered_context(as_name(name_or_context), context)
        return self._entered_context(object(), name_or_context)

    def _enter(self, name: object, context: Any, enter: Callable[..., None] = enter) -> None:
        copy = {} if context is None else self._mend(context)
        own = copy if isinstance(copy, dict) else self._wrap(copy)
        enter(self._key, name, own, self._base)
        frame = frames.get().get(self._key)
        if frame is not None and frame.depth > _MAX_DEPTH and not self._told_depth:
            self._told_depth = True
            text = f"more than {_MAX_DEPTH} contexts are entered inside each other; leave each one"
            self._ledger().remark(text)
            warn(text, UserWarning)

    def _leave(self, name: object) -> None:
        if leave(self._key, name, self._base):
            return
        if self._strict:
            named = f"named {name!r} " if type(name) is str else ""
            raise DataError([f"no context {named}is entered"])
        self._report(["a context was left that is not entered"])

    def resolve_context(self) -> dict[str, Any]:
        """Return a copy of the context that an event emitted now would have."""
        return as_mapping(snapshot(self._current()).value)

    def _current(self) -> dict[str, Any]:
        frame = frames.get().get(self._key)
        return self._base if frame is None else frame.merged
