"""The decisions of `redact`, value by value."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from eventtracking_catalog.canonical import canonical_json, plain
from eventtracking_catalog.problems import conforms
from eventtracking_catalog.types import Field, Type

__all__ = ["MASK", "Action", "Guard"]

Action = Literal["keep", "hash", "mask", "remove"]
MASK: Final = "***"
_HASH_DIGITS: Final = 32
_STRICTNESS: Final = ("keep", "hash", "mask", "remove")
_GONE: Final[Any] = object()
"""Stands for a value that is removed."""


@attrs.frozen(eq=False)
class Guard:
    """Applies actions to values."""

    actions: Mapping[str, Action]
    """By PII word."""
    otherwise: Action
    key: bytes = attrs.field(repr=False)

    def action_for(self, pii: Sequence[str]) -> Action:
        """Return the strictest action for the words of a field; unmarked fields get the other."""
        if not pii:
            return self.otherwise
        found = [self.actions.get(word, self.otherwise) for word in pii]
        return max(found, key=_STRICTNESS.index)

    def is_stricter(self, one: Field, other: Field) -> bool:
        """Tell whether one field is to be treated more strictly than the other."""
        mine, theirs = self.action_for(one.pii), self.action_for(other.pii)
        return _STRICTNESS.index(mine) > _STRICTNESS.index(theirs)

    def fields(
        self, fields: Sequence[Field], values: Mapping[str, Any], above: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return the values that may pass, or their substitutes.

        Args:
            above: The words of the field that holds these, which hold for unmarked ones.
        """
        known = {field.name: field for field in fields}
        found: dict[str, Any] = {}
        for key, value in values.items():
            field = known.get(key)
            if field is None:
                one = self._treated(self.otherwise, value)
            else:
                one = self._value(field.type, value, field.pii or above)
            if one is not _GONE:
                found[key] = one
        return found

    def _value(self, one: Type, value: Any, pii: Sequence[str]) -> Any:
        if one.kind == "union":
            one = next((option for option in one.members if conforms(option, value)), one)
        if one.kind == "object" and isinstance(value, dict):
            return self.fields(one.fields, value, pii)
        if one.kind in ("list", "tuple") and isinstance(value, list) and _has_object(one):
            members = one.members if one.kind == "tuple" else one.members * len(value)
            if len(members) != len(value):
                return self._treated(self.otherwise, value)
            pairs = zip(members, value, strict=True)
            items = [self._value(member, item, pii) for member, item in pairs]
            return [item for item in items if item is not _GONE]
        action = self.action_for(pii)
        if one.kind == "map" and isinstance(value, dict) and _has_object(one) and action == "keep":
            found = {key: self._value(one.members[0], item, pii) for key, item in value.items()}
            return {key: item for key, item in found.items() if item is not _GONE}
        if action == "keep" and not _is_declared(one, value):
            action = self.otherwise
        return self._treated(action, value)

    def _treated(self, action: Action, value: Any) -> Any:
        if action == "keep":
            return value
        if action == "remove":
            return _GONE
        if action == "mask":
            return MASK
        if value is None:
            return None
        if isinstance(value, list):
            return [self._treated("hash", item) for item in value]
        return self._hash(value)

    def _hash(self, value: Any) -> str:
        """Hash a value's text, so that a UUID and its text form have one pseudonym."""
        text = plain(value)
        if not isinstance(text, str):
            text = canonical_json(text)
        message = text.encode("utf-8", "surrogatepass")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()[:_HASH_DIGITS]


def _has_object(one: Type) -> bool:
    return one.kind == "object" or any(_has_object(member) for member in one.members)


def _is_declared(one: Type, value: Any) -> bool:
    """Tell whether the declaration covers the value: a map of objects is covered field by field."""
    return not _has_object(one) and conforms(one, value)
