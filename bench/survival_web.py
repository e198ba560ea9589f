"""The web application of the survival matrix: it emits as it is loaded, before gunicorn forks, and
once for each request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from survival_scene import FORKED, emit_some, emitter, mark

__all__ = ["application"]

_emit = emitter(os.environ["SURVIVAL_SYSTEM"])
emit_some(_emit, FORKED[0])


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Emit the event whose number is the path."""
    _emit(mark(int(environ["PATH_INFO"].strip("/"))))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
