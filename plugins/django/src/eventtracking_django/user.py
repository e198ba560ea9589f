"""The user of a request: that of the session, or one that another middleware has found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

__all__ = ["describe_user", "find_user", "find_user_async"]

_SESSION_AUTH: Final = "django.contrib.auth.middleware"
"""The module of the lazy user, and of `auser`, that Django itself puts on a request."""


def describe_user(user: Any) -> Mapping[str, Any]:
    """Return the id and the name of a user who is logged in."""
    if user is None or not getattr(user, "is_authenticated", False):
        return {}
    found = {"user_id": user.pk}
    return found | ({"username": user.get_username()} if hasattr(user, "get_username") else {})


def find_user(request: HttpRequest) -> Any:
    """Return the request's user.

    Django's own lazy user is left alone without a session: there is none to find, and a look would
    mark the session as read, so that no cache keeps the page (`Vary: Cookie`).
    """
    user = getattr(request, "user", None)
    return user if _has_session(request) or not _is_of_session(user) else None


async def find_user_async(request: HttpRequest) -> Any:
    """Return the same, and load a lazy user off the event loop.

    A user of another middleware wins over that of the session, whether it stands in `user` or, as
    the asynchronous part of Django has it, in `auser`.
    """
    user, asked = getattr(request, "user", None), getattr(request, "auser", None)
    is_foreign = user is not None and not _is_of_session(user)
    if asked is not None and not is_foreign and not _is_of_session(asked):
        return await asked()
    if not is_foreign and not _has_session(request):
        return None
    if asked is not None and not is_foreign:  # from Django 5.0 on
        return await asked()
    return await sync_to_async(_loaded)(user) if isinstance(user, LazyObject) else user


def _has_session(request: HttpRequest) -> bool:
    session = getattr(request, "session", None)
    return session is None or getattr(session, "session_key", None) is not None


def _is_of_session(user: Any) -> bool:
    """Tell whether it is Django's own: a lazy user that is not loaded yet, or its `auser`."""
    if isinstance(user, LazyObject):
        parts = vars(user)
        made_by = parts.get("_setupfunc") if parts.get("_wrapped", empty) is empty else None
    else:
        made_by = getattr(user, "func", None)  # a partial
    return getattr(made_by, "__module__", None) == _SESSION_AUTH


def _loaded(user: Any) -> Any:
    """Load a lazy user by asking for one of its attributes."""
    return user if user.is_authenticated else None
