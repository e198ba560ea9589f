"""A model without a table: Django keeps permissions by model."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

__all__ = ["Console"]


class Console(models.Model):
    """The console, for its permissions; `migrate` makes those, and no table."""

    class Meta:
        managed = False
        default_permissions: ClassVar[tuple[str, ...]] = ()
        permissions: ClassVar[list[tuple[str, str]]] = [
            ("view_console", "Can look at the event tracking console"),
            ("change_console", "Can replay dead letters in the event tracking console"),
        ]
