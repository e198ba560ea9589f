"""Configs that are damaged at random, with real plugins: refused in words, and no secret shown."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from eventtracking import ConfigError, Tracker
from eventtracking.config import load_file, parse
from eventtracking.config.files import FileConfig

SECRET: Final = "hunt3r-s3cret"
VARIABLE: Final = "${FUZZ_SECRET}"
URI: Final = f"mongodb://app:{SECRET}@db:27017/"
CONFIG: Final[dict[str, Any]] = {
    "strict": False,
    "context": {"service": "shop", "n": 5},
    "processors": [
        {"plugin": "regex_filter", "filter_type": "blocklist", "regular_expressions": ["debug"]},
        {"plugin": "name_filter", "names": ["a", "b"], "on_error": "pass"},
        {"plugin": "redact", "mask": ["email"], "undeclared": "pass"},
    ],
    "backends": {
        "log": {"plugin": "logger", "name": "tracking", "level": "info"},
        "store": {"plugin": "sqlite", "path": "events.db"},
        "held": {
            "plugin": "buffer",
            "storage": "disk",
            "path": "var/held",
            "backends": {
                "workers": {
                    "plugin": "async_celery",
                    "broker_url": f"redis://:{SECRET}@broker/0",
                    "backends": {
                        "archive": {"plugin": "mongo", "uri": URI, "database": "events"},
                        "host": {"plugin": "mongo", "host": "db", "user": "u", "password": SECRET},
                        "product": {"plugin": "segment", "write_key": SECRET, "timeout_s": 5},
                    },
                },
                "group": {
                    "processors": [{"plugin": "name_filter", "names": ["x"]}],
                    "backends": {"log": {"plugin": "logger"}},
                },
            },
        },
    },
}
ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 10**30, 1e308, float("nan"), float("inf"), "", " ", "a" * 5_000, "\ud800",
    "x\n", "$", "${", "${}", "$$", "${NOT_SET}", "${NOT_SET:-5}", "(", "a/b", "::", [], {}, [[]],
    [None], {"": 0}, {"plugin": None}, {"plugin": "logger"}, [{"plugin": "name_filter"}], b"bytes",
    object(), {5: 6}, (1, 2), {1, 2}, URI, f"redis+socket:///s?password={SECRET}", f"k:{SECRET}@h",
    [URI], {"uri": URI}, VARIABLE, [VARIABLE], {"a": VARIABLE}, f"({VARIABLE}", f"mongodb://{VARIABLE}",
)  # fmt: skip
KEYS: Final = (
    "plugin", "backends", "processors", "on_error", "observers", "values", "path", "uri", "host",
    "extra", "name", "names", "a.b", "a[0]", "", "\ud800", "pasword", "write_kye", "strict",
)  # fmt: skip
BARE: Final = ("password", "write_key")
"""Options whose whole value is a secret; elsewhere it cannot be told from other text."""


def containers(value: Any) -> Iterator[Any]:
    """Every table and list, outer ones first."""
    if isinstance(value, dict | list):
        yield value
        for member in list(value.values() if isinstance(value, dict) else value):
            yield from containers(member)


def holds_bare(value: Any) -> bool:
    """Tell whether a table or list holds a secret that looks like any text."""
    return any(
        one.get(key) if isinstance(one, dict) else SECRET in one
        for one in containers(value)
        for key in BARE
    )


def damage(rng: random.Random, config: dict[str, Any]) -> None:
    """Change one thing somewhere."""
    every = list(containers(config))
    place = rng.choice(every)
    keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
    if not keys:
        return
    key, kind = rng.choice(keys), rng.randrange(7)
    if kind == 0:
        place[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == 1:
        del place[key]
    elif kind == 2 and isinstance(place, dict) and key in BARE:
        place[rng.choice(["pasword", "write_kye", "", "a.b"])] = place.pop(key)
    elif kind == 2 and isinstance(place, dict):
        place[rng.choice(KEYS)] = rng.choice([place[key], "x"])
    elif kind == 3 and key not in BARE:
        place[key] = copy.deepcopy(rng.choice([one for one in every if not holds_bare(one)]))
    elif kind == 4:
        place[key] = [place[key]] if rng.random() < 0.5 else {"inner": place[key]}
    elif kind == 5 and isinstance(place, list):
        place.extend(place)
    elif kind == 6:
        place[key] = copy.deepcopy(rng.choice([one for one in ODD if isinstance(one, str)]))


def damaged(rng: random.Random) -> dict[str, Any]:
    """A config with one to a few things changed, sometimes one that holds itself or is deep."""
    config = FileConfig(copy.deepcopy(CONFIG)) if rng.random() < 0.6 else copy.deepcopy(CONFIG)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        damage(rng, config)
    if rng.random() < 0.005:
        table: Any = {"plugin": "logger"}
        for _ in range(2_000):
            table = {"backends": {"a": table}}
        config["backends"] = table
    if rng.random() < 0.005 and isinstance(config.get("backends"), dict):
        config["backends"]["again"] = config
    return config


def told(error: ConfigError) -> str:
    """Everything that an error shows."""
    texts = [str(error), repr(error), *map(repr, error.problems), *map(str, error.problems)]
    cause: BaseException | None = error.__cause__
    while cause is not None:
        texts.append(f"{cause} {cause!r}")
        cause = cause.__cause__
    return "\n".join(texts)


def try_parsing(rng: random.Random) -> str:
    config = damaged(rng)
    try:
        spec = parse(config, partly=rng.random() < 0.5)
    except ConfigError as error:
        return told(error)
    return f"{spec!r}\n{list(map(str, spec.problems))}"


def try_building(rng: random.Random) -> str:
    tracker = Tracker()
    config = damaged(rng)
    try:
        problems = tracker.configure(config, partly=True)
    except ConfigError as error:
        assert dict(tracker.stats()).keys() == {""}
        return told(error)
    finally:
        tracker.close(0)
    return f"{tracker.routes()!r}\n{list(map(str, problems))}"


def try_loading(rng: random.Random, text: bytes, file: Path) -> str:
    """The same for the bytes of a file."""
    raw = bytearray(text)
    for _ in range(rng.choice([1, 2, 5, 50])):
        at = rng.randrange(max(len(raw), 1))
        raw[at : at + rng.choice([0, 1, 30])] = rng.choice(
            [b"", b"\xff", b'"', b"{", b"\x00", b"9" * 5_000]
        )
    file.write_bytes(raw)
    try:
        parse(load_file(file))
    except ConfigError as error:
        return told(error)
    return ""


def ways(folder: Path) -> list[Callable[[random.Random], str]]:
    """Parsing is tried most: it is the one that reads and tells."""
    text = json.dumps(CONFIG).replace(SECRET, VARIABLE).encode()
    toml = Path(__file__).with_name("damaged.toml").read_bytes()
    return [
        *[try_parsing] * 6,
        try_building,
        lambda rng: try_loading(rng, text, folder / "c.json"),
        lambda rng: try_loading(rng, toml, folder / "c.toml"),
    ]


def try_many(count: int, seed: int, folder: Path) -> None:
    rng, all_ways = random.Random(seed), ways(folder)
    for number in range(count):
        state = rng.getstate()
        try:
            shown = rng.choice(all_ways)(rng)
        except Exception as error:
            raise AssertionError(
                f"seed {seed}, config {number}: {error!r}; {state[1][-1]}"
            ) from error
        assert SECRET not in shown, f"seed {seed}, config {number}: {shown}"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUZZ_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)


@pytest.mark.timeout(180)
def test_damaged_configs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is sound or a `ConfigError`; neither it nor the log shows a secret."""
    try_many(2_000, 1, tmp_path)
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.fuzz
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_thousand_damaged_configs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], seed: int
) -> None:
    """The long form, 10,000 for each of ten seeds."""
    try_many(10_000, 100 + seed, tmp_path)
    assert SECRET not in "".join(capfd.readouterr())
