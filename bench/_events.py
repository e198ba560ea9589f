"""The events that everybody is measured with.

Standard library only: workers of every environment import it.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CONTEXT", "LARGE", "NAME", "PATTERNS", "SMALL", "UNMATCHED", "matching_patterns"]

NAME: Final = "edx.forum.comment.created"

CONTEXT: Final[dict[str, Any]] = {
    "user_id": 10938,
    "username": "ada",
    "course_id": "course-v1:DemoX+Meas101+2026",
    "org_id": "DemoX",
    "session": "b7e1c2d0a9f84c5e8f1d2c3b4a596877",
    "ip": "192.0.2.17",
    "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "host": "courses.example.org",
    "path": "/courses/course-v1:DemoX+Meas101+2026/xblock/handler/problem_check",
    "referer": "https://courses.example.org/learning/course/week-3",
}

SMALL: Final[dict[str, Any]] = {
    "commentable_id": "i4x-DemoX-Meas101-week-3",
    "discussion": {"id": "5f2e9c1a7b3d4e6f"},
    "response": {"id": "5f2e9d0b8c4e5f70"},
    "id": "5f2e9e3c9d5f6081",
    "title_truncated": False,
    "truncated": False,
    "body": (
        "The scale factor cancels out, so the second form is the one to remember. Thanks for the"
        " sketch!"
    ),
    "options": {"followed": False},
    "url": "https://courses.example.org/courses/course-v1:DemoX+Meas101+2026/discussion/5f2e9c1a",
    "user_forums_roles": ["Student"],
    "user_course_roles": [],
}
"""A comment in a forum.

With name, time, id and context 1 KB of JSON: an event of middling size and depth on such a
platform.
"""

LARGE: Final[dict[str, Any]] = {
    "rows": [
        {
            "number": number,
            "label": f"student number {number}",
            "grade": number / 7,
            "passed": number % 3 == 0,
            "tags": ["a", "b"],
        }
        for number in range(1_050)
    ]
}
"""About 100 KB of JSON in 1,050 nested objects."""

_AREAS: Final = (
    "grades",
    "enrollment",
    "bookmark",
    "notes",
    "video",
    "certificate",
    "cohort",
    "team",
    "library",
    "survey",
)
PATTERNS: Final = [
    *(rf"edx\.{area}\.(added|removed|changed)" for area in _AREAS),
    r"edx\.forum\.comment\..*",
]
"""Eleven patterns, of which the last one matches `NAME`."""
UNMATCHED: Final = [*PATTERNS[:-1], r"edx\.course\.grade\..*"]
"""Eleven patterns, of which none matches `NAME`."""


def matching_patterns(count: int) -> list[str]:
    """Make that many patterns, of which the last one matches `NAME`."""
    return [*(rf"edx\.area_{number}\.(added|removed)" for number in range(count - 1)), PATTERNS[-1]]
