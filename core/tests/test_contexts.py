"""Contexts as decorators, left elsewhere, or never left; and a Python without the lock."""

from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from eventtracking import DataError, Tracker


def test_a_context_decorates_functions_and_coroutines() -> None:
    """Each call is in it, also at once and inside each other; the caller is not."""
    tracker = Tracker.from_config({})

    @tracker.context("who", {"who": "plain"})
    def plain(depth: int = 0) -> Any:
        return plain(depth - 1) if depth else tracker.resolve_context()

    @tracker.context({"who": "coroutine"})
    async def coroutine(key: int) -> Any:
        with tracker.context({"key": key}):
            await asyncio.sleep(0)
            return tracker.resolve_context()

    @tracker.context({"who": "wrapped"})
    def returns_coroutine() -> Any:
        return inspect.unwrap(coroutine)(5)

    async def main() -> list[Any]:
        return await asyncio.gather(*map(coroutine, range(50)), returns_coroutine())

    assert plain(3) == plain() == {"who": "plain"}
    *found, wrapped = asyncio.run(main())
    assert found == [{"who": "coroutine", "key": key} for key in range(50)]
    assert wrapped == {"who": "wrapped", "key": 5}
    assert tracker.resolve_context() == {}
    assert inspect.iscoroutinefunction(coroutine)
    assert coroutine.__name__ == "coroutine"
    partly = tracker.context({"who": "partial"})(functools.partial(inspect.unwrap(coroutine), 1))
    assert asyncio.run(partly()) == {"who": "partial", "key": 1}


def test_a_generator_is_refused() -> None:
    """It would do nothing, or leak the context into the code that it yields to."""
    tracker = Tracker.from_config({})

    def plain() -> Iterator[int]:
        yield 1

    async def asynchronous() -> AsyncIterator[int]:
        yield 1

    for function in (plain, asynchronous):
        with pytest.raises(TypeError, match="is a generator"):
            tracker.context({"a": 1})(function)


def test_contexts_that_are_left_elsewhere_have_one_reason() -> None:
    """However many generators are finished by another thread, and whatever their names are."""
    tracker = Tracker.from_config({})

    def held(number: int) -> Generator[int, None, None]:
        with tracker.context({"n": number}), tracker.context(f"request {number}", {"m": 1}):
            yield number

    generators = [held(number) for number in range(100)]
    for generator in generators:
        thread = threading.Thread(target=next, args=(generator,))
        thread.start()
        thread.join()
        generator.close()
    assert dict(tracker.stats()[""].reasons) == {
        "mended: a context was left that is not entered": 200
    }
    with pytest.raises(DataError, match="no context named 'a' is entered"):
        Tracker.from_config({"strict": True}).exit_context("a")


def test_contexts_that_are_never_left_are_told_once() -> None:
    """Past a hundred of them inside each other, by the counts and one warning."""
    tracker = Tracker.from_config({})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(300):
            tracker.enter_context("request", {"n": number})
    assert len(caught) == 1
    assert "more than 100 contexts" in str(caught[0].message)
    assert list(tracker.stats()[""].reasons.values()) == [1]
    tracker.exit_context("request")
    assert tracker.resolve_context() == {"n": 298}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = Tracker.from_config({})
        for _ in range(300):
            other.enter_context("request", {})


@pytest.mark.process
@pytest.mark.parametrize("pure", ["", "1"])
def test_a_free_threaded_python_is_refused(pure: str) -> None:
    """When the package is imported, compiled or not, with the way out."""
    code = "import sys; sys._is_gil_enabled = lambda: False; import eventtracking"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={"EVENTTRACKING_PURE_PYTHON": pure},
    )
    assert done.returncode == 1
    assert "ImportError: eventtracking: this Python is free-threaded" in done.stderr
    assert "PYTHON_GIL=1" in done.stderr
