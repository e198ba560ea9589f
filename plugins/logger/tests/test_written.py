"""The plugin `logger`: an event that was not written is never counted as delivered."""

from __future__ import annotations

import errno
import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Counts, DeliveryError, Event, Tracker, Undelivered
from eventtracking_logger.backend import LoggerBackend

NAME = "tests.written"
LOGGER = logging.getLogger(NAME)
ODD = "\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\u200f\u061c\ufeff\xad\U000e0041\ud800\r\n"


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """Log to a file of UTF-8 and return a function that reads its lines as `splitlines` does."""
    path = tmp_path / "events.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    with _logging_to(handler):
        yield lambda: path.read_text(encoding="utf-8").splitlines()


class _logging_to:  # noqa: N801 - used as a function
    """Let the logger have this handler alone."""

    def __init__(self, *handlers: logging.Handler) -> None:
        self._handlers = handlers

    def __enter__(self) -> None:
        LOGGER.handlers[:] = self._handlers
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False

    def __exit__(self, *_: object) -> None:
        LOGGER.handlers.clear()
        LOGGER.setLevel(logging.NOTSET)
        LOGGER.propagate = True
        LOGGER.disabled = False
        logging.disable(logging.NOTSET)
        for handler in self._handlers:
            handler.close()


def _tracker(**options: Any) -> Tracker:
    return Tracker.from_config({"backends": {"log": {"plugin": "logger", "name": NAME, **options}}})


def _counts(tracker: Tracker) -> Counts:
    return tracker.stats()["log"]


def _disable_by_dict_config() -> None:
    known = logging.Logger.manager.loggerDict
    enabled = [
        one for one in known.values() if isinstance(one, logging.Logger) and not one.disabled
    ]
    logging.config.dictConfig({"version": 1})
    for one in enabled:
        one.disabled = one is LOGGER


def _disable_by_flag() -> None:
    LOGGER.disabled = True


def _disable_all() -> None:
    logging.disable(logging.CRITICAL)


def _raise_level() -> None:
    LOGGER.setLevel(logging.ERROR)


def _take_handlers() -> None:
    LOGGER.handlers.clear()


OFF = [_disable_by_dict_config, _disable_by_flag, _disable_all, _raise_level, _take_handlers]


@pytest.mark.parametrize("switch_off", OFF)
def test_a_logger_that_was_switched_off_fails_its_events(
    written: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    switch_off: Callable[[], None],
) -> None:
    """The counts have the reason, and one warning comes out, with or without logging."""
    tracker = _tracker()
    tracker.emit("before")
    switch_off()
    tracker.emit("after")
    tracker.emit("after")
    counts = _counts(tracker)
    assert (counts.delivered, counts.failed) == (1, 2)
    (reason,) = counts.reasons
    assert f"the logger '{NAME}' writes no events" in reason
    told = capsys.readouterr().err + "".join(
        record.getMessage() for record in caplog.records if record.name == "eventtracking.logger"
    )
    assert told.count("writes no events") == 1
    assert len(written()) == 1


@pytest.mark.parametrize("switch_off", [one for one in OFF if one is not _raise_level])
def test_also_before_the_first_event(
    written: Callable[[], list[str]], switch_off: Callable[[], None]
) -> None:
    """Such as by a migration's own logging config, after the tracker was configured."""
    tracker = _tracker()
    switch_off()
    tracker.emit("early")
    assert (_counts(tracker).delivered, _counts(tracker).failed) == (0, 1)


def test_a_level_that_is_off_from_the_start_is_in_the_reasons() -> None:
    """The events count as delivered, as configured, and the counts say that no line was written."""
    tracker = _tracker(level="debug")
    tracker.emit("a")
    tracker.emit("b")
    counts = _counts(tracker)
    assert counts.delivered == 2
    assert list(counts.reasons.values()) == [2]
    assert "is off for DEBUG" in next(iter(counts.reasons))


def test_the_warning_needs_no_logging(
    written: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where our own loggers are disabled, too, the standard error has it."""
    tracker = _tracker()
    ours = logging.getLogger("eventtracking.logger")
    ours.disabled = LOGGER.disabled = True
    try:
        tracker.emit("lost")
        tracker.emit("lost")
    finally:
        ours.disabled = False
    assert capsys.readouterr().err.count("eventtracking: the logger") == 1


def test_it_writes_again_when_it_is_on_again(written: Callable[[], list[str]]) -> None:
    """Nothing has to be restarted."""
    writer = LoggerBackend(name=NAME)
    LOGGER.disabled = True
    with pytest.raises(DeliveryError):
        writer.send([Event(name="a")])
    LOGGER.disabled = False
    writer.send([Event(name="a")])
    assert len(written()) == 1


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_one_event_is_one_line_for_every_reader(
    written: Callable[[], list[str]], ensure_ascii: bool
) -> None:
    """Whatever breaks a line, turns its direction or shows nothing is escaped, in any place."""
    event = Event(name=f"n{ODD}", data={ODD: [ODD, "é日😀"]}, context={"k": ODD})
    LoggerBackend(name=NAME, ensure_ascii=ensure_ascii).send([event])
    (line,) = written()
    assert line.isprintable()
    assert line.isascii() is ensure_ascii
    assert json.loads(line)["data"] == json.loads(event.to_json())["data"]
    assert ("é日😀" in line) is not ensure_ascii


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16", "shift_jis"])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_any_encoding_of_a_handler_takes_every_event(
    tmp_path: Path, encoding: str, ensure_ascii: bool
) -> None:
    """A line that the handler's encoding does not have is escaped; a value is never lost."""
    texts = ["plain", "Józef", "翻訳", "😀", "a\x85b"]
    path = tmp_path / "events.log"
    with _logging_to(logging.FileHandler(path, encoding=encoding)):
        tracker = _tracker(ensure_ascii=ensure_ascii)
        for text in texts:
            tracker.emit("said", {"text": text})
        assert _counts(tracker).delivered == len(texts)
    lines = path.read_text(encoding=encoding).splitlines()
    assert [json.loads(line)["data"]["text"] for line in lines] == texts


def _closed_stream() -> logging.Handler:
    stream = io.StringIO()
    stream.close()
    return logging.StreamHandler(stream)


class _FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")


def _full_disk() -> logging.Handler:
    return logging.StreamHandler(_FullDisk())


def _raising_formatter() -> logging.Handler:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(missing)s"))
    return handler


@pytest.mark.parametrize("make", [_closed_stream, _full_disk, _raising_formatter])
@pytest.mark.parametrize("raise_exceptions", [True, False])
def test_a_handler_that_swallows_its_error_fails_the_event(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[], logging.Handler],
    raise_exceptions: bool,
) -> None:
    """The other handlers have the line; the counts say why one has not."""
    monkeypatch.setattr(logging, "raiseExceptions", raise_exceptions)
    sound = io.StringIO()
    broken = make()
    with _logging_to(broken, logging.StreamHandler(sound)):
        tracker = _tracker()
        tracker.emit("a")
        tracker.emit("b")
        LOGGER.removeHandler(broken)
        tracker.emit("c")
        counts = _counts(tracker)
    assert (counts.delivered, counts.failed) == (1, 2)
    assert any("Error" in reason for reason in counts.reasons)
    assert len(sound.getvalue().splitlines()) == 3
    assert (capsys.readouterr().err.count("--- Logging error ---") == 2) is raise_exceptions


def test_only_what_was_not_written_is_tried_again() -> None:
    """A handler that fails for one event of a batch leaves the others delivered."""

    class Picky(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                if '"name":"bad"' in record.getMessage():
                    raise OSError("no")
            except OSError:
                self.handleError(record)

    good, bad = Event(name="good"), Event(name="bad")
    with _logging_to(Picky()), pytest.raises(Undelivered) as caught:
        LoggerBackend(name=NAME).send([good, bad])
    assert set(caught.value.retry) == {bad.id}


def test_failures_of_other_records_are_not_ours() -> None:
    """A line of the application that a handler cannot write costs no event."""
    with _logging_to(logging.StreamHandler(io.StringIO())):
        tracker = _tracker()
        tracker.emit("a")
        LOGGER.info("%d", "not a number")
        tracker.emit("b")
    assert (_counts(tracker).delivered, _counts(tracker).failed) == (2, 0)


def _to_parent(sound: logging.Handler) -> None:
    parent = logging.getLogger("tests")
    parent.addHandler(sound)
    LOGGER.propagate = True


def _in_place(sound: logging.Handler) -> None:
    LOGGER.handlers[0] = sound


def _beside(sound: logging.Handler) -> None:
    LOGGER.addHandler(sound)


@pytest.mark.parametrize("change", [_to_parent, _in_place, _beside])
def test_a_handler_that_comes_later_is_watched(change: Callable[[logging.Handler], None]) -> None:
    """The remembered handlers are looked up again after a change on any logger on the way."""
    late = _full_disk()
    with _logging_to(logging.StreamHandler(io.StringIO())):
        tracker = _tracker()
        tracker.emit("a")
        change(late)
        try:
            tracker.emit("b")
        finally:
            logging.getLogger("tests").removeHandler(late)
            LOGGER.removeHandler(late)
    counts = _counts(tracker)
    assert (counts.delivered, counts.failed) == (1, 1)


def test_a_handler_with_a_method_of_its_own_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    """An application that puts its own `handleError` on a handler keeps it, and loses no event."""
    seen: list[str] = []
    handler = _full_disk()
    handler.handleError = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]  # as an application does
    with _logging_to(handler):
        tracker = _tracker()
        tracker.emit("a")
    assert _counts(tracker).failed == len(seen) == 1
