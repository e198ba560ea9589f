"""The settings that event-tracking read as toggles."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["SEND_TRACKING_EVENT_EMITTED_SIGNAL", "SettingToggle"]


@attrs.frozen
class SettingToggle:
    """A Django setting that is on or off."""

    name: str
    default: bool = False

    def is_enabled(self) -> bool:
        """Tell whether it is on, as the settings say now."""
        from django.conf import settings

        return bool(getattr(settings, self.name, self.default))


SEND_TRACKING_EVENT_EMITTED_SIGNAL: Final = SettingToggle("SEND_TRACKING_EVENT_EMITTED_SIGNAL")
"""Whether events go to the event bus."""
