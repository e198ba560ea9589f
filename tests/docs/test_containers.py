"""The commands of the guide to containers run, with a real Redis, and without an engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

import documents
import servers
import workspace

pytestmark = pytest.mark.timeout(180)

GUIDE = workspace.ROOT / "docs" / "how-to" / "containers.md"
FILES = {block.argument: block.text for block in documents.blocks_of(GUIDE) if block.mark == "file"}
COMPOSE: dict[str, Any] = yaml.safe_load(FILES["compose.yaml"])
OURS = ("web", "worker")


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile."""
    for line in FILES["Dockerfile"].splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


def command_of(service: str) -> str:
    """Return the command line of a service: its own, or that of the image."""
    command = COMPOSE["services"][service].get("command") or json.loads(dict(instructions())["CMD"])
    return shlex.join(command)


def test_the_image_has_its_files() -> None:
    """Each file that is copied is one of the guide's, and the state is on the volume."""
    copied = [name for word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]]
    assert set(copied) == {"requirements.txt", "eventtracking.toml", "shop.py"} <= FILES.keys()
    state = re.search(r"STATE=(\S+)", FILES["Dockerfile"])
    assert state is not None
    assert dict(instructions())["VOLUME"] == state[1]
    assert dict(instructions())["USER"] not in ("root", "0")
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["volumes"] == [f"{name}:{state[1]}"]
        assert service["read_only"]
    assert {*COMPOSE["volumes"]} == {*COMPOSE["services"]}


def test_its_requirements_are_ours() -> None:
    """Each line is a distribution of this repository, with extras that it has, or gunicorn."""
    known = {
        project["name"]: project.get("optional-dependencies", {})
        for project in (workspace.load(member)["project"] for member in workspace.members())
    }
    for line in FILES["requirements.txt"].split():
        name, *extras = re.findall(r"[\w-]+", line)
        assert name == "gunicorn" or set(extras) <= set(known[name]), line


@pytest.fixture
def environment(tmp_path: Path, new_redis_server: Any) -> Mapping[str, str]:
    """Write the files, and return the environment of the services."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    state = tmp_path / "state"
    state.mkdir()
    return {**os.environ, "PATH": path, "STATE": str(state), "BROKER_URL": new_redis_server().uri}


@pytest.mark.process
@pytest.mark.needs("async_celery", "buffer", "sqlite", "cli")
def test_an_event_goes_from_the_web_process_to_the_store(
    environment: Mapping[str, str], tmp_path: Path, short_folder: Path
) -> None:
    """Both services start, are healthy, deliver, and end well after SIGTERM."""
    address = str(short_folder / "socket")
    web = shlex.split(servers.at_socket(command_of("web"), address))
    worker = shlex.split(command_of("worker"))
    with (
        servers.started(worker, tmp_path, environment) as worker_server,
        servers.started(web, tmp_path, environment) as web_server,
    ):
        assert web_server.answer(address, "/healthz") == "healthy\n"
        assert servers.asked(address, "/") == "hello\n"
        until_stored(tmp_path / "state" / "events.db", "page.viewed")
        until_healthy("worker", tmp_path, environment)
    assert (web_server.problem(), worker_server.problem()) == ("", "")


def until_healthy(service: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Ask for the health of a service again and again, as the engine does."""
    check = COMPOSE["services"][service]["healthcheck"]["test"][1:]
    end = time.monotonic() + servers.PATIENCE_S
    told = ""
    while time.monotonic() < end:
        done = subprocess.run(
            check, check=False, capture_output=True, text=True, cwd=folder, env=environment
        )
        if done.returncode == 0:
            return
        told = done.stdout + done.stderr
    pytest.fail(f"{service} is not healthy: {told}")


def until_stored(path: Path, name: str) -> None:
    """Wait until the store has an event of that name."""
    end = time.monotonic() + servers.PATIENCE_S
    while time.monotonic() < end:
        if path.exists():
            with closing(sqlite3.connect(path)) as store:
                tables = store.execute("SELECT name FROM sqlite_master WHERE name = 'events'")
                if (
                    tables.fetchone()
                    and store.execute("SELECT 1 FROM events WHERE name = ?", (name,)).fetchone()
                ):
                    return
        time.sleep(0.05)
    pytest.fail(f"no {name} within {servers.PATIENCE_S} s")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
