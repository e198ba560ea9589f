"""The plugin `logger`: what is logged, when, and what is too long."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from eventtracking import ConfigError, Event, Rejected, Tracker
from eventtracking_logger.backend import LoggerBackend

LOGGER = logging.getLogger("tests.logger")


class Lines(logging.Handler):
    """Keep what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def log() -> Iterator[Lines]:
    """Listen to the logger of these tests, at its level INFO."""
    handler = Lines()
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    yield handler
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.NOTSET)


def backend(**options: Any) -> LoggerBackend:
    return LoggerBackend(name="tests.logger", **options)


def test_one_line_of_json_per_event(log: Lines) -> None:
    """Each line starts with `{`, has no line break, and is what `to_json` gives."""
    events = [Event(name="a", data={"text": "one\ntwo 100% %s"}), Event(name="b")]
    backend().send(events)
    assert log.lines == [event.to_json() for event in events]
    assert all(line.startswith("{") and "\n" not in line for line in log.lines)
    assert [json.loads(line)["name"] for line in log.lines] == ["a", "b"]


def test_the_record_is_as_any_other(log: Lines) -> None:
    """The record has the logger's name and level; handlers, formatters, filters and `propagate`
    work as ever.
    """
    parent = Lines()
    logging.getLogger("tests").addHandler(parent)
    backend(level="warning").send([Event(name="a")])
    logging.getLogger("tests").removeHandler(parent)
    (record,) = log.records
    assert (record.name, record.levelno, record.levelname) == (
        "tests.logger",
        logging.WARNING,
        "WARNING",
    )
    assert (
        logging.Formatter("%(levelname)s %(funcName)s %(message)s")
        .format(record)
        .startswith('WARNING send {"name":"a"')
    )
    assert parent.records == [record]
    LOGGER.addFilter(refuse := lambda record: False)
    backend().send([Event(name="b")])
    LOGGER.removeFilter(refuse)
    assert len(log.records) == 1


def test_a_record_has_all_that_the_standard_librarys_has(log: Lines) -> None:
    """Field by field, on whatever thread and in whatever task, but for the time and the place in
    the code.
    """
    writer = backend()
    writer.open()

    def write() -> None:
        LOGGER.info("%s", "the standard library's")
        writer.send([Event(name="a")])

    async def in_a_task() -> None:
        write()

    write()
    thread = threading.Thread(target=write, name="named")
    thread.start()
    thread.join()
    asyncio.run(in_a_task())
    changing = {
        "args",
        "message",
        "created",
        "msecs",
        "relativeCreated",
        "pathname",
        "filename",
        "module",
        "lineno",
        "funcName",
    }
    for theirs, ours in zip(log.records[::2], log.records[1::2], strict=True):
        assert list(vars(ours)) == list(vars(theirs))
        assert {k: v for k, v in vars(ours).items() if k not in changing} == {
            k: v for k, v in vars(theirs).items() if k not in changing
        }
        assert 0 <= ours.created - theirs.created < 5
        assert (
            abs(
                ours.relativeCreated
                - theirs.relativeCreated
                - (ours.created - theirs.created) * 1_000
            )
            < 1
        )
        assert abs(ours.created % 1 * 1_000 - ours.msecs) < 1.01
        assert type(ours.msecs) is type(theirs.msecs)
        assert (ours.funcName, ours.filename) == ("send", "_records.py")


@pytest.mark.parametrize(
    "flag", ["logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"]
)
def test_a_record_lacks_what_is_switched_off(
    log: Lines, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """The flags of the standard library hold."""
    monkeypatch.setattr(logging, flag, False, raising=False)
    writer = backend()
    writer.open()
    LOGGER.info("%s", "theirs")
    writer.send([Event(name="a")])
    theirs, ours = log.records
    assert [key for key, value in vars(ours).items() if value is None] == [
        key for key, value in vars(theirs).items() if value is None
    ]


@pytest.mark.parametrize("when", ["before it opens", "afterwards"])
@pytest.mark.parametrize("where", ["class", "instance"])
def test_what_makes_records_may_be_replaced(
    log: Lines, monkeypatch: pytest.MonkeyPatch, when: str, where: str
) -> None:
    """As tools do that trace an application: their fields are in the records while they are there,
    and not later.
    """
    genuine = logging.Logger.makeRecord

    def traced(self: logging.Logger, *arguments: Any) -> logging.LogRecord:
        record = genuine(self, *arguments)
        record.trace = "t1"
        return record

    writer = backend()
    if when == "afterwards":
        writer.open()
    if where == "class":
        monkeypatch.setattr(logging.Logger, "makeRecord", traced)
    else:
        monkeypatch.setattr(
            LOGGER, "makeRecord", lambda *arguments: traced(LOGGER, *arguments), raising=False
        )
    if when == "before it opens":
        writer.open()
    writer.send([Event(name="a")])
    monkeypatch.undo()
    writer.send([Event(name="b")])
    assert [hasattr(record, "trace") for record in log.records] == [True, False]


def test_asyncio_that_is_being_imported_costs_no_event(
    log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may be in the middle of it; the record has no task then, as the standard
    library's.
    """
    writer = backend()
    writer.open()
    monkeypatch.setitem(sys.modules, "asyncio", type(sys)("asyncio"))
    writer.send([Event(name="a")])
    assert vars(log.records[0]).get("taskName") is None


def test_a_factory_of_the_applications_own_makes_the_records(log: Lines) -> None:
    """Also one that comes later."""
    writer = backend()
    writer.open()

    class Own(logging.LogRecord):
        pass

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Own)
    try:
        writer.send([Event(name="a")])
    finally:
        logging.setLogRecordFactory(before)
    writer.send([Event(name="b")])
    assert [type(record) for record in log.records] == [Own, logging.LogRecord]
    assert [json.loads(line)["name"] for line in log.lines] == ["a", "b"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_the_levels_are_those_of_the_standard_library(log: Lines, level: Any) -> None:
    """Each name stands for the level of that name."""
    LOGGER.setLevel(logging.DEBUG)
    backend(level=level).send([Event(name="a")])
    assert log.records[0].levelname == level.upper()


def test_nothing_is_encoded_while_the_level_is_off(
    log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event whose line nobody wants costs no JSON, and counts as delivered.

    The level may be changed at any time.
    """
    encoded: list[str] = []

    def to_json(event: Event) -> str:
        encoded.append(event.name)
        return "{}"

    monkeypatch.setattr(Event, "to_json", to_json)
    quiet = backend(level="debug", max_event_bytes=1)
    quiet.send([Event(name="off")])
    assert (encoded, log.lines) == ([], [])
    LOGGER.setLevel(logging.DEBUG)
    with pytest.raises(Rejected):
        quiet.send([Event(name="on")])
    assert encoded == ["on"]


def test_a_logger_that_is_off_is_told_once(log: Lines, caplog: pytest.LogCaptureFixture) -> None:
    """When it is opened, which is before the first event; one that is on is not."""
    node = {"plugin": "logger", "name": "tests.logger", "level": "debug"}
    with (
        caplog.at_level(logging.WARNING),
        Tracker.from_config({"backends": {"log": node}}) as tracker,
    ):
        tracker.emit("a")
        tracker.emit("b")
        backend().open()
    assert [
        record.getMessage() for record in caplog.records if record.name == "eventtracking.logger"
    ] == [
        (
            "the logger 'tests.logger' is off for DEBUG, so that no event is written; for example:"
            " logging.basicConfig(level=logging.DEBUG)"
        )
    ]


def test_an_event_of_any_size_is_logged_whole(log: Lines) -> None:
    """Without a limit nothing is cut or lost."""
    event = Event(name="large", data={"text": "x" * 3_000_000})
    backend().send([event])
    assert json.loads(log.lines[0])["data"] == event.data


@pytest.mark.parametrize("text", ["plain", "é" * 10, "日本" * 10, "😀" * 10])
def test_the_limit_is_the_length_in_bytes(log: Lines, text: str) -> None:
    """A line of exactly `max_event_bytes` of UTF-8 is logged; one byte more is rejected."""
    event = Event(name="a", data={"text": text})
    size = len(event.to_json().encode())
    backend(max_event_bytes=size, ensure_ascii=False).send([event])
    assert len(log.lines) == 1
    with pytest.raises(Rejected) as caught:
        backend(max_event_bytes=size - 1, ensure_ascii=False).send([event])
    assert caught.value.reasons == {event.id: f"longer than max_event_bytes={size - 1}"}
    assert len(log.lines) == 1


def test_a_long_event_fails_alone_and_is_counted(log: Lines) -> None:
    """The others of the batch are logged; through a tracker it counts as failed, with the reason
    and without its values.
    """
    node = {"plugin": "logger", "name": "tests.logger", "max_event_bytes": 300}
    with Tracker.from_config({"backends": {"log": node}}) as tracker:
        tracker.emit("short")
        tracker.emit("long", {"text": "s3cr3t" * 100})
        counts = tracker.stats()["log"]
    assert (counts.delivered, counts.failed) == (1, 1)
    assert counts.reasons == {"failed: Rejected: longer than max_event_bytes=300": 1}
    long = Event(name="long", data={"text": "x" * 300})
    with pytest.raises(Rejected) as caught:
        backend(max_event_bytes=300).send([Event(name="a"), long, Event(name="b")])
    assert set(caught.value.reasons) == {long.id}
    assert [json.loads(line)["name"] for line in log.lines] == ["short", "a", "b"]


def test_options_reject_nonsense() -> None:
    """Every wrong option is reported at once, with its place, what was there, and what is
    accepted.
    """
    node = {"plugin": "logger", "name": 5, "level": "warn", "max_event_bytes": 0, "levels": []}
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": {"log": node}})
    assert [str(problem) for problem in caught.value.problems] == [
        (
            "backends.log.levels: logger has no option 'levels'; it takes name, level,"
            " max_event_bytes, ensure_ascii; did you mean 'level'?"
        ),
        "backends.log.name: expected text; found 5",
        (
            'backends.log.level: expected one of "critical", "debug", "error", "info", "warning";'
            " found \"warn\"; did you mean 'warning'?"
        ),
        "backends.log.max_event_bytes: expected an integer, at least 1 or nothing; found 0",
    ]
