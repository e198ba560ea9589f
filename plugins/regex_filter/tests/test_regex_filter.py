"""The plugin `regex_filter`: which names pass, and which patterns are refused."""

from __future__ import annotations

import random
import re
from typing import Any, Literal

import pytest

from eventtracking import ConfigError, DropEvent, Event, Tracker
from eventtracking_regex_filter.processor import RegexFilter
from eventtracking_testkit.distribution import fake_distribution
from eventtracking_testkit.fakes import RecordingBackend

NAMES = [
    "edx.course.enrolled",
    "edxXcourse",
    "edx.course",
    "my.edx.course.enrolled",
    "EDX.COURSE",
    "other",
]

Match = Literal["prefix", "full", "search"]


@pytest.mark.parametrize(
    ("match", "pattern", "matching"),
    [
        ("prefix", "edx.course", ["edx.course.enrolled", "edxXcourse", "edx.course"]),
        ("prefix", r"edx\.course\.", ["edx.course.enrolled"]),
        ("prefix", "course", []),
        ("prefix", "(?i)edx", ["edx.course.enrolled", "edxXcourse", "edx.course", "EDX.COURSE"]),
        ("prefix", "", NAMES),
        ("full", r"edx\.course", ["edx.course"]),
        ("full", r"edx\.course.*", ["edx.course.enrolled", "edx.course"]),
        ("full", "other|edx", ["other"]),
        ("search", r"\.enrolled$", ["edx.course.enrolled", "my.edx.course.enrolled"]),
        ("search", "(o)the(?P<r>r)", ["other"]),
    ],
)
def test_where_a_pattern_must_match(match: Match, pattern: str, matching: list[str]) -> None:
    """An allowlist keeps what matches, a blocklist the rest, for each way of matching."""
    allow = RegexFilter(filter_type="allowlist", regular_expressions=[pattern], match=match)
    block = RegexFilter(filter_type="blocklist", regular_expressions=[pattern], match=match)
    assert [name for name in NAMES if allow.accepts(name)] == matching
    assert [name for name in NAMES if block.accepts(name)] == [
        name for name in NAMES if name not in matching
    ]


def test_one_pattern_of_several_is_enough() -> None:
    """Groups and back references of one pattern do not disturb another."""
    patterns = [r"(a)\1$", "b", r"(?P<x>c)(?P=x)"]
    allow = RegexFilter(filter_type="allowlist", regular_expressions=patterns, match="full")
    assert [name for name in ("aa", "a", "b", "cc", "c") if allow.accepts(name)] == [
        "aa",
        "b",
        "cc",
    ]


def test_prefix_is_the_default() -> None:
    """Without `match` a pattern must match from the start, as in the predecessor."""
    allow = RegexFilter(filter_type="allowlist", regular_expressions=["b"])
    assert [allow.accepts(name) for name in ("bc", "ab")] == [True, False]


def test_no_patterns() -> None:
    """An empty allowlist drops everything, an empty blocklist nothing."""
    assert not RegexFilter(filter_type="allowlist", regular_expressions=[]).accepts("a")
    assert RegexFilter(filter_type="blocklist", regular_expressions=[]).accepts("a")


def test_a_call_and_accepts_agree() -> None:
    """Called with an event, it decides as `accepts` does, and gives the same event back."""
    processor = RegexFilter(filter_type="blocklist", regular_expressions=["debug"])
    kept = Event(name="a")
    assert processor(kept) is kept
    with pytest.raises(DropEvent, match="the name is not accepted"):
        processor(Event(name="debug.x"))


def test_dropped_events_count_as_filtered() -> None:
    """The route counts a dropped event as filtered, with the processor as the reason; a batch is
    filtered event by event.
    """
    RecordingBackend.forget()
    node = {
        "plugin": "regex_filter",
        "filter_type": "blocklist",
        "regular_expressions": [r"debug\."],
    }
    with fake_distribution(plugins={"recorder": RecordingBackend}):
        tracker = Tracker.from_config(
            {"backends": {"a": {"plugin": "recorder", "processors": [node]}}}
        )
    for name in ("debug.x", "kept", "debug.x", "kept"):
        tracker.emit(name)
    counts = tracker.stats()["a"]
    assert (counts.received, counts.filtered, counts.delivered) == (4, 2, 2)
    assert counts.reasons == {"filtered: regex_filter: the name is not accepted": 2}
    assert [event.name for event in RecordingBackend.recorded[""]] == ["kept", "kept"]


def problems(**options: Any) -> list[str]:
    """The problems of a config with these options."""
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"processors": [{"plugin": "regex_filter", **options}]})
    return [str(problem) for problem in caught.value.problems]


def test_all_bad_patterns_are_reported_at_once() -> None:
    """Each with its place in the config, what is wrong at which position, and the pattern."""
    assert problems(
        filter_type="allowlist", regular_expressions=["good", "a(b", "c", "[z-a]", "*"]
    ) == [
        (
            "processors[0].regular_expressions[1]: no valid regular expression: missing ),"
            ' unterminated subpattern at position 1; found "a(b"'
        ),
        (
            "processors[0].regular_expressions[3]: no valid regular expression: bad character range"
            ' z-a at position 1; found "[z-a]"'
        ),
        (
            "processors[0].regular_expressions[4]: no valid regular expression: nothing to repeat"
            ' at position 0; found "*"'
        ),
    ]


def test_a_pattern_that_is_too_large_is_reported() -> None:
    """What the compiler of `re` cannot take is a problem of the config, not a crash."""
    (problem,) = problems(filter_type="allowlist", regular_expressions=["a{99999999999999999999}"])
    assert problem.startswith(
        "processors[0].regular_expressions[0]: too large a regular expression (OverflowError)"
    )


@pytest.mark.parametrize("pattern", [r"(\w+\.?)+!", "(a+)+$", "(x+x+)+y", r"(\w+\s?)*$"])
def test_nested_quantifiers_are_decided(pattern: str) -> None:
    """Patterns that take `re` years for such a name are answered: it does not match."""
    assert not RegexFilter(filter_type="allowlist", regular_expressions=[pattern]).accepts(
        "a" * 300 + "\n."
    )


@pytest.mark.parametrize(("on_error", "passed"), [("drop", 0), ("pass", 1)])
def test_a_name_that_takes_too_long_is_given_up(on_error: str, passed: int) -> None:
    """Where nothing shortens the search, it ends; `on_error` decides, and the counts say why."""
    RecordingBackend.forget()
    node = {
        "plugin": "regex_filter",
        "filter_type": "blocklist",
        "regular_expressions": ["(a|aa)+$"],
        "on_error": on_error,
    }
    with fake_distribution(plugins={"recorder": RecordingBackend}):
        tracker = Tracker.from_config(
            {"processors": [node], "backends": {"a": {"plugin": "recorder"}}}
        )
    tracker.emit("a" * 1_000 + "!")
    counts = tracker.stats()[""]
    assert (counts.delivered, counts.failed) == (passed, 1 - passed)
    assert [reason.partition(": ")[2] for reason in counts.reasons] == [
        "regex_filter raised TimeoutError"
    ]


_ATOMS = [
    *("a", "b", "e", ".", "(", ")", "(?:", "|", "*", "+", "?", "{2}", "{1,3}", "{,2}", "{", "}"),
    *("{e}", "{e<=1}", "{}", "[ab]", "[^a]", "[a ]", r"\w", r"\d", r"\b", r"\.", r"\\", "^", "$"),
    *("(?i)", "(?P<x>a)", "(?P=x)", r"\1", "(?=", "(?!", "(?<=a)", r"\A", r"\Z", "[&&]", "[a||b]"),
    *("[a--b]", "A", "(?s:", "#", "-", "*?", "+?", "??", r"\{", r"\x41", "[:a]", "[[:alpha:]]"),
    *(r"\N{DASH}", r"\s", "0", r"\[:"),
]
_ODD = [
    *("", "a", "b", "ab", "aab", "a.b", "A", "e", "{e}", "a{e}", "ae", "a{", "{", "aa{}", "a\\b"),
    *("0", "a-b", "[", "&", "|", "a#", "a{1,3", "}", ":", "l:]"),
]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Flags not at:DeprecationWarning")
def test_patterns_mean_what_they_mean_to_re() -> None:
    """Of patterns put together at random, all that `re` takes are taken, and match the same."""
    draw = random.Random(8)
    tried = 0
    while tried < 700:
        pattern = "".join(draw.choice(_ATOMS) for _ in range(draw.randrange(1, 7)))
        try:
            expected = re.compile(pattern)
        except re.error:
            continue
        tried += 1
        for match, method in (("prefix", "match"), ("full", "fullmatch"), ("search", "search")):
            allow = RegexFilter("allowlist", [pattern], match)  # type: ignore[arg-type]  # of a table
            wanted = [name for name in _ODD if getattr(expected, method)(name)]
            assert [name for name in _ODD if allow.accepts(name)] == wanted, (pattern, match)


def test_options_reject_nonsense() -> None:
    """Every wrong option is reported at once; one pattern must be a list too."""
    assert problems(
        filter_type="whitelist", regular_expressions="a", match="begin", pattern="x"
    ) == [
        (
            "processors[0].pattern: regex_filter has no option 'pattern'; it takes filter_type,"
            " regular_expressions, match; see `eventtracking plugins regex_filter`"
        ),
        'processors[0].filter_type: expected one of "allowlist", "blocklist"; found "whitelist"',
        'processors[0].regular_expressions: expected a list (each text); found "a"',
        'processors[0].match: expected one of "full", "prefix", "search"; found "begin"',
    ]


def test_own_names_pass_an_allowlist() -> None:
    """Records of event types pass, unless a blocklist matches their name."""
    own = "eventtracking.event_type"
    assert RegexFilter(filter_type="allowlist", regular_expressions=["x"]).accepts(own)
    assert RegexFilter(filter_type="allowlist", regular_expressions=[]).accepts(own)
    assert not RegexFilter(filter_type="blocklist", regular_expressions=["event"]).accepts(own)
    assert RegexFilter(filter_type="blocklist", regular_expressions=["x"]).accepts(own)
    assert not RegexFilter(filter_type="allowlist", regular_expressions=["x"]).accepts(
        "eventtracking"
    )
