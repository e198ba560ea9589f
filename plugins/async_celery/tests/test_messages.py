"""Messages of every origin: of earlier versions, of later ones, damaged, forged, random."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery_inside import InsideWorker, Script, batch_in

from eventtracking import Event
from eventtracking_async_celery.batch import Batch
from eventtracking_async_celery.envelope import Envelope, pack_body
from eventtracking_buffer import codec
from eventtracking_buffer.dead_letters import Selection
from eventtracking_testkit.distribution import fake_distribution

FORMER = sorted((Path(__file__).parent / "data" / "619ab58").glob("*.json"))
SECRET = "s3cretPassw0rd"


def script(key: str) -> dict[str, Any]:
    return {"plugin": "script", "key": key}


@pytest.fixture
def new_worker() -> Iterator[Any]:
    made: list[InsideWorker] = []

    def make(backends: dict[str, Any], **options: Any) -> InsideWorker:
        made.append(InsideWorker(backends, options))
        return made[-1]

    with fake_distribution(plugins={"script": Script}):
        yield make
    for worker in made:
        worker.close()


def former(name: str) -> dict[str, Any]:
    (file,) = [file for file in FORMER if file.stem == name]
    return batch_in(file)[0]


# Earlier versions


@pytest.mark.parametrize("name", ["fresh-zlib", "fresh-none"])
def test_a_fresh_batch_of_an_earlier_version(new_worker: Any, name: str) -> None:
    """It is delivered, its values as they were."""
    worker = new_worker({"store": script("store")})
    worker.work(former(name)["batch"])
    assert Script.calls["store"] == [["e0", "e1", "e2"]]
    assert worker.tracker.stats()["w/store"].delivered == 3
    assert worker.batches() == []


def test_a_half_finished_group_of_an_earlier_version(new_worker: Any) -> None:
    """Only the child that had failed is tried, and the group is counted once."""
    group = {"backends": {"good": script("good"), "bad": script("bad")}}
    worker = new_worker({"g": group, "own": script("own")})
    batch = former("half-finished-group")["batch"]
    assert batch["attempt"] > 0
    worker.work(batch)
    assert Script.calls == {"bad": [["e0", "e1", "e2"]]}
    stats = worker.tracker.stats()
    assert (stats["w/g"].delivered, stats["w/g/bad"].delivered) == (3, 3)
    assert (stats["w/g/good"].received, stats["w/own"].received) == (0, 0)
    assert worker.batches() == []


def test_a_lost_batch_of_an_earlier_version(new_worker: Any) -> None:
    """The loss still counts."""
    worker = new_worker({"store": script("store")}, max_attempts=2)
    batch = former("lost-once")["batch"]
    assert batch["lost"] == 1
    Script.answers["store"] = broken
    worker.work(batch)
    (letter,) = worker.taken(".dead")
    assert (letter.payload["attempt"], letter.payload["lost"]) == (1, 1)


def broken(events: Any) -> None:
    raise OSError


def test_a_replayed_batch_of_an_earlier_version(new_worker: Any) -> None:
    """It goes where it died, and nowhere else."""
    group = {"backends": {"good": script("good"), "bad": script("bad")}}
    worker = new_worker({"g": group})
    worker.work(former("replayed")["batch"])
    assert Script.calls == {"bad": [["e0", "e1"]]}


@pytest.mark.parametrize(
    ("name", "route", "reason"),
    [
        ("dead-rejected", "w/own", "a bad name"),
        ("dead-given-up", "w/g/bad", "given up after 2 attempts: OSError"),
    ],
)
def test_dead_letters_of_an_earlier_version(
    new_worker: Any, name: str, route: str, reason: str
) -> None:
    """They are listed with their reasons, and replayed where they died."""
    group = {"backends": {"good": script("good"), "bad": script("bad")}}
    worker = new_worker({"g": group, "own": script("own")})
    worker.router.batch_queue().publisher.send_dead(f"{worker.queue}.dead", former(name))
    letters = worker.router.dead_letters()
    assert {(letter.route, letter.reason) for letter in letters} == {(route, reason)}
    assert worker.router.replay(Selection()) == len(letters)
    assert worker.work_all() == []
    assert Script.calls.keys() == {route.rpartition("/")[2]}


def test_a_damaged_message_of_an_earlier_version(new_worker: Any) -> None:
    """It goes to the dead letters as it is, once, and is no event there."""
    worker = new_worker({"store": script("store")})
    batch = former("damaged")["batch"]
    worker.work(batch)
    (letter,) = worker.taken(".dead")
    assert letter.payload == batch
    assert letter.headers["eventtracking_reason"].startswith("the batch is damaged: ")
    assert worker.batches() == []
    assert worker.router.dead_letters() == []


def test_an_older_worker_leaves_todays_messages_alone() -> None:
    """Its format is a number that it does not know, so it keeps the batch on the broker."""
    event = Event(name="e", context={}, data={})
    assert Batch(tracker="default", path="w", events=[event]).pack("zlib")["format"] == 2


# Forged ones


def test_a_forged_queue_is_not_believed(new_worker: Any) -> None:
    """Nothing is published to a queue that is not of this worker's config."""
    worker = new_worker({"store": script("store")})
    event = Event(name="e", context={}, data={})
    nowhere = Batch(tracker="default", path="nowhere", events=[event]).pack("none")
    task = worker.router.app.tasks["eventtracking.deliver"]
    for said in ("celery-of-the-shop", ["x"], {"a": 1}, None, 7):
        task.apply(kwargs={"batch": nowhere, "queue": said}, task_id="t").get()
    worker.work(nowhere)
    with worker.router.batch_queue().publisher.channel() as channel:
        assert not [name for name in channel.queues if "shop" in name]


def test_names_in_a_message_forge_no_log_line(
    new_worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Paths and names are shown with their control characters escaped."""
    worker = new_worker({"store": script("store")})
    evil = "x\n[2026-01-01 00:00:00,000: CRITICAL] forged \x1b[31mred\x9b31m\u2028\u202e"
    event = Event(name="n", context={}, data={})
    body = msgspec.msgpack.encode(([codec.encode(event)], {event.id: {evil: "pending"}}, {}))
    base = Batch(tracker="default", path="w", events=[event]).pack("none")
    worker.work({**base, "body": pack_body(body, "none")})
    worker.work({**base, "path": evil})
    worker.work({**base, "tracker": evil})
    worker.work({**base, "leaf": evil})
    assert "forged" in caplog.text
    for line in caplog.text.replace("\n", "\0").split("\0"):
        assert not line.startswith("[2026-01-01")
    assert not set("\x1b\x9b\u2028\u202e") & set(caplog.text)


def test_workers_that_died_of_it_bury_it_unopened(new_worker: Any) -> None:
    """Losses count before the body is opened: one on which even the burial dies ends as it is."""
    worker = new_worker({"store": script("store")}, max_attempts=3)
    event = Event(name="n", context={}, data={})
    batch = Batch(tracker="default", path="w", events=[event], lost=5).pack("none")
    worker.work({**batch, "body": "not to be opened"})
    (letter,) = worker.taken(".dead")
    assert "workers died 5 times" in letter.headers["eventtracking_reason"]


# Random ones

PATHS = ["w", "w/a", "w/b", "", "nowhere", "w/a/b", "\ud800", "\x1b[31m"]
ODD: list[Any] = [
    None, True, False, 0, -1, 1 << 70, 1.5, float("nan"), float("inf"), "", "x", "zlib", [], {},
    [[]], {"a": {}}, "\ud800", "AAAA", "\0", 10**400,
]  # fmt: skip


def damaged(rng: random.Random, good: dict[str, Any]) -> Any:
    """Change a good message at random, somewhere."""
    message = dict(good)
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice([*ODD, list(message.items()), json.dumps(message)])
    if kind == 1:
        for key in rng.sample(sorted(message), rng.randint(1, 4)):
            message[key] = rng.choice([*ODD, rng.choice(PATHS)])
    elif kind == 2:
        for key in rng.sample(sorted(message), rng.randint(1, 4)):
            del message[key]
    elif kind == 3:  # the packed body
        body = list(message["body"])
        for _ in range(rng.randint(1, 6)):
            body[rng.randrange(len(body))] = rng.choice(string.printable)
        message["body"] = "".join(body)[: rng.randint(0, len(body))]
    elif kind == 4:  # the unpacked body
        unpacked = bytearray(Envelope.read(good).unpack_body(1_000_000))
        for _ in range(rng.randint(1, 8)):
            unpacked[rng.randrange(len(unpacked))] = rng.randrange(256)
        message["body"] = pack_body(bytes(unpacked), message["compression"])
    else:  # well-formed, with odd contents
        message["body"] = base64.b64encode(msgspec.msgpack.encode(odd_body(rng))).decode()
        message["compression"] = "none"
    return message


def odd_body(rng: random.Random) -> Any:
    event = codec.encode(Event(name="e", context={}, data={"password": SECRET}))
    parts = [b"", b"\x01", b"\x02later", event, event[: rng.randrange(len(event))]]
    known = codec.decode(event).id
    standing = {rng.choice(PATHS[:6]): rng.choice(["pending", "delivered", "odd", 4, 99, -1])}
    progress = {rng.choice([known, "other"]): standing}
    return [rng.choices(parts, k=rng.randint(0, 3)), rng.choice([progress, {}]), {}]


def damage_many(worker: InsideWorker, count: int, seed: int) -> None:
    """Deliver damaged messages, in between with an honest one now and then."""
    rng = random.Random(seed)
    honest = 0
    for number in range(count):
        event = Event(name="good", context={}, data={"password": SECRET, "n": number})
        good = Batch(
            tracker="default",
            path="w",
            events=[event],
            progress=rng.choice([{}, {event.id: {}}]),
            attempt=rng.choice([0, 0, 3]),
        ).pack(rng.choice(["none", "zlib"]))
        if number % 100 == 0:
            worker.work(good)
            honest += 1
        message = damaged(rng, good)
        try:
            worker.work(message, **rng.choice([{}, {"queue": rng.choice(ODD[:6])}]))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, message {number}: {message!r}") from error
        if number % 500 == 499:
            worker.assert_law()
            for letter in worker.taken(".dead"):
                if not letter.headers.get("eventtracking_reason"):
                    assert Batch.unpack(letter.payload).events
            worker.taken()
    assert sum("good" in call for call in Script.calls["a"]) >= honest


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_messages(new_worker: Any, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """None stops the worker, breaks the law, or shows what an event holds."""
    damage_many(new_worker({"a": script("a"), "b": script("b")}), 1_500, seed)
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_thousand_damaged_messages(
    new_worker: Any, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    """The long form, 10,000 for each of ten seeds."""
    damage_many(new_worker({"a": script("a"), "b": script("b")}), 10_000, 100 + seed)
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text
