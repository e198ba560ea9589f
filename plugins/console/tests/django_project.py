"""A Django project with the console, as a program: each check is a step of it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

import django
from django.conf import settings

FOLDER = Path(sys.argv[1])
settings.configure(
    DEBUG=False,
    SECRET_KEY="of the tests",
    ALLOWED_HOSTS=["testserver", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    LOGIN_URL="/login/",
    USE_TZ=True,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "eventtracking_django",
        "eventtracking_console.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FOLDER / "db.sqlite3")}
    },
    EVENT_TRACKING={
        "observers": [{"plugin": "live", "folder": str(FOLDER / "live")}],
        "backends": {
            "broken": {"plugin": "no_such_plugin"},
            "disk": {
                "plugin": "buffer",
                "storage": "disk",
                "path": str(FOLDER / "buffer"),
                "max_attempts": 1,
                "backends": {"below": {"plugin": "sqlite", "path": str(FOLDER / "file" / "x.db")}},
            },
        },
    },
)
django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402 - after the setup
from django.core.management import call_command  # noqa: E402 - after the setup
from django.test import AsyncClient, Client  # noqa: E402 - after the setup
from django.urls import include, path  # noqa: E402 - after the setup

from eventtracking import tracker  # noqa: E402 - after the setup

urlpatterns = [path("tracking/", include("eventtracking_console.django.urls"))]


def member(name: str, *permissions: str, is_staff: bool = True) -> Client:
    """Log a new user in."""
    user = User.objects.create_user(name, is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def who_may_look() -> None:
    """Staff with the permission; others are refused, or asked to log in."""
    answer = Client().get("/tracking/letters?route=x")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/login/?next=/tracking/letters%3Froute%3Dx"
    assert member("guest", "view_console", is_staff=False).get("/tracking/").status_code == 403
    assert member("clerk").get("/tracking/").status_code == 403
    watcher = member("watcher", "view_console")
    for page in ("", "events", "events/explain", "letters", "static/style.css"):
        answer = watcher.get(f"/tracking/{page}")
        assert answer.status_code == 200, page
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    text = watcher.get("/tracking/").content.decode()
    assert 'href="/tracking/letters"' in text
    assert "sse-connect" not in text  # under WSGI nothing keeps a worker
    assert 'hx-get="/tracking/live/routes"' in text
    assert watcher.get("/tracking/live/routes").content.count(b"<article") == 4
    assert watcher.get("/tracking/live/events").status_code == 404
    assert "Dry run" not in watcher.get("/tracking/letters").content.decode()


def who_may_replay() -> None:
    """Staff with the second permission, from the console's own pages, with Django's token."""
    owner = member("owner", "view_console", "change_console")
    text = owner.get("/tracking/letters").content.decode()
    found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', text)
    assert found is not None
    form = {"csrfmiddlewaretoken": found[1], "route": ""}
    address = "/tracking/letters/freeze"
    assert owner.post(address, {"route": ""}).status_code == 403
    assert owner.post(address, form, HTTP_SEC_FETCH_SITE="cross-site").status_code == 403
    watcher = Client()
    watcher.force_login(User.objects.get(username="watcher"))
    assert watcher.post(address, form, HTTP_SEC_FETCH_SITE="same-origin").status_code == 403
    content = "&".join(f"{key}={value}" for key, value in form.items())
    kind = "application/x-www-form-urlencoded"
    answer = owner.post(address, content, content_type=kind, HTTP_SEC_FETCH_SITE="same-origin")
    assert answer.status_code == 200, answer.content
    found = re.search('name="selection" value="([^"]+)"', answer.content.decode())
    assert found is not None
    content += f"&router=disk&selection={found[1]}"
    answer = owner.post(
        "/tracking/letters/replay", content, content_type=kind, HTTP_SEC_FETCH_SITE="same-origin"
    )
    assert answer.headers["Location"] == "/tracking/letters?replayed=2"
    assert "<td>owner</td>" in owner.get("/tracking/letters").content.decode()


async def what_is_live() -> None:
    """Under ASGI the routes come by themselves, again and again."""
    client = AsyncClient()
    await client.aforce_login(await User.objects.aget(username="watcher"))
    answer = await client.get("/tracking/")
    assert b'sse-connect="/tracking/live/routes"' in answer.content
    stream: Any = await client.get("/tracking/live/routes")
    assert stream.headers["Content-Type"] == "text/event-stream"
    text = b""
    async for part in stream.streaming_content:
        text += part
        if text.count(b"\n\n") == 2:
            break
    assert b"data: <article" in text
    await stream.streaming_content.aclose()


if __name__ == "__main__":
    (FOLDER / "file").write_text("in the way")
    call_command("migrate", verbosity=0)
    for number in range(2):
        tracker.emit("edx.enrolled", {"n": number})
    deadline = time.monotonic() + 20
    while tracker.get_tracker().stats()["disk"].dead_lettered < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    who_may_look()
    who_may_replay()
    asyncio.run(what_is_live())
    print("all steps passed")
