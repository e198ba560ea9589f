"""The fixtures mark their tests, share servers over workers, and skip or fail as told."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eventtracking_testkit.services.fixtures import RunningService
from eventtracking_testkit.services.redis import RedisServer

pytest_plugins = ["pytester"]

LOADED = 'pytest_plugins = ["eventtracking_testkit.services.fixtures"]'
USES_RABBITMQ = "def test_it(rabbitmq_server): pass"


@pytest.fixture(autouse=True)
def settings(pytester: pytest.Pytester) -> None:
    """Give the inner runs what pytest-asyncio asks of every project."""
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"\n'
    )


@pytest.fixture
def without_rabbitmq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take RabbitMQ away from what the test starts, in a run that the outer one knows
    nothing of.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("eventtracking_testkit.services._binaries._RABBITMQ_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in (
        "EVENTTRACKING_RABBITMQ_SERVER",
        "EVENTTRACKING_RABBITMQ_URL",
        "EVENTTRACKING_REQUIRE_SERVICES",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("without_rabbitmq")
def test_a_missing_service_skips_with_the_next_step(pytester: pytest.Pytester) -> None:
    """The reason names the program and how to get it."""
    pytester.makeconftest(LOADED)
    pytester.makepyfile(USES_RABBITMQ)
    result = pytester.runpytest_inprocess("-rs", "-p", "no:cacheprovider")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*rabbitmq-server cannot be had here*apt-get install rabbitmq-server*"]
    )


@pytest.mark.usefixtures("without_rabbitmq")
def test_a_missing_service_fails_where_it_is_required(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With EVENTTRACKING_REQUIRE_SERVICES=1 there is no silent skip."""
    monkeypatch.setenv("EVENTTRACKING_REQUIRE_SERVICES", "1")
    pytester.makeconftest(LOADED)
    pytester.makepyfile(USES_RABBITMQ)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*rabbitmq-server cannot be had here*EVENTTRACKING_REQUIRE_SERVICES=1*"]
    )


def test_a_uri_of_ones_own_is_taken(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that runs already is used as it is named; nothing is started."""
    monkeypatch.setenv("EVENTTRACKING_MONGO_URI", "mongodb://me:secret@db.example:27018/")
    pytester.makeconftest(LOADED)
    pytester.makepyfile("""
        def test_it(mongo_server):
            assert mongo_server.uri == "mongodb://me:secret@db.example:27018/"
            assert (mongo_server.host, mongo_server.port) == ("db.example", 27018)
            assert "secret" not in repr(mongo_server)
        """)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_mark_comes_by_itself(pytester: pytest.Pytester) -> None:
    """`-m "not service"` leaves out exactly what uses a server, through other fixtures too."""
    pytester.makeconftest(LOADED)
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def collection(mongo_server): ...

        def test_uses_one(collection): ...
        def test_uses_none(): ...
        """)
    result = pytester.runpytest_inprocess("-m", "not service", "-v", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["*test_uses_none PASSED*"])


def test_a_run_inside_a_run_leaves_its_servers(
    pytester: pytest.Pytester, redis_server: RunningService
) -> None:
    """A run that a test makes in its own process ends no server that the outer run shares."""
    pytester.makeconftest(LOADED)
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert RedisServer(port=redis_server.port, password=redis_server.password).answers()


@pytest.mark.timeout(180)
@pytest.mark.service
def test_workers_share_one_server_and_leave_none(pytester: pytest.Pytester) -> None:
    """With two of xdist's workers both see the same server, and when the run is over it is gone."""
    pytester.makeconftest(LOADED)
    test = (
        "def test_it(redis_server, worker_id):\n    open({file!r} + worker_id,"
        " 'w').write(redis_server.uri)\n"
    )
    for name in ("one", "two"):
        pytester.makepyfile(**{f"test_{name}": test.format(file=str(pytester.path / "uri-"))})
    result = pytester.runpytest_subprocess(
        "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=2)
    written = {file.name: file.read_text() for file in pytester.path.glob("uri-*")}
    assert len(set(written.values())) == 1
    where = urlsplit(written.popitem()[1])
    assert where.password
    assert not RedisServer(port=where.port or 0, password=where.password).answers()
