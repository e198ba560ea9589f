"""The contexts that are entered at the moment, per tracker.

One module-level `ContextVar` holds an immutable mapping from tracker to its innermost frame. Frames
are linked and never changed, so that a thread, an asyncio task or a greenlet that inherited a stack
cannot see or undo what others do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple

__all__ = ["EnteredContext", "Frame", "enter", "frames", "leave", "put"]


class Frame(NamedTuple):
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
