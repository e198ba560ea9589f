"""MongoDB: acknowledged batches, against the predecessor's unacknowledged inserts and the driver's
own `insert_many`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from _environments import OURS, PREDECESSOR, python_of
from _rounds import best_of_rounds
from _table import Row, Unavailable, main

from eventtracking_testkit.services import MongoServer, ServiceUnavailableError

HERE = Path(__file__).resolve().parent
EVENTS = 2_000
"""What each worker stores in a turn."""
US = "eventtracking, batches of 500, acknowledged"
RAW = "pymongo insert_many, the same documents"
THE_PREDECESSOR = "event-tracking 4.0.2, unacknowledged"
CASES = (
    ("stored in a replica set, write concern majority", True, "majority"),
    ("stored in a server alone, write concern 1", False, "1"),
)


def measure(quick: bool) -> Iterator[Row]:
    """Let all three take turns, first at a replica set of one node, then at a server alone."""
    pythons = {name: python_of(name) for name in (OURS, PREDECESSOR)}
    for title, replica_set, concern in CASES:
        try:
            with MongoServer(replica_set=replica_set, auth=False) as server:
                yield from rows(title, server.uri, concern, pythons, quick)
        except ServiceUnavailableError as error:
            raise Unavailable(f"{error}; `make services` fetches it") from error


def rows(
    title: str, uri: str, concern: str, pythons: dict[str, Path], quick: bool
) -> Iterator[Row]:
    """Measure at one server, how many events it stores in a second.

    The ratios: how many times the predecessor we are, and which part of the raw driver.
    """
    commands: dict[str, Sequence[str | Path]] = {
        US: [pythons[OURS], HERE / "worker_mongo.py", "ours", uri, concern],
        RAW: [pythons[OURS], HERE / "worker_mongo.py", "raw", uri, concern],
        THE_PREDECESSOR: [
            pythons[PREDECESSOR],
            HERE / "worker_mongo_predecessor.py",
            "one_by_one",
            uri,
        ],
    }
    per_s = {who: EVENTS / seconds for who, seconds in best_of_rounds(commands, quick).items()}
    yield Row(title, US, per_s[US], "events/s")
    yield Row(title, RAW, per_s[RAW], "events/s", note="ours over this").judged(
        per_s[US] / per_s[RAW], at_least=0.7
    )
    over = per_s[US] / per_s[THE_PREDECESSOR]
    yield Row(
        title, THE_PREDECESSOR, per_s[THE_PREDECESSOR], "events/s", note="ours over this"
    ).judged(over, at_least=3)


if __name__ == "__main__":
    main(measure)
