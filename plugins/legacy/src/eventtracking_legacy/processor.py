"""The processor `legacy_processor`: a site's own processor, written for event-tracking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from eventtracking import DropEvent, Event, OptionsError
from eventtracking_legacy.engine import (
    find_class,
    instantiate,
    options_for,
    require_fitting_options,
)
from eventtracking_legacy.exceptions import EventEmissionExit
from eventtracking_legacy.shape import from_legacy, restore, to_legacy

__all__ = ["LegacyProcessor"]


@attrs.define(eq=False)
class LegacyProcessor:
    """Call a site's own processor, written for event-tracking.

    It gets a dict of its own, may change it in place, and may return None (the dict counts),
    another dict, or a list of dicts. `EventEmissionExit` filters the event out. Without an engine,
    an event that passed a site's processor before a router gets its shape back after it.
    """

    engine: str | None = attrs.field(
        default=None,
        metadata={
            "help": (
                "The dotted path of the processor's class. None: only restore the event's shape."
            )
        },
    )
    options: Any = attrs.field(
        factory=dict, repr=False, metadata={"help": "The keyword arguments of the class."}
    )
    site: Callable[[Any], Any] | None = attrs.field(init=False, repr=False, default=None)
    """The site's own object."""

    def __attrs_post_init__(self) -> None:
        if self.engine is not None:
            self.site = _build(self.engine, options_for(self.engine, self.options))

    def __call__(self, event: Event) -> Event:
        """Return what the site's processor made of the event.

        Raises:
            DropEvent: If the site's processor raised `EventEmissionExit`, or returned an empty
                list.
            Exception: Whatever else it raised.
        """
        if self.site is None:
            return restore(event)
        document = to_legacy(event)
        try:
            result = self.site(document)
        except EventEmissionExit as leaving:
            raise DropEvent(f"{type(self.site).__name__} raised EventEmissionExit") from leaving
        if isinstance(result, list | tuple) and not result:
            raise DropEvent(f"{type(self.site).__name__} returned no event")
        return from_legacy(event, document if result is None else result)


def _build(engine: str, options: dict[str, Any]) -> Callable[[Any], Any]:
    site_class = find_class(engine)
    require_fitting_options(site_class, options)
    try:
        site = site_class(**instantiate(options))
    except OptionsError:
        raise
    except Exception as error:  # the text may hold an option's value
        raise OptionsError(
            {"options": f"{engine} refused them with {type(error).__name__}"}
        ) from error
    if not callable(site):
        raise OptionsError(
            {"engine": f"an instance of {engine} cannot be called, so it is no processor"}
        )
    return site  # type: ignore[no-any-return]  # callable, as was just seen
