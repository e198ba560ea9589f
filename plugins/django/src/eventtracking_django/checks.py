"""The system checks: everything that is wrong with the settings, at once, as `manage.py check`
shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from eventtracking import ConfigError, Problem
from eventtracking.config import advice
from eventtracking_django import conf, install, predecessor

__all__ = ["check_settings", "register_checks"]

_MIDDLEWARE = "eventtracking_django.middleware.EventTrackingMiddleware"
_SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
_AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"


def register_checks() -> None:
    """Add the checks to Django's, under the tag `eventtracking`."""
    checks.register(check_settings, "eventtracking")


def check_settings(**_: Any) -> list[CheckMessage]:
    """Check every setting of ours. Nothing is opened."""
    return [
        *_both_installed(),
        *_both_written(),
        *_config(),
        *_request_settings(),
        *_middleware_order(),
    ]


def _both_installed() -> Iterator[CheckMessage]:
    text = predecessor.advice()
    if text is not None:
        yield checks.Error(text, id="eventtracking.E002")


def _both_written() -> Iterator[CheckMessage]:
    both = (
        getattr(settings, conf.SETTING, None) is not None
        and getattr(settings, conf.OLD_BACKENDS, None) is not None
    )
    if both:
        yield checks.Warning(
            f"{conf.SETTING} is used, and {conf.OLD_BACKENDS} is not read",
            hint="remove one of them",
            id="eventtracking.W002",
        )


def _config() -> Iterator[CheckMessage]:
    if not conf.is_enabled():
        return
    try:
        spec = install.read_spec()
    except ConfigError as error:
        yield from (
            checks.Error(_text(problem), hint=problem.hint, id="eventtracking.E001")
            for problem in error.problems
        )
        return
    yield from (
        checks.Warning(_text(problem), hint=problem.hint, id="eventtracking.W001")
        for problem in advice(spec)
    )


def _text(problem: Problem) -> str:
    found = f"; found {problem.found}" if problem.found is not None else ""
    return f"{problem.path or conf.SETTING}: {problem.message}{found}"


def _request_settings() -> Iterator[CheckMessage]:
    try:
        function: object = conf.context_callable()
    except ImportError as error:
        yield checks.Error(f"{conf.CONTEXT}: {error}", id="eventtracking.E003")
    else:
        if function is not None and not callable(function):
            yield checks.Error(
                f"{conf.CONTEXT}: expected a callable, or its dotted path", id="eventtracking.E003"
            )
    try:
        conf.trusted_proxies()
    except ValueError as error:
        yield checks.Error(f"{conf.TRUSTED_PROXIES}: {error}", id="eventtracking.E004")


def _middleware_order() -> Iterator[CheckMessage]:
    order = list(getattr(settings, "MIDDLEWARE", None) or ())
    for other, unknown in ((_SESSIONS, "session"), (_AUTH, "user")):
        if (
            _MIDDLEWARE in order
            and other in order
            and order.index(_MIDDLEWARE) < order.index(other)
        ):
            yield checks.Warning(
                f"{_MIDDLEWARE} stands before {other}, so that no event knows the {unknown}",
                hint="move it behind",
                id="eventtracking.W003",
            )
