# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""An app of an outsider, which adds a processor while apps load."""

from django.apps import AppConfig


class AppendingConfig(AppConfig):
    """Add a processor of its own to the settings."""

    name = "appending_app"

    def ready(self):
        """Append, as such apps do."""
        from django.conf import settings

        settings.EVENT_TRACKING_PROCESSORS.append({"ENGINE": "site_code.Scrubber"})
