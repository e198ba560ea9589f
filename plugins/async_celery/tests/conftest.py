"""What these tests share: scenes on the real brokers."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventtracking_testkit.services.fixtures import RunningService

sys.path.append(str(Path(__file__).parent / "site"))

from celery_scenes import Scene

_databases = itertools.count(10 + 50 * (os.getpid() % 20))


def database_of(server: RunningService) -> str:
    """A Redis database that no other test uses."""
    return f"{server.uri.rpartition('/')[0]}/{next(_databases) % 1000}"


@pytest.fixture
def new_scene(tmp_path: Path) -> Iterator[Callable[[str], Scene]]:
    """Make scenes for a broker's URL."""
    scenes: list[Scene] = []

    def make(broker_url: str) -> Scene:
        scenes.append(Scene(tmp_path, broker_url))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


@pytest.fixture
def on_redis(new_scene: Callable[[str], Scene], redis_server: RunningService) -> Scene:
    """A scene on Redis."""
    return new_scene(database_of(redis_server))


@pytest.fixture
def on_rabbitmq(new_scene: Callable[[str], Scene], rabbitmq_server: RunningService) -> Scene:
    """A scene on RabbitMQ."""
    return new_scene(rabbitmq_server.uri)


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.service) for name in ("redis", "rabbitmq")]
)
def scene(request: pytest.FixtureRequest) -> Scene:
    """A scene on each broker."""
    made: Scene = request.getfixturevalue(f"on_{request.param}")
    return made
