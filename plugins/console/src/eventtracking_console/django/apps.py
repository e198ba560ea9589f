"""The Django app: it brings the permissions."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["ConsoleConfig"]


class ConsoleConfig(AppConfig):
    """`eventtracking_console.view_console` and `eventtracking_console.change_console`."""

    name = "eventtracking_console.django"
    label = "eventtracking_console"
    verbose_name = "Event tracking console"
