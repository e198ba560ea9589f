"""The processor `legacy_processor`: a site's own processor, written for event-tracking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from eventtracking import DropEvent, Event
from eventtracking_legacy.engine import (
    Given,
    find_class,
    make,
    options_for,
    require_fitting_options,
)
from eventtracking_legacy.exceptions import EventEmissionExit
from eventtracking_legacy.shape import from_legacy, to_legacy

__all__ = ["LegacyProcessor"]


@attrs.define(eq=False)
class LegacyProcessor:
    """Call a site's own processor, written for event-tracking.

    It gets a dict of its own, may change it in place, and may return None (the dict counts),
    another dict, or a list of dicts. `EventEmissionExit` filters the event out. The instance is
    made when a tracker is configured, never by a check.
    """

    engine: str | None = attrs.field(
        default=None,
        metadata={"help": "The dotted path of the processor's class. None: pass the event on."},
    )
    options: Any = attrs.field(
        factory=dict, repr=False, metadata={"help": "The keyword arguments of the class."}
    )
    _options: dict[str, Any] = attrs.field(init=False, repr=False, factory=dict)
    _class: Any = attrs.field(init=False, repr=False, default=None)
    _site: Any = attrs.field(init=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.options, Given):
            self._site = self.options.value
        elif self.engine is not None:
            self._options = options_for(self.engine, self.options)
            self._class = find_class(self.engine, "__call__")
            require_fitting_options(self._class, self._options)

    @property
    def site(self) -> Callable[[Any], Any] | None:
        """The site's own object. Made when it is first asked for.

        Raises:
            OptionsError: If its class refuses the options.
        """
        if self._site is None and self._class is not None:
            self._site = make(self._class, self._options)
        return self._site  # type: ignore[no-any-return]  # callable, as its class is

    def __call__(self, event: Event) -> Event:
        """Return the event as the site's processor made it.

        Raises:
            DropEvent: If the site's processor raised `EventEmissionExit`, or returned an empty
                list.
            Exception: Any other error that it raised.
        """
        site = self.site
        if site is None:
            return event
        document = to_legacy(event)
        try:
            result = site(document)
        except EventEmissionExit as leaving:
            raise DropEvent(f"{type(site).__name__} raised EventEmissionExit") from leaving
        if isinstance(result, list | tuple) and not result:
            raise DropEvent(f"{type(site).__name__} returned no event")
        return from_legacy(event, document if result is None else result)
