"""The settings. Without any environment variable the site needs no server beside it."""

import os
from pathlib import Path

VAR = Path(os.environ.get("ACADEMY_VAR", Path(__file__).parent.parent / "var"))
VAR.mkdir(parents=True, exist_ok=True)
BROKER_URL = os.environ.get("BROKER_URL")
MONGO_URI = os.environ.get("MONGO_URI")

SECRET_KEY = os.environ.get("SECRET_KEY", "for the example only")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
USE_TZ = True
ROOT_URLCONF = "academy.urls"
LOGIN_REDIRECT_URL = "/"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(VAR / "site.db"),
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "eventtracking_django",
    "academy",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "eventtracking_django.middleware.EventTrackingMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]

# Events. Each request's events reach a file of SQLite through a buffer in memory; where a broker
# and MongoDB run, they go there, too, through a Celery worker, and wait on disk while either is
# down.
EVENT_TRACKING = {
    "processors": [
        {"plugin": "regex_filter", "filter_type": "blocklist", "regular_expressions": [r"debug\."]}
    ],
    "backends": {
        "log": {"plugin": "logger", "name": "tracking"},
        "store": {
            "plugin": "buffer",
            "storage": "memory",
            "backends": {"sqlite": {"plugin": "sqlite", "path": str(VAR / "events.db")}},
        },
    },
}
if BROKER_URL and MONGO_URI:
    EVENT_TRACKING["backends"]["warehouse"] = {
        "plugin": "buffer",
        "storage": "disk",
        "path": str(VAR / "warehouse"),
        "backends": {
            "workers": {
                "plugin": "async_celery",
                "queue": "celery",
                "backends": {"mongo": {"plugin": "mongo", "uri": MONGO_URI, "database": "academy"}},
            }
        },
    }
EVENT_TRACKING_CONTEXT = "academy.context.course_of"

CELERY_BROKER_URL = BROKER_URL
CELERY_TASK_ALWAYS_EAGER = not BROKER_URL
CELERY_TASK_IGNORE_RESULT = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"tracking": {"format": "[%(name)s] %(message)s"}},
    "handlers": {
        "tracking": {
            "class": "logging.FileHandler",
            "filename": str(VAR / "tracking.log"),
            "formatter": "tracking",
        }
    },
    "loggers": {"tracking": {"handlers": ["tracking"], "level": "INFO", "propagate": False}},
}
