"""What the site adds to the context of a request's events."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest

_COURSE = re.compile(r"^/courses/([^/]+)/")


def course_of(request: HttpRequest) -> dict[str, Any]:
    """The course whose page it is."""
    found = _COURSE.match(request.path)
    return {"course_id": found[1]} if found else {}
