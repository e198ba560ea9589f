"""The problems that were found, each told once, with a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

__all__ = ["Reports"]

_MAX_TEXTS: Final = 64
_OTHERS: Final = "catalog: other problems"


@attrs.define(eq=False)
class Reports:
    """Passes texts on to the reasons of a route: at most 64 different ones."""

    remark: Callable[..., Any] | None = None
    """The `remark` of the place; None before `bind`."""
    _texts: set[str] = attrs.field(init=False, factory=set)

    def note(self, text: str) -> None:
        """Count a problem under its text."""
        if self.remark is not None:
            self.remark(self.kept(text))

    def kept(self, text: str) -> str:
        """Return the text to count under: its own, or that of all others past the 64th."""
        if text not in self._texts:
            if len(self._texts) >= _MAX_TEXTS:
                return _OTHERS
            self._texts.add(text)
        return text
