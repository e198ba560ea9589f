# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""Settings that both sites of the trial have: a tracking log in a file."""

LOGGER = {
    "ENGINE": "eventtracking.backends.logger.LoggerBackend",
    "OPTIONS": {"name": "tracking", "max_event_size": 50000},
}


def router(**options):
    """Return the router of the tracking log."""
    return {
        "ENGINE": "eventtracking.backends.routing.RoutingBackend",
        "OPTIONS": {"backends": {"logger": LOGGER}, **options},
    }


def logging_to(path):
    """Return LOGGING that writes the tracking log to a file, one event a line."""
    handler = {"class": "logging.FileHandler", "filename": str(path), "formatter": "bare"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"bare": {"format": "%(message)s"}},
        "handlers": {"file": {**handler, "encoding": "utf-8"}},
        "loggers": {"tracking": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
