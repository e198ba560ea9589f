"""The command `replay`."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from click.testing import CliRunner, Result

from eventtracking import Counts, DataError, Event, Tracker
from eventtracking.protocols import Downstream
from eventtracking.standing import Tally
from eventtracking_cli.app import app
from eventtracking_testkit.distribution import fake_distribution

pytestmark = pytest.mark.needs("logger", "name_filter", "sqlite")

CONFIG = """
[backends.store]
plugin = "sqlite"
path = "events.db"

[backends.log]
plugin = "logger"
"""

ID = "019cad90-e61e-7a6a-84a2-cbcc0c5c7fd0"
LINES = [
    json.dumps(
        {
            "name": "a",
            "timestamp": "2026-03-02T08:01:20.414002+01:00",
            "id": ID,
            "context": {"u": 1},
            "data": {"n": "é"},
        }
    ),
    "",
    json.dumps({"name": "b"}),
    "{not json",
    json.dumps({"data": {"secret": "hunter2"}}),
    "[1, 2]",
    json.dumps({"name": "c", "timestamp": "yesterday, hunter2"}),
    json.dumps({"name": "d", "colour": "red"}),
]
GOOD = [
    line
    for line in LINES
    if json.loads(line if line.startswith('{"') else "{}").get("name") in ("a", "b", "d")
]


def stored(path: str = "events.db") -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(path)) as store:
        rows = store.execute("SELECT name, id, timestamp, context, data FROM events").fetchall()
    return {
        r[0]: {"id": r[1], "timestamp": r[2], "context": json.loads(r[3]), "data": json.loads(r[4])}
        for r in rows
    }


def counts_in(text: str) -> dict[str, list[int]]:
    rows = [line.replace("│", " ").split() for line in text.splitlines() if "│" in line]
    return {row[0]: [int(cell) for cell in row[1:]] for row in rows}


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_events_keep_their_time_and_id(
    run: Callable[..., Result], config: Callable[..., Path], folder: Path
) -> None:
    """Those that have one; the others get theirs. At the end stand the counts of each route."""
    config(CONFIG)
    write(folder / "events.jsonl", GOOD)
    result = run("replay", "events.jsonl", "--log", "log")
    assert result.exit_code == 0
    found = stored()
    assert found["a"] == {
        "id": ID,
        "timestamp": found["a"]["timestamp"],
        "context": {"u": 1},
        "data": {"n": "é"},
    }
    assert found["a"]["timestamp"].startswith("2026-03-02T07:01:20.414002")
    assert found["b"]["id"] != found["d"]["id"]
    assert counts_in(result.stdout) == {
        name: [3, 3, 0, 0, 0, 0] for name in ("(all)", "store", "log")
    }
    lines = (folder / "log").read_text().splitlines()
    events = [
        json.loads(line) for line in lines if line.startswith("{")
    ]  # diagnostics may stand among them
    assert events[2]["colour"] == "red"


def test_malformed_lines_are_reported_and_do_not_stop_the_rest(
    run: Callable[..., Result], config: Callable[..., Path], folder: Path
) -> None:
    """Each with its number and without its text; blank lines are none. Exit status 1."""
    config(CONFIG)
    write(folder / "events.jsonl", LINES)
    result = run("replay", "events.jsonl", "--log", "log")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "line 4: not JSON: Expecting property name enclosed in double quotes at column 2",
        "line 5: an event needs a `name` that is text",
        "line 6: expected a JSON object",
        (
            "line 7: the event's `timestamp` must be a datetime or RFC 3339 text, in the years 1 to"
            " 9999"
        ),
        "warning: 4 malformed lines were left out",
    ]
    assert set(stored()) == {"a", "b", "d"}
    assert counts_in(result.stdout)["store"] == [3, 3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"name": "\xff"}', "line 1: not UTF-8 at byte 11"),
        (b'{"name": "a', "line 1: not JSON: Unterminated string starting at column 10"),
        (b"[" * 200_000, "line 1: no usable JSON (RecursionError)"),
        (
            b'{"name": "a", "data": {"n": ' + b"9" * 10_000 + b"}}",
            "line 1: no usable JSON (ValueError)",
        ),
        (
            b'{"name": "a", "context": 5}',
            "line 1: the event's `context` must be a mapping, not int",
        ),
        (b'{"name": 5}', "line 1: an event needs a `name` that is text"),
        (b'{"name": "a", "data": {"n": 1, "n": 2}}', "line 1: a key stands twice in one object"),
    ],
)
def test_odd_lines(
    run: Callable[..., Result], config: Callable[..., Path], line: bytes, problem: str
) -> None:
    """Whatever a file holds, the line is named and the next one goes through."""
    config(CONFIG)
    result = run("replay", "-", "--log", "log", stdin=line + b'\r\n{"name": "good"}')
    assert result.stderr.splitlines()[0] == problem
    assert result.exit_code == 1
    assert set(stored()) == {"good"}


def test_from_a_pipe_with_a_byte_order_mark(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """`-` is the standard input."""
    config(CONFIG)
    result = run("replay", "-", "--log", "log", "--json", stdin=b'\xef\xbb\xbf{"name": "a"}\r\n')
    assert result.exit_code == 0
    assert json.loads(result.stdout)["store"]["delivered"] == 1


PLAIN = b"".join(b'{"name": "n%d"}\n' % number for number in range(3))


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("e.jsonl.gz", gzip.compress(PLAIN), "zcat e.jsonl.gz"),
        ("odd name", gzip.compress(PLAIN), "zcat 'odd name'"),
        ("e.bz2", bz2.compress(PLAIN), "bzcat e.bz2"),
        ("e.xz", lzma.compress(PLAIN), "xzcat e.xz"),
        ("e16", PLAIN.decode().encode("utf-16"), "iconv -f UTF-16 -t UTF-8 e16"),
        ("e16be", PLAIN.decode().encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8 e16be"),
        ("e16le", PLAIN.decode().encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8 e16le"),
        ("e32", PLAIN.decode().encode("utf-32"), "iconv -f UTF-32 -t UTF-8 e32"),
        ("e32le", PLAIN.decode().encode("utf-32-le"), "iconv -f UTF-32LE -t UTF-8 e32le"),
        ("old", PLAIN.replace(b"\n", b"\r"), "tr '\\r' '\\n' < old"),
        ("array", b"[" + PLAIN.replace(b"}\n{", b"},\n{") + b"]", "jq -c '.[]' array"),
        ("lines", b'{\n  "name": "a"\n}\n', "jq -c . lines"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_form_is_looked_at_once(
    run: Callable[..., Result], config: Callable[..., Path], name: str, content: bytes, command: str
) -> None:
    """It is named, with the command that makes lines of it, and that command is right."""
    config(CONFIG)
    Path(name).write_bytes(content)
    result = run("replay", name, "--log", "log")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {name}: expected UTF-8 text")
    assert line.endswith(f"; for example: {command} | eventtracking replay -")
    if shutil.which(command.split(maxsplit=1)[0]):
        made = subprocess.run(command, shell=True, capture_output=True, check=True).stdout
        assert run("replay", "-", "--log", "log", stdin=made).exit_code == 0
        assert stored()


def test_a_compressed_event_is_not_explained(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """The same for a file of one event, which may have several lines."""
    config(CONFIG)
    Path("e.json").write_bytes(b'\xef\xbb\xbf{\n  "name": "a"\n}\n')
    assert run("explain", "e.json").exit_code == 0
    Path("e.json").write_bytes(gzip.compress(PLAIN))
    assert "zcat e.json | eventtracking explain -" in run("explain", "e.json").stderr


def test_files_put_together(run: Callable[..., Result], config: Callable[..., Path]) -> None:
    """Each of them may have begun with a byte order mark."""
    config(CONFIG)
    lines = b"".join(b"\xef\xbb\xbf" + line + b"\n" for line in PLAIN.splitlines())
    assert run("replay", "-", "--log", "log", stdin=lines).exit_code == 0
    assert set(stored()) == {"n0", "n1", "n2"}


def test_data_as_event_tracking_wrote_it(
    run: Callable[..., Result], config: Callable[..., Path], folder: Path
) -> None:
    """Data that is text is mended, or with `--as-written` kept."""
    config("[backends.log]\nplugin = 'logger'\n")
    (folder / "events.jsonl").write_text('{"name": "a", "data": "as text"}\n')
    assert run("replay", "events.jsonl", "--log", "kept", "--as-written").exit_code == 0
    run("replay", "events.jsonl", "--log", "mended")
    kept, mended = ((folder / name).read_text() for name in ("kept", "mended"))
    assert '"data":"as text"' in kept
    assert '"data":"as text"' not in mended


def test_twice_is_once_in_a_store(
    run: Callable[..., Result], config: Callable[..., Path], folder: Path
) -> None:
    """Because the id is kept."""
    config(CONFIG)
    write(folder / "events.jsonl", GOOD[:1])
    for _ in range(2):
        assert run("replay", "events.jsonl", "--log", "log").exit_code == 0
    assert len(stored()) == 1


OLDER = {
    "name": "edx.video.played",
    "event_type": "play_video",
    "time": "2023-08-23T20:37:45.526615+00:00",
    "event": '{"id": "v1", "currentTime": 3}',
    "context": {"user_id": 3},
    "username": "student",
}


def test_the_older_form_is_understood(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """`time` and `event` (JSON text from a browser too) are moved to our keys; `event_type` names
    an event without a name.
    """
    config(CONFIG)
    nameless = {
        "event_type": "/event",
        "time": "2023-08-23T20:37:45",
        "event": "input_1=a&input_2=b",
    }
    text = "\n".join(json.dumps(event) for event in (OLDER, nameless))
    assert run("replay", "-", "--log", "log", stdin=text.encode()).exit_code == 0
    found = stored()
    assert found["edx.video.played"]["data"] == {"id": "v1", "currentTime": 3}
    assert found["edx.video.played"]["timestamp"].startswith("2023-08-23T20:37:45.526615")
    assert found["/event"]["data"] == {"value": "input_1=a&input_2=b"}
    logged = json.loads(Path("log").read_text().splitlines()[0])
    assert (logged["username"], logged["event_type"], "time" in logged) == (
        "student",
        "play_video",
        False,
    )


@attrs.define(eq=False)
class Down:
    """Never delivers."""

    def send(self, events: Sequence[Event]) -> None:
        raise ConnectionError


PEAKS: list[int] = []
FLUSHES: list[float] = []


@attrs.define(eq=False, slots=False)
class Hold:
    """A router that holds events until it is flushed, and notes how many it held."""

    gives_up: bool = False
    defers: ClassVar[bool] = True
    _held: list[Event] = attrs.field(init=False, factory=list)
    _delivered: int = attrs.field(init=False, default=0)

    def bind(self, downstream: Downstream) -> None:
        self.downstream = downstream
        self.tally = Tally(downstream.routes)

    def send(self, events: Sequence[Event]) -> None:
        self._held += events
        PEAKS.append(len(self._held))

    def flush(self, timeout_s: float) -> bool:
        FLUSHES.append(timeout_s)
        if not self.gives_up:
            answer = self.downstream.deliver(self._held)
            for event in self._held:
                self.tally.move(None, answer.standing(event.id))
            self._delivered += len(self._held)
            self._held = []
        return not self._held

    def counts(self) -> dict[str, Counts]:
        held = len(self._held)
        own = Counts(received=self._delivered + held, delivered=self._delivered, pending=held)
        return {self.downstream.path: own, **self.tally.counts()}


@pytest.fixture
def routers() -> Iterator[None]:
    PEAKS.clear()
    FLUSHES.clear()
    with fake_distribution(plugins={"down": Down, "hold": Hold}):
        yield


def many(count: int) -> bytes:
    return b"".join(b'{"name": "n%d"}\n' % number for number in range(count))


@pytest.mark.usefixtures("routers")
def test_an_event_that_fails_is_exit_status_1(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """One backend is down; the other has the event, and the reason is told."""
    config(CONFIG + '[backends.down]\nplugin = "down"\n')
    result = run("replay", "-", "--log", "log", stdin=b'{"name": "a"}')
    assert result.exit_code == 1
    assert set(stored()) == {"a"}
    assert "down: failed: ConnectionError (1)" in result.stdout


HOLD = (
    '[backends.hold]\nplugin = "hold"\n[backends.hold.backends.store]\nplugin = "sqlite"\npath ='
    ' "events.db"\n'
)


@pytest.mark.usefixtures("routers")
def test_what_routers_hold_is_flushed(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """The counts at the end are those after it."""
    config(HOLD)
    result = run("replay", "-", stdin=many(10))
    assert result.exit_code == 0
    assert counts_in(result.stdout)["hold/store"] == [10, 10, 0, 0, 0, 0]


@pytest.mark.usefixtures("routers")
def test_a_long_file_does_not_overflow_a_router(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """The replay waits for one that holds thousands."""
    config(HOLD)
    result = run("replay", "-", stdin=many(20_000))
    assert result.exit_code == 0
    assert counts_in(result.stdout)["hold"] == [20_000, 20_000, 0, 0, 0, 0]
    assert max(PEAKS) < 10_000


@pytest.mark.usefixtures("routers")
def test_a_dead_destination_is_waited_for_once(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """What is left at the end is told, and exit status 1."""
    config(HOLD.replace('"hold"\n', '"hold"\ngives_up = true\n', 1))
    result = run("replay", "-", "--timeout", "2", stdin=many(20_000))
    assert result.exit_code == 1
    assert counts_in(result.stdout)["hold"] == [20_000, 0, 0, 0, 0, 20_000]
    assert "warning: not everything was delivered within 2 s; see `pending`" in result.stderr
    assert (
        2 <= len(FLUSHES) <= 8
    )  # while reading, at the end, and in close(), each with a second turn


def test_what_a_strict_tracker_refuses_is_malformed(
    run: Callable[..., Result], config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is named and the rest goes on.

    (How deep data must be to be refused depends on the stack, so say it here.)
    """
    config("strict = true\n" + CONFIG)
    submit = Tracker.submit

    def picky(tracker: Tracker, event: Event, *, as_written: bool = False) -> None:
        if event.name == "deep":
            raise DataError(["nested too deeply"])
        submit(tracker, event)

    monkeypatch.setattr(Tracker, "submit", picky)
    result = run("replay", "-", "--log", "log", stdin=b'{"name": "deep"}\n{"name": "good"}')
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "line 1: nested too deeply"
    assert set(stored()) == {"good"}


@pytest.mark.process
def test_an_interrupt_ends_it_with_the_counts(config: Callable[..., Path]) -> None:
    """Ctrl-C: what was sent is delivered and counted, and exit status 1."""
    config(CONFIG)
    command = [str(Path(sys.executable).parent / "eventtracking"), "replay", "-", "--log", "log"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(many(3))
        process.stdin.flush()
        wait_until(lambda: Path("log").exists() and len(Path("log").read_text().splitlines()) == 3)
        process.send_signal(signal.SIGINT)
        process.wait(60)  # before its standard input ends, which would end it too
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert counts_in(out.decode())["store"] == [3, 3, 0, 0, 0, 0]
    assert re.fullmatch(r"warning: interrupted after [23] events\n", err.decode())


class Command:
    """`eventtracking replay` as a process of its own, which reads what the test writes."""

    def __init__(self, *options: str, stderr: int = subprocess.PIPE) -> None:
        command = [
            sys.executable,
            "-m",
            "eventtracking_cli",
            "replay",
            "-",
            "--log",
            "log",
            *options,
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )

    def write(self, lines: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(lines)
        self.process.stdin.flush()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str, float]:
        """Return its exit status, what it printed, and how long it took from now."""
        started = time.monotonic()
        self.process.wait(60)  # before its standard input ends, which would end it too
        out, err = self.process.communicate(timeout=60)
        return (
            self.process.returncode,
            out.decode(),
            (err or b"").decode(),
            time.monotonic() - started,
        )


SLOW = """
    import time
    from pathlib import Path
    import attrs
    from eventtracking import Counts, hookimpl

    @attrs.define(eq=False)
    class Slow:
        seconds: float = 1.0
        def send(self, events):
            Path("sending").touch()
            time.sleep(self.seconds)

    @attrs.define(eq=False, slots=False)
    class Stuck:
        held: int = 0
        defers = True
        def bind(self, downstream):
            self.downstream = downstream
        def send(self, events):
            self.held += len(events)
        def flush(self, timeout_s):
            Path("flushing").touch()
            time.sleep(timeout_s)
            return False
        def counts(self):
            return {self.downstream.path: Counts(received=self.held, pending=self.held)}

    @hookimpl
    def eventtracking_register_backends(register):
        register("slow", Slow)
        register("stuck", Stuck)
"""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a slow backend and a router that never gets rid of anything, for processes too."""
    points = {"slow": "slow_plugin", "stuck": "slow_plugin"}
    with fake_distribution("slow", modules={"slow_plugin": SLOW}, entry_points=points) as site:
        monkeypatch.setenv("PYTHONPATH", str(site))
        yield


STUCK = "".join(
    f'[backends.{name}]\nplugin = "stuck"\n[backends.{name}.backends.log]\nplugin = "logger"\n'
    for name in ("stuck", "another")
)


@pytest.mark.process
@pytest.mark.usefixtures("slow")
def test_an_interrupt_does_not_tear_an_event(config: Callable[..., Path]) -> None:
    """The one that is on its way arrives, and is counted as delivered; the next one is not sent."""
    config('[backends.slow]\nplugin = "slow"\n')
    command = Command()
    command.write(many(3))
    wait_until(Path("sending").exists)
    command.interrupt()
    status, out, err, _ = command.end()
    assert (status, err) == (1, "warning: interrupted after 1 event\n")
    assert counts_in(out)["slow"] == [1, 1, 0, 0, 0, 0]


@pytest.mark.process
@pytest.mark.usefixtures("slow")
def test_an_interrupt_ends_the_wait_at_the_end(config: Callable[..., Path]) -> None:
    """At once, with the counts: neither the wait nor the close is sat out."""
    config(STUCK)
    command = Command("--timeout", "60")
    command.write(many(2))
    assert command.process.stdin is not None
    command.process.stdin.close()
    wait_until(Path("flushing").exists)
    command.process.stdin = None
    command.interrupt()
    status, out, err, took_s = command.end()
    assert status == 1
    assert counts_in(out)["stuck"] == [2, 0, 0, 0, 0, 2]
    assert err.splitlines() == [
        "warning: interrupted after 2 events",
        "warning: not everything was delivered; see `pending`",
    ]
    assert took_s < 5


@pytest.mark.process
@pytest.mark.usefixtures("slow")
def test_a_second_interrupt_ends_it_at_once(config: Callable[..., Path]) -> None:
    """Even in the middle of a send, and without a last word; a terminal gets its cursor back."""
    config('[backends.slow]\nplugin = "slow"\nseconds = 50.0\n')
    ours, theirs = pty.openpty()
    command = Command(stderr=theirs)
    os.close(theirs)
    command.write(many(1))
    wait_until(Path("sending").exists)
    command.interrupt()
    time.sleep(0.5)
    assert command.process.poll() is None
    command.interrupt()
    status, out, _, took_s = command.end()
    shown = os.read(ours, 65_536)
    os.close(ours)
    assert (status, out) == (-signal.SIGINT, "")
    assert took_s < 5
    assert b"Traceback" not in shown
    assert shown.rstrip().endswith(b"\x1b[?25h")


def test_a_program_that_handles_interrupts_itself_has_its_handler_back(
    run: Callable[..., Result], config: Callable[..., Path]
) -> None:
    """The command runs within other programs, as in Django's manage.py; on another thread it leaves
    the handler alone.
    """
    config(CONFIG)
    former = signal.getsignal(signal.SIGINT)
    statuses = [run("replay", "-", "--log", "log", stdin=many(1)).exit_code]
    assert signal.getsignal(signal.SIGINT) is former
    thread = threading.Thread(
        target=lambda: statuses.append(run("replay", "-", "--log", "log", stdin=many(1)).exit_code)
    )
    thread.start()
    thread.join(60)
    assert statuses == [0, 0]


def test_a_file_that_cannot_be_read_to_its_end(config: Callable[..., Path]) -> None:
    """What was read is sent and counted; the rest is told of. Exit status 1."""
    config(CONFIG)

    class Torn(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

        __next__ = readline

    result = CliRunner().invoke(app, ["replay", "-", "--log", "log"], input=Torn())
    assert result.exit_code == 1
    assert result.stderr == "the file cannot be read further: Input/output error\n"
    assert counts_in(result.stdout)["store"] == [0, 0, 0, 0, 0, 0]


BUGGY = """
    import attrs
    from eventtracking import hookimpl

    @attrs.define(eq=False)
    class Buggy:
        def send(self, events):
            events[0].nmae

    @hookimpl
    def eventtracking_register_backends(register):
        register("buggy", Buggy)
"""
LOST = "route 'buggy': 2 events failed: AttributeError (last at buggy_plugin.py:8)"


@pytest.mark.process
def test_where_a_plugin_broke_is_told_once(
    run: Callable[..., Result], config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the standard error, or in the file of --log; the reason is with the counts too.

    In a process as it is in life.
    """
    config('[backends.buggy]\nplugin = "buggy"\n')
    command = [sys.executable, "-m", "eventtracking_cli", "replay", "-"]
    with fake_distribution(
        "b", modules={"buggy_plugin": BUGGY}, entry_points={"buggy": "buggy_plugin"}
    ) as site:
        monkeypatch.setenv("PYTHONPATH", str(site))
        plain = subprocess.run(command, check=False, capture_output=True, input=many(2))
        logged = subprocess.run(
            [*command, "--log", "log"], check=False, capture_output=True, input=many(2)
        )
        one = run("emit", "a")
    assert plain.stderr.decode() == LOST + "\n"
    assert logged.stderr == b""
    assert Path("log").read_text() == LOST + "\n"
    for done in (plain, logged):
        assert done.returncode == 1
        assert "buggy: failed: AttributeError (2)" in done.stdout.decode()
    assert one.exit_code == 1
    assert one.stderr == LOST.replace("2 events", "1 event") + "\n"


@pytest.mark.parametrize("columns", [20, 40, 72])
def test_a_narrow_terminal_has_the_counts_in_blocks(
    run: Callable[..., Result],
    config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    """No number is cut or folded: a block for each route, without what is nought but for what was
    received.
    """
    monkeypatch.setenv("COLUMNS", str(columns))
    config('[backends.log]\nplugin = "logger"\n[backends.none]\nplugin = "logger"\n' + NONE)
    shown = run("replay", "-", "--log", "log", stdin=many(3)).stdout
    assert "│" not in shown
    assert all(len(line) <= columns for line in shown.splitlines() if line.startswith(" "))
    assert [re.split(r"\s+", block.strip()) for block in re.split(r"\n(?! )", shown.strip())][
        :3
    ] == [
        ["(all)", "received", "3", "delivered", "3"],
        ["log", "received", "3", "delivered", "3"],
        ["none", "received", "3", "filtered", "3"],
    ]


NONE = 'processors = [{ plugin = "name_filter", names = ["another"] }]\n'


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it took too long")


@pytest.mark.process
def test_a_terminal_shows_how_far_it_is(config: Callable[..., Path], folder: Path) -> None:
    """A bar on the standard error, above which log lines and malformed lines stand whole; none of
    it in a pipe.
    """
    config(CONFIG)
    write(folder / "events.jsonl", LINES)
    command = [str(Path(sys.executable).parent / "eventtracking"), "replay", "events.jsonl"]
    piped = subprocess.run(command, check=False, capture_output=True, text=True)
    assert piped.stderr.splitlines()[0] == json.dumps(
        json.loads(piped.stderr.splitlines()[0]), separators=(",", ":")
    )
    assert "%" not in piped.stderr
    shown = on_a_terminal(command)
    assert "100%" in shown
    assert "line 4: not JSON" in shown
    assert f'"id":"{ID}"}}' in shown


def on_a_terminal(command: Sequence[str]) -> str:
    """Run a command whose standard error is a terminal; what it shows there."""
    ours, theirs = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        while select.select([ours], [], [], 30)[0]:
            try:
                chunks.append(os.read(ours, 65_536))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run(
        command, check=False, stdout=subprocess.DEVNULL, stderr=theirs, env=environ, timeout=60
    )
    os.close(theirs)
    reader.join(60)
    os.close(ours)
    return b"".join(chunks).decode()
