"""The facts about a field that stand in its type: `Annotated[str, field(description="...")]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from eventtracking_catalog.types import LIMITS, MISSING

__all__ = ["Facts", "field", "is_limit", "limits_in", "words"]


@attrs.frozen(kw_only=True)
class Facts:
    """The facts of one `field()`."""

    description: str = ""
    example: Any = MISSING
    unit: str = ""
    pii: tuple[str, ...] = ()
    deprecated: str = ""
    renamed_from: str = ""


def field(
    *,
    description: str = "",
    example: Any = MISSING,
    unit: str = "",
    pii: str | Sequence[str] = (),
    deprecated: str | bool = "",
    renamed_from: str = "",
) -> Facts:
    """State the facts about a field, in its type.

    `course: Annotated[str, field(description="The course.", pii="none")]`

    Args:
        description: The meaning of the field.
        example: A value that it may have.
        unit: The unit of a number: `"s"`.
        pii: Words for the personal information in it (`"username"`, `"email"`), or `"none"`.
        deprecated: The replacement or the reason; True for a field that is just no longer used.
        renamed_from: The name that the field had in the version before.
    """
    return Facts(
        description=str(description or ""),
        example=example,
        unit=str(unit or ""),
        pii=words(pii),
        deprecated="yes" if deprecated is True else str(deprecated or ""),
        renamed_from=str(renamed_from or ""),
    )


def words(pii: Any) -> tuple[str, ...]:
    """Return PII marks as sorted words; a mark beside "none" overrules it."""
    found = {pii} if isinstance(pii, str) else {str(word) for word in pii or ()}
    found.discard("")
    return tuple(sorted(found - {"none"} if len(found) > 1 else found))


def limits_in(metadata: Iterable[Any]) -> tuple[tuple[str, Any], ...]:
    """Collect constraints from `msgspec.Meta`, annotated_types and their like."""
    found: dict[str, Any] = {}
    for one in metadata:
        try:
            given = {name: getattr(one, name, None) for name in LIMITS}
            inner = getattr(one, "metadata", ())  # of pydantic's `Field`
        except Exception:  # noqa: BLE001, S112 - metadata may be any object of the application
            continue
        if isinstance(inner, list):
            found |= dict(limits_in(inner))
        found |= {name: limit for name, limit in given.items() if is_limit(name, limit)}
    return tuple(sorted(found.items()))


def is_limit(name: str, limit: Any) -> bool:
    """Tell whether a value will do for a constraint."""
    if name == "pattern":
        return isinstance(limit, str)
    return isinstance(limit, int | float) and not isinstance(limit, bool)
