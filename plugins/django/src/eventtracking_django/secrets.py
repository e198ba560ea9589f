"""Secrets in the settings: they work as ever, and no page or mail of Django shows them.

Django's error pages and mails, and `diffsettings`, hide a setting by its name, such as `password`.
A `uri` or a `broker_url` in the config holds one, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from eventtracking_django import conf

__all__ = ["hide_in_settings"]

_SHOWN: Final = frozenset({"plugin", "on_error", "ENGINE"})
"""Keys whose text is no secret."""


class _Text(str):
    """A text that is not shown where Python shows a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hide_in_settings() -> None:
    """Put texts that do not show themselves into the settings that hold a config."""
    for name in (conf.SETTING, conf.OLD_BACKENDS, conf.OLD_PROCESSORS):
        value = getattr(settings, name, None)
        if isinstance(value, Mapping | list | tuple):
            setattr(settings, name, _hidden(value))


def _hidden(value: Any) -> Any:
    if type(value) is str:
        return _Text(value)
    if isinstance(value, Mapping):
        return {key: member if key in _SHOWN else _hidden(member) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_hidden, value))
    return value
