"""The pytest plugin captures events, resets the default tracker, and fails the tests whose events
are not accounted for.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs("catalog")

pytest_plugins = ["pytester"]

LEAK = """
    import pytest
    from eventtracking import Tracker
    from eventtracking_testkit.distribution import fake_distribution
    from eventtracking_testkit.fakes import RecordingBackend
    from eventtracking.counts import ENTER

    def leak():
        with fake_distribution(plugins={"recorder": RecordingBackend}):
            tracker = Tracker.from_config({"backends": {"a": {"plugin": "recorder"}}})
        tracker.emit("x")
        tracker._tree.routes["a"].ledger.total += %s
"""


@pytest.fixture(autouse=True)
def settings(pytester: pytest.Pytester) -> None:
    """Give the inner runs what pytest-asyncio asks of every project."""
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"\naddopts ='
        ' "--strict-markers -p no:cacheprovider"'
    )


def run(pytester: pytest.Pytester, *sources: str) -> pytest.RunResult:
    """Run one file of tests in a pytest of its own."""
    from textwrap import dedent

    pytester.makepyfile("\n".join(dedent(source) for source in sources))
    return pytester.runpytest_inprocess()


def test_events_captures_what_the_default_tracker_emits(pytester: pytest.Pytester) -> None:
    """Also through a tracker that the code fetched when it was imported; with contexts; and each
    test begins anew.
    """
    run(
        pytester,
        """
        from eventtracking import tracker
        early = tracker.get_tracker()

        def test_it(events):
            with tracker.context({"user_id": 7}):
                tracker.emit("a", {"n": 1})
            early.emit("b")
            assert events.names == ["a", "b"]
            assert events.named("a")[0].context == {"user_id": 7}
            assert (events[0].data, events[1].context) == ({"n": 1}, {})

        def test_nothing_is_left(events):
            assert events == []
            early.emit("c")
            assert len(events) == 1
        """,
    ).assert_outcomes(passed=2)


CONFIGURES = """
    import pytest
    from eventtracking import ConfigError, DataError, Tracker, configure, tracker
    from eventtracking.tracker import register_tracker
    from eventtracking_testkit.distribution import fake_distribution
    from eventtracking_testkit.fakes import RecordingBackend

    CONFIG = {"backends": {"own": {"plugin": "recorder", "key": "configured"}},
        "context": {"app": "a$b"}, "strict": True}

    @pytest.fixture(autouse=True)
    def recorder():
        with fake_distribution(plugins={"recorder": RecordingBackend}):
            yield
        RecordingBackend.forget("configured")

    def sent():
        return [event.name for event in RecordingBackend.recorded.get("configured", [])]
"""


def test_events_survives_configure(pytester: pytest.Pytester) -> None:
    """The code under test may configure the default tracker: its config is checked, and its events
    are captured still.
    """
    run(
        pytester,
        CONFIGURES,
        """
        def test_an_application_factory(events):
            configure(CONFIG)
            tracker.emit("a")
            tracker.get_tracker().configure({})
            tracker.emit("b")
            assert events.names == ["a", "b"]
            assert (events[0].context, events[1].context) == ({"app": "a$b"}, {})
            assert sent() == []

        def test_it_is_strict_if_the_config_says_so(events):
            configure(CONFIG)
            with pytest.raises(DataError):
                tracker.emit("a", object())

        def test_from_a_file(events, tmp_path):
            file = tmp_path / "events.toml"
            file.write_text('context.app = "a"')
            configure(file)
            tracker.emit("a")
            assert events[0].context == {"app": "a"}

        def test_a_bad_config(events):
            with pytest.raises(ConfigError, match="no_such_plugin"):
                configure({"backends": {"a": {"plugin": "no_such_plugin"}}})
            tracker.emit("a")
            assert events.names == ["a"]

        def test_next():
            configure({"backends": {"own": {"plugin": "recorder", "key": "configured"}}})
            tracker.emit("a")
            assert sent() == ["a"]
        """,
    ).assert_outcomes(passed=5)


def test_events_survives_another_default_tracker(pytester: pytest.Pytester) -> None:
    """A tracker that the code under test registers as the default one captures meanwhile, with its
    contexts.
    """
    run(
        pytester,
        CONFIGURES,
        """
        from eventtracking import Outcome

        made = []

        def test_another(events):
            made.append(Tracker.from_config(CONFIG))
            with made[0].context({"user_id": 7}):
                register_tracker(made[0])
                tracker.emit("a")
            tracker.emit("b")
            with pytest.raises(DataError):
                tracker.emit("c", object())
            configure({"context": {"app": "other"}})
            tracker.emit("d")
            assert [(e.name, e.context) for e in events] == [
                ("a", {"app": "a$b", "user_id": 7}), ("b", {"app": "a$b"}), ("d", {"app": "other"})
            ]
            assert sent() == []

        def test_it_is_whole_again():
            assert tracker.get_tracker() is not made[0]
            made[0].emit("e")
            assert (sent(), made[0].resolve_context()) == (["e"], {"app": "a$b"})

        def test_one_that_is_not_the_default(events):
            register_tracker(Tracker.from_config(CONFIG), "other")
            tracker.get_tracker("other").emit("a")
            assert (events.names, sent()) == ([], ["a"])

        def test_one_that_was_there_before(events):
            default = tracker.get_tracker()
            register_tracker(Tracker())
            register_tracker(default)
            tracker.emit("a")
            assert events.names == ["a"]

        def test_one_that_drops_everything(events):
            register_tracker(Tracker((Outcome.FILTERED, "tracking is disabled")))
            tracker.emit("a")
            configure(CONFIG)
            tracker.emit("b")
            assert events.names == ["b"]
        """,
    ).assert_outcomes(passed=5)


def test_events_puts_the_applications_own_config_back(pytester: pytest.Pytester) -> None:
    """A tracker that was configured before the tests is out of the way for a capturing test, and
    whole again after it.
    """
    run(
        pytester,
        """
        import pytest
        from eventtracking import configure, tracker
        from eventtracking_testkit.distribution import fake_distribution
        from eventtracking_testkit.fakes import RecordingBackend

        with fake_distribution(plugins={"recorder": RecordingBackend}):
            configure({"backends": {"own": {"plugin": "recorder", "key": "own"}}})

        def own():
            return [event.name for event in RecordingBackend.recorded.get("own", [])]

        def test_own_config():
            tracker.emit("first")
            assert own() == ["first"]

        def test_captured(events):
            tracker.emit("second")
            assert (own(), events.names) == (["first"], ["second"])

        def test_another_config():
            with fake_distribution(plugins={"recorder": RecordingBackend}):
                configure({"context": {"other": True}})
            tracker.emit("third")

        def test_own_config_again():
            tracker.emit("fourth")
            assert own() == ["first", "fourth"]
            assert RecordingBackend.calls["own"] == ["open", "flush"], "it was closed"
        """,
    ).assert_outcomes(passed=4)


def test_events_look_as_in_production(pytester: pytest.Pytester) -> None:
    """The default tracker of an application keeps its base context, the contexts that are entered,
    its strictness and the plain forms of values; a context that a test leaves open goes with it.
    """
    run(
        pytester,
        """
        import pytest
        from eventtracking import DataError, configure, hookimpl, tracker
        from eventtracking_testkit.distribution import fake_distribution

        class Key:
            pass

        VALUES = '''
            from eventtracking import hookimpl

            @hookimpl
            def eventtracking_register_values(register):
                register("test_events_look_as_in_production.Key", lambda key: "key-1")
        '''
        with fake_distribution("keys", modules={"keys": VALUES}, entry_points={"keys": "keys"}):
            configure({"context": {"service": "shop"}, "strict": True, "values": ["keys"]})
        tracker.enter_context("region", {"region": "eu"})

        def test_captured(events):
            tracker.emit("a", {"key": Key()})
            assert events[0].context == {"service": "shop", "region": "eu"}
            assert events[0].data == {"key": "key-1"}
            with pytest.raises(DataError):
                tracker.emit("b", object())
            tracker.enter_context("left open", {"user_id": 7})

        def test_another(events):
            tracker.emit("a")
            assert events[0].context == {"service": "shop", "region": "eu"}

        def test_after():
            assert tracker.resolve_context() == {"service": "shop", "region": "eu"}
        """,
    ).assert_outcomes(passed=3)


def test_the_default_tracker_is_as_new_for_each_test(pytester: pytest.Pytester) -> None:
    """Neither a config, nor a registered name, nor a context that was never left reaches the next
    test.
    """
    run(
        pytester,
        """
        import pytest
        from eventtracking import Tracker, configure, tracker

        def test_one():
            configure({"context": {"a": 1}})
            tracker.enter_context("left open", {"user_id": 7})
            tracker.register_tracker(Tracker(), "other")
            assert tracker.resolve_context() == {"a": 1, "user_id": 7}

        def test_two():
            assert tracker.resolve_context() == {}
            with pytest.raises(KeyError):
                tracker.get_tracker("other")
            assert tracker.get_tracker().stats()[""].received == 0
        """,
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("1", "route 'a': +1 events are unaccounted for: received=2, delivered=1*pending=0"),
        (
            "ENTER",
            (
                "route 'a': events are pending where no router holds them: received=2,"
                " delivered=1*pending=1"
            ),
        ),
    ],
    ids=["lost", "stuck"],
)
@pytest.mark.unaccounted(reason="the inner run breaks the law in this process")
def test_lost_events_fail_the_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, added: str, said: str
) -> None:
    """A test that would pass fails with the counts of the route; the tracker may be out of scope;
    the next test is not blamed.
    """
    monkeypatch.setattr("eventtracking_testkit.law.wait_for_the_law.__defaults__", (0.05,))
    result = run(pytester, LEAK % added, "def test_it(): leak()", "def test_next(): pass")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["events are not accounted for:", f"*{said}*"])


@pytest.mark.unaccounted(reason="the inner run breaks the law in this process")
def test_a_fixture_that_loses_events_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong while fixtures are torn down is seen as well."""
    monkeypatch.setattr("eventtracking_testkit.law.wait_for_the_law.__defaults__", (0.05,))
    fixture = """
        @pytest.fixture
        def leaking():
            yield
            leak()

        def test_it(leaking): pass
    """
    result = run(pytester, LEAK % "1", fixture)
    result.assert_outcomes(passed=1, errors=1)


@pytest.mark.unaccounted(reason="the inner run breaks the law in this process")
def test_the_mark_excuses_with_a_reason_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`unaccounted` lets a test break the law, and is itself an error without a reason."""
    monkeypatch.setattr("eventtracking_testkit.law.wait_for_the_law.__defaults__", (0.05,))
    tests = """
        @pytest.mark.unaccounted(reason="it loses one to see it lost")
        def test_excused(): leak()

        @pytest.mark.unaccounted
        def test_no_reason(): leak()

        def test_next(): pass
    """
    result = run(pytester, LEAK % "1", tests)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.unaccounted needs a reason*"])


@pytest.mark.unaccounted(reason="the inner run breaks the law in this process")
def test_a_failure_of_its_own_comes_first(pytester: pytest.Pytester) -> None:
    """A test that fails anyway shows its own failure, not the books as well."""
    result = run(pytester, LEAK % "1", "def test_it():\n    leak()\n    assert False, 'its own'")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*not accounted for*")


def test_threads_have_a_moment(pytester: pytest.Pytester) -> None:
    """An event that a thread is still delivering when the test ends is waited for."""
    run(
        pytester,
        """
        import threading, time
        from eventtracking import Tracker
        from eventtracking_testkit.distribution import fake_distribution
        from eventtracking_testkit.fakes import FailingBackend

        def test_it():
            started = threading.Event()
            def slowly(events):
                started.set()
                time.sleep(0.3)
            FailingBackend.actions["slow"] = slowly
            with fake_distribution(plugins={"slow": FailingBackend}):
                tracker = Tracker.from_config({"backends": {"a": {"plugin": "slow",
                    "key": "slow"}}})
            threading.Thread(target=tracker.emit, args=("x",)).start()
            started.wait()
            assert tracker.stats()["a"].pending == 1
        """,
    ).assert_outcomes(passed=1)


def test_install_distribution_lasts_as_long_as_the_test(pytester: pytest.Pytester) -> None:
    """The fixture installs until the end of the test, and no longer."""
    run(
        pytester,
        """
        from eventtracking.config.discovery import installed_plugins
        from eventtracking_testkit.fakes import RecordingBackend

        def test_it(install_distribution):
            install_distribution("acme", plugins={"acme_recorder": RecordingBackend})
            assert "acme_recorder" in installed_plugins().names

        def test_next():
            assert "acme_recorder" not in installed_plugins().names
        """,
    ).assert_outcomes(passed=2)


@pytest.mark.timeout(180)
@pytest.mark.process
@pytest.mark.once
def test_nothing_is_imported_before_the_first_test(pytester: pytest.Pytester) -> None:
    """Loading the pytest plugin imports nothing of eventtracking, so that coverage sees its
    imports.
    """
    pytester.makeconftest("import sys\nassert 'eventtracking' not in sys.modules")
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_events_can_demand_declarations(pytester: pytest.Pytester) -> None:
    """A test fails that emits what is not declared or does not conform; eventtracking's own events
    are left out.
    """
    tests = """
        import pytest
        from eventtracking import tracker
        from eventtracking_catalog import register

        @pytest.fixture(autouse=True)
        def declared():
            register("declared.one", "One.", {"a": "int"})

        def test_it_conforms(events):
            events.demand_declarations()
            tracker.emit("declared.one", {"a": 1})
            tracker.emit("eventtracking.event_type", {})
            assert events.names == ["declared.one"]

        def test_it_does_not(events):
            events.demand_declarations()
            tracker.emit("declared.one", {"a": "x"})

        def test_it_is_unknown(events):
            events.demand_declarations()
            tracker.emit("nobody.declared")

        def test_nothing_is_demanded(events):
            tracker.emit("nobody.declared")
    """
    result = run(pytester, tests)
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*declared.one: wrong_type data.a*"])
    result.stdout.fnmatch_lines(["*nobody.declared: no declaration has this name*"])
    pytester.makefile(".ini", pytest="[pytest]\neventtracking_demand_declarations = true\n")
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=4, errors=3)


def test_declarations_of_a_test_go_with_it(pytester: pytest.Pytester) -> None:
    """A class or a call in a test's function declares for that test alone."""
    result = run(
        pytester,
        """
        from eventtracking_catalog import register
        from eventtracking_catalog.registry import registry

        register("of.the.module", "x")

        def test_one():
            register("of.a.test", "x")
            assert registry.get("of.a.test") is not None

        def test_two():
            assert registry.get("of.a.test") is None
            assert registry.get("of.the.module") is not None
    """,
    )
    result.assert_outcomes(passed=2)
