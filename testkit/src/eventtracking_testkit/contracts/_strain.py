"""The contract of backends under strain: odd text, hostile names, many events."""

from __future__ import annotations

import functools
import gc
import os
import random
import sys
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from eventtracking import Event
from eventtracking_testkit._deeds import watch_paths
from eventtracking_testkit.contracts._destination import Destination, Stored, call
from eventtracking_testkit.forks import run_in_fork
from eventtracking_testkit.samples import sample_event

__all__ = ["StrainContract"]

_CHUNK: Final = 500
_TEXT: Final = "lorem ipsum " * 170
"""About 2 kB."""
_MAX_BLOCKS: Final = 0.25
"""Allocated blocks per event: one that is kept for each event has at least one."""
_MAX_BYTES: Final = 16 << 20
"""Less than the text of 10,000 events, and more than an allocator keeps for later."""
_STATM: Final = Path("/proc/self/statm")


class StrainContract(Destination):
    """The tests of `BackendContract` that are about odd events and many events."""

    memory_events: ClassVar[int] = 20_000

    def forget(self) -> None:
        """Let go of what the test itself remembers of the events that were sent."""

    def test_identity(self, backend: Any, stored: Stored | None) -> None:
        """Name, id and timestamp that are stored equal those of the event, with odd text in it,
        with keys of the same names in its data, and in large events.
        """
        events = [event.replace(id=str(uuid.uuid4())) for event in _odd_events()]
        refused = self.offer(backend, events)
        small = [event for event in events if event.data.get("size") != "large"]
        blamed = [refused[event.id] for event in small if event.id in refused]
        assert not blamed, f"odd text is no reason to reject an event: {blamed[:3]}"
        self.settle(backend)
        self.check_stored(stored, [event for event in events if event.id not in refused])

    @pytest.mark.process
    def test_hostile_names(self, options: Mapping[str, Any], stored: Stored | None) -> None:
        """Names such as `..`, `/` or 10,000 characters are stored or rejected, each by itself, and
        nothing is written outside the place where the events of plain names go.
        """
        mark = f"testkit-{uuid.uuid4().hex}"
        plain_one, hostile = sample_event(name=mark), [
            sample_event(name=name.format(mark=mark)) for name in _HOSTILE
        ]  # fmt: skip
        told, tell = os.pipe()

        def child() -> None:
            paths = watch_paths()
            self._send_and_close(options, [plain_one])
            folders = [path.partition(mark)[0] for path in paths if mark in path]
            folders += [str(value) for value in options.values() if str(value).startswith("/")]
            del paths[:]
            refused = self._send_and_close(options, hostile)
            strays = [path for path in paths if mark in path and _is_outside(path, folders)]
            assert not strays, f"a name led to a file outside: {strays}"
            numbers = [index for index, event in enumerate(hostile) if event.id in refused]
            os.write(tell, bytes([len(numbers), *numbers]))

        run_in_fork(child)
        refused = os.read(told, 256)[1:]
        for descriptor in (told, tell):
            os.close(descriptor)
        kept = [event for index, event in enumerate(hostile) if index not in refused]
        self.check_stored(stored, [plain_one, *kept])

    def _send_and_close(
        self, options: Mapping[str, Any], events: Sequence[Event]
    ) -> dict[str, str]:
        backend = self.build(options)
        call(backend, "open")
        refused = self.offer(backend, events)
        self.settle(backend)
        call(backend, "close")
        return refused

    def test_memory_is_flat(self, backend: Any) -> None:
        """Of 20,000 events, the second half leaves nothing behind in memory."""
        half = self.memory_events // 2
        self._send_many(backend, half)
        blocks, size = _memory()
        self._send_many(backend, half)
        more_blocks, more_size = _memory()
        grown = (more_blocks - blocks) / half
        assert grown < _MAX_BLOCKS, f"{grown:.2f} objects stay in memory for each event"
        grown_mb = (more_size - size) / 2**20
        is_small = half * len(_TEXT) <= _MAX_BYTES or more_size - size < _MAX_BYTES
        assert is_small, f"{half} events leave {grown_mb:.0f} MB in memory"

    def _send_many(self, backend: Any, count: int) -> None:
        for start in range(0, count, _CHUNK):
            numbers = range(start, min(start + _CHUNK, count))
            data = [{"number": number, "text": _TEXT} for number in numbers]
            self.send(backend, [sample_event(data=one) for one in data])
            if start % (4 * _CHUNK) == 0:
                self.settle(backend)
                self.forget()
        self.settle(backend)
        self.forget()


_HOSTILE: Final[Sequence[str]] = (
    "..",
    ".",
    "/",
    "../{mark}",
    "../../{mark}",
    "/tmp/{mark}",  # noqa: S108 - it must not be written
    "{mark}/../../../{mark}",
    "nul\0{mark}",
    " ",
    "-rf",
    "~/{mark}",
    "C:\\{mark}",
    "line\nbreak\r\u2028\x85end",
    "%s%n %(name)s ${{HOME}} {{0}} {{{{}}}}",
    "'; DROP TABLE events; --",
    "$set.a.b",
    "<script>alert(1)</script>",
    "\x1b[31m\u202egnp.exe",
    "*",
    "n" * 10_000,
    "../" * 3_000,
)


def _is_outside(path: str, folders: Sequence[str]) -> bool:
    """Whether a path is in none of the folders, once its dots are resolved."""
    real = os.path.normpath(path)
    return not any(real.startswith(folder) for folder in folders)


def _memory() -> tuple[int, int]:
    """Return the allocated blocks of Python and the bytes of the process in memory."""
    gc.collect()
    pages = int(_STATM.read_text().split()[1]) if _STATM.exists() else 0
    return sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _odd_events() -> Sequence[Event]:
    """Make events of odd text, the same ones in each run."""
    chance = random.Random(1)  # noqa: S311 - nothing secret
    events = [_odd_event(chance) for _ in range(15)]
    return events + [event.replace(data={**event.data, **_LARGE}) for event in events[-4:]]


def _odd_event(chance: random.Random) -> Event:
    return Event(
        name=_odd_text(chance) or "\u2028",
        timestamp=_EPOCH + timedelta(milliseconds=chance.randrange(130 * 365 * 86_400_000)),
        context={**_odd_mapping(chance, 3), "user_id": 10938},
        data=_odd_mapping(chance, 5),
    )


def _odd_mapping(chance: random.Random, longest: int) -> dict[str, str]:
    keys = [chance.choice((*_KEYS, _odd_text(chance))) for _ in range(chance.randint(0, longest))]
    return {key: _odd_text(chance) for key in keys}


def _odd_text(chance: random.Random) -> str:
    """Return up to 40 characters, each range of them as likely; surrogates are no text."""
    ranges = chance.choices(_RANGES, k=chance.randint(0, 40))
    return "".join(chr(chance.randint(*ends)) for ends in ranges)


_EPOCH: Final = datetime(1970, 1, 2, tzinfo=timezone.utc)
_KEYS: Final = ("id", "_id", "name", "timestamp", "event", "time", "type")
"""Keys that stores have for themselves."""
_RANGES: Final = (
    (0, 0x1F),
    (0x20, 0x7E),
    (0x7F, 0xFF),
    (0x300, 0x36F),  # marks that join the character before
    (0x590, 0x6FF),  # written from right to left
    (0x2000, 0x206F),  # spaces, line ends and marks of direction
    (0xE000, 0xFFFF),
    (0x1F300, 0x1FAFF),
    (0x100, 0xD7FF),
    (0x10000, 0x10FFFF),
)
_LARGE: Final[Mapping[str, Any]] = {"size": "large", "text": "naïve 東京 " * 10_000}
