"""Every difference that the trial may find, with its reason: the guide's table is made of these."""

from __future__ import annotations

from typing import Any, Final

import attrs

__all__ = ["ELSEWHERE", "PROBED", "STATEMENTS", "Difference", "StatementDifference", "table"]


@attrs.frozen
class Difference:
    """One difference, as a row of the guide's table."""

    before: str
    """How event-tracking behaves, in words."""
    here: str
    """How its successor behaves, and why."""
    probe: str = ""
    """The function of `site/probes.py` that shows it; empty if other tests do."""
    results: tuple[Any, Any] = (None, None)
    """What the probe gives with event-tracking, and here."""


@attrs.frozen
class StatementDifference:
    """Statements that reach the store only here."""

    row: Difference
    part: str
    """Text that each of them holds."""


STATEMENTS: Final = (
    StatementDifference(
        Difference(
            "two routers below one asynchronous router share a nested dict: the second"
            " stumbles over the changes of the first, and its statement is lost"
            " (`edx.ui.lms.sequence.*` to xAPI beside Caliper)",
            "Each destination gets a dict of its own; the statement arrives.",
            "a_shared_dict",
            (["{'inner': {'seen': True}}"], ["{'inner': {}}"]),
        ),
        "http://id.tincanapi.com/extension/starting-position",
    ),
)

PROBED: Final = (
    *(one.row for one in STATEMENTS),
    Difference(
        "no id",
        "Each event has an `id`, a further key at the top; a site's own code does not see it.",
        "an_id",
        (False, True),
    ),
    Difference(
        "the log line has spaces after commas and colons, and `data` before `context`",
        "No spaces, `context` before `data`, then the `id`; `+00:00` is `Z`. It is still one line"
        " of JSON in ASCII after the formatter's prefix.",
        "the_line",
        (
            [
                (
                    '{"name": "n", "timestamp": "TIME", "data": {"text": "\\u00fc", "n": [1, 2]},'
                    ' "context": {}}'
                )
            ],
            [
                (
                    '{"name":"n","timestamp":"TIME","context":{},"data":{"text":"\\u00fc","n":[1,2]},'
                    '"id":"ID"}'
                )
            ],
        ),
    ),
    Difference(
        "`LoggerBackend` throws an event over 1,024 characters away, silently, unless"
        " `max_event_size` says otherwise",
        "No limit, unless `max_event_size` says so; it counts bytes, and a longer event counts as"
        " failed, with the reason.",
        "a_long_line",
        (0, 1),
    ),
    Difference(
        "`max_event_size` of a logger without a limit is 1024",
        "It is a number that no line reaches.",
        "the_limit",
        (True, False),
    ),
    Difference(
        "a processor that raises lets the event through unprocessed",
        'The event counts as failed: a scrubber that breaks must not leak. `on_error = "pass"` is'
        " the old way.",
        "a_failing_processor",
        (1, 0),
    ),
    Difference(
        "a processor that returns neither a dict, a list nor None hands its result to the backends",
        "A failure. An empty list filters the event out.",
        "a_processor_that_returns_text",
        (["'text'"], []),
    ),
    Difference(
        "a list that a processor returns is logged as a line with a list",
        'The line is an object: `{"name": ..., "events": [...], "id": ...}`. A site\'s own backend'
        " gets the list, as before.",
        "a_processor_that_returns_a_list",
        ("list", "dict"),
    ),
    Difference(
        "a site's own code receives the objects that were emitted",
        "It receives a copy in plain types: a Decimal as text, a tuple or a set as a list, an Enum"
        " as its value, a timedelta as `P1D`, integer keys as text. A datetime, a date, a UUID and"
        " bytes stay as they are.",
        "values",
        (
            [
                (
                    "{'decimal': Decimal('1.5'), 'set': {1}, 'enum': <Colour.RED: 'red'>, 'span':"
                    " datetime.timedelta(days=1), 3: 'three'}"
                )
            ],
            ["{'decimal': '1.5', 'set': [1], 'enum': 'red', 'span': 'P1D', '3': 'three'}"],
        ),
    ),
    Difference(
        "data that cannot be copied raises from `emit()`",
        "`emit()` does not raise. A value that cannot be copied becomes marked text.",
        "what_cannot_be_copied",
        ("TypeError", "delivered"),
    ),
    Difference(
        "with tracking disabled, every `emit()` raises",
        "A disabled `emit()` is counted and does nothing.",
        "disabled",
        ("KeyError", None),
    ),
    Difference(
        '`exit_context("unknown")` raises `KeyError`',
        "It does nothing (with `strict = true` it raises).",
        "leaving_an_unknown_context",
        ("KeyError", None),
    ),
    Difference(
        "`with tracker.context(name, ...)` inside a context of that name takes the outer one away"
        " when it ends",
        "The outer one is there again. `enter_context` under a name that is entered replaces that"
        " context, as before.",
        "a_context_within_its_own_name",
        ({}, {"k": "outer"}),
    ),
    Difference(
        "`eventtracking.tracker.Tracker(backends=..., processors=...)` takes objects",
        "A tracker is made from a config (`Tracker.from_config`), or from the settings"
        " (`DjangoTracker()`); objects can be put into that one's `backends` and `processors`.",
        "a_tracker_of_objects",
        (["own"], "TypeError"),
    ),
    Difference(
        "a slash in the name of a backend stays",
        "It becomes an underscore, for a slash divides a path; where a sibling has that name, one"
        " more stands at the end. `migrate` tells.",
        "a_slash_in_a_name",
        (["a/b"], ["a_b"]),
    ),
    Difference(
        "a name that is a number stays one",
        "It becomes text.",
        "a_number_as_a_name",
        (5, "5"),
    ),
    Difference(
        "the module's `emit()` without a name emits `unknown`",
        "A name must be given; `get_tracker().emit()` emits `unknown`, as does an empty name.",
        "without_a_name",
        ("KeyError", "TypeError"),
    ),
    Difference(
        "a constructor that connects stops the start when its server is down",
        "A site's backend is made on its first event, and again in each process.",
        "a_constructor_that_fails",
        ("ConnectionError", True),
    ),
)

ELSEWHERE: Final = (
    Difference(
        "a `TypeError` while a statement is made is swallowed, and the event counts for nothing",
        "The worker tries the event again, and keeps it as a dead letter in the end.",
    ),
    Difference(
        "the Celery task never retries, and reports success",
        "It retries failures, and then keeps them as dead letters.",
    ),
    Difference(
        "publishing happens in the request, and is lost when the broker is down",
        "A buffer publishes; events wait for the broker.",
    ),
    Difference("an asynchronous router works only at the root", "It works at any depth."),
    Difference(
        "an event for the event bus is sent in the request, and receivers of the signal run there",
        "A buffer sends it, and they run on the buffer's thread.",
    ),
    Difference(
        "MongoDB's writes are not acknowledged",
        "A majority acknowledges them. A `buffer` in memory stands before it, so that no request"
        " waits.",
    ),
    Difference(
        "MongoDB makes an `_id` of its own, and indexes `time`, which events do not have",
        "The `_id` is the event's id, the index is on `timestamp`.",
    ),
    Difference(
        "an event without a user never reaches Segment, unseen",
        "With a session it goes under an anonymous id; without, it counts as failed.",
    ),
    Difference(
        "a backend that raises inside a site's own router is logged",
        "It counts as failed, or is tried again by a router above. One that raises"
        " `NoBackendEnabled` or `NoTransformerImplemented` has delivered; the counts have the"
        " reason.",
    ),
    Difference(
        "an option that a class does not know is swallowed",
        "The same for the old settings, with a warning by `migrate`; in a config it is a problem.",
    ),
    Difference(
        "a change to the backends or processors of a running tracker is made in place",
        "It takes effect at once, too; the tracker goes on with a new tree, and buffers are flushed"
        " first.",
    ),
    Difference(
        "attributes of a logger or a filter in the tracker can be set",
        "`AttributeError`: such an object shows a plugin. Put an object of your own in its place.",
    ),
)


def table() -> str:
    """Return the guide's table, in Markdown."""
    rows = [f"| {one.before} | {one.here} |" for one in (*PROBED, *ELSEWHERE)]
    return "\n".join(["| event-tracking | here |", "| --- | --- |", *rows]) + "\n"
