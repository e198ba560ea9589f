"""The predecessor's names for the tracker of a Django site and its settings."""

from eventtracking_legacy.settings import BACKENDS as DJANGO_BACKEND_SETTING_NAME
from eventtracking_legacy.settings import ENABLED as DJANGO_ENABLED_SETTING_NAME
from eventtracking_legacy.settings import PROCESSORS as DJANGO_PROCESSOR_SETTING_NAME
from eventtracking_legacy.tracker import DjangoTracker, override_default_tracker

__all__ = [
    "DJANGO_BACKEND_SETTING_NAME",
    "DJANGO_ENABLED_SETTING_NAME",
    "DJANGO_PROCESSOR_SETTING_NAME",
    "DjangoTracker",
    "override_default_tracker",
]
