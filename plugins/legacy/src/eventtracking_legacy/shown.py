"""Objects by which a tracker shows its plugins: they can be read, called and replaced."""

from __future__ import annotations

from typing import Any

__all__ = ["Shown"]


class Shown:
    """Refuse to set attributes of an object that only shows a plugin.

    The tracker makes such an object for each look, so that the value would be lost unseen.
    """

    _is_shown = False

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_shown and not name.startswith("_"):
            raise AttributeError(
                f"{type(self).__name__}.{name}: cannot be set (the object shows a plugin of the"
                " tracker); put an object of your own in its place, in `backends` or `processors`"
            )
        super().__setattr__(name, value)
