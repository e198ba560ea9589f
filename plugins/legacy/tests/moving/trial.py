"""One site, run with event-tracking and with its successor: its statements and tracking log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import redis
from lrs import Store, serving

__all__ = ["SHARED", "Outcome", "Scenario", "normal_line", "run"]

SITE: Final = Path(__file__).parent / "site"
SHARED: Final = SITE.with_name("shared")
"""Settings of both sites of the trial."""
OLD_APP: Final = "eventtracking.django.apps.EventTrackingConfig"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_MINE: Final = ("id", "timestamp", "eventTime", "sendTime")
"""The keys of a statement whose values differ in each run."""
_QUIET_S: Final = 2.0
_DEADLINE_S: Final = 240.0


@attrs.frozen
class Scenario:
    """One way to run the site."""

    name: str
    caliper: bool = True
    batching: bool = False


@attrs.frozen
class Outcome:
    """The result of one run."""

    xapi: Counter[str]
    caliper: Counter[str]
    log: list[str]
    """The lines of the tracking log."""
    waiting: Counter[str]
    """What event-routing-backends keeps for the next batch."""


def run(
    python: Path, scenario: Scenario, files: Sequence[Path], folder: Path, redis_url: str, app: str
) -> Outcome:
    """Run the site in one environment.

    Args:
        python: The interpreter of the environment.
        scenario: The settings.
        files: Events, one a line.
        folder: An empty one.
        redis_url: A Redis server of its own.
        app: The Django app of event tracking, as the settings name it.
    """
    connection = redis.Redis.from_url(redis_url)
    connection.flushall()
    with serving() as store:
        env = _environment(scenario, folder, redis_url, store.url, app)
        with _worker(python, env, folder):
            _call(python, ["emit.py", *map(str, files)], env)
            _wait_until_quiet(store, redis_url)
    waiting = _waiting(redis.Redis.from_url(f"{redis_url}/2"))
    log = (folder / "tracking.log").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return Outcome(_statements(store.xapi), _statements(store.caliper), log, waiting)


def _environment(
    scenario: Scenario, folder: Path, redis_url: str, lrs_url: str, app: str
) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    return {
        **kept,
        "PYTHONPATH": f"{SITE}{os.pathsep}{SHARED}",
        "PYTHONWARNINGS": "default",
        "DJANGO_SETTINGS_MODULE": "moving_settings",
        "MOVING_APP": app,
        "MOVING_FOLDER": str(folder),
        "MOVING_REDIS": redis_url,
        "MOVING_LRS": lrs_url,
        "MOVING_CALIPER": str(int(scenario.caliper)),
        "MOVING_BATCHING": str(int(scenario.batching)),
    }


def _call(python: Path, arguments: Sequence[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        [python, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=SITE,
        env=env,
        timeout=_DEADLINE_S,
    )
    if done.returncode:
        raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stderr[-4000:]}")


@contextmanager
def _worker(python: Path, env: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a prefork worker of one process, so that batches are the same in each run."""
    command = [str(python), "-m", "celery", "-A", "moving_celery", "worker", "--pool", "prefork"]
    command += ["--concurrency", "1", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(command, cwd=SITE, env=env, stdout=log, stderr=log)
        try:
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def _wait_until_quiet(store: Store, redis_url: str) -> None:
    """Wait until the broker holds nothing and nothing has arrived for a while."""
    broker = redis.Redis.from_url(f"{redis_url}/1")
    deadline, seen, since = time.monotonic() + _DEADLINE_S, -1, time.monotonic()
    while time.monotonic() < deadline:
        now = store.requests
        if now != seen or broker.llen("celery") or broker.hlen("unacked"):
            seen, since = now, time.monotonic()
        if time.monotonic() - since > _QUIET_S:
            return
        time.sleep(0.1)
    raise AssertionError("the worker has not come to an end")


def _waiting(cache: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for kind in ("xAPI", "Caliper"):
        for line in cache.lrange(f"events_router_queue_{kind}", 0, -1):
            found[f"{kind} {json.loads(line)['name']}"] += 1
    return found


def _statements(found: Sequence[Any]) -> Counter[str]:
    return Counter(json.dumps(_normal(one), sort_keys=True) for one in found)


def _normal(value: Any, top: bool = True) -> Any:
    """Take out ids and times of sending; the ids of people, courses and objects stay."""
    if isinstance(value, list):
        return [_normal(item, top) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if not (top and key in _MINE)}
    return {key: _normal(item, top=key == "data") for key, item in kept.items()}


def normal_line(line: str) -> str:
    """Return a line of the tracking log without its time and id, as event-tracking spells JSON."""
    document = json.loads(line)
    document.pop("id", None)
    order = ("name", "timestamp", "data", "context")
    first = {key: document.pop(key) for key in order if key in document}
    return _TIME.sub("a time", json.dumps({**first, **document}))
