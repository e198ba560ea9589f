"""The example site as it runs: gunicorn, a browser that clicks through it, SQLite, and MongoDB
through Celery.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventtracking_testkit.services.fixtures import leave_out

# It needs a browser, and for one test servers.
pytestmark = [pytest.mark.service, pytest.mark.needs("logger")]

EXAMPLE = Path(__file__).parents[3] / "examples" / "django"
SECRET_KEY = "of the browser test"
MAKE_USER = (
    "from django.contrib.auth.models import User; User.objects.create_user('ada', password='ada')"
)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def eventually(question: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return answer


@contextmanager
def process(*arguments: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the environment, running in the example's folder until the end of the block."""
    with log.open("wb") as output:
        program = [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]
        running = subprocess.Popen(
            program, cwd=EXAMPLE, env=env, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def manage(*arguments: str, env: dict[str, str]) -> str:
    """Run a management command of the example."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, check=False, cwd=EXAMPLE, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Site:
    """The running site."""

    def __init__(self, folder: Path, url: str, env: dict[str, str]) -> None:
        self.folder = folder
        self.url = url
        self.env = env

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/accounts/login/", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stored(self) -> dict[str, dict[str, Any]]:
        """The events in SQLite, by name; the last one of each."""
        with closing(sqlite3.connect(self.folder / "events.db")) as connection:
            rows = connection.execute(
                "SELECT name, context, data, id FROM events ORDER BY timestamp"
            ).fetchall()
        return {
            name: {"context": json.loads(c), "data": json.loads(d), "id": i}
            for name, c, d, i in rows
        }


@contextmanager
def running_site(folder: Path, **environment: str) -> Iterator[Site]:
    """The example under gunicorn, with a database and a user of its own."""
    unset = ("BROKER_URL", "MONGO_URI", "DJANGO_SETTINGS_MODULE")
    env = {key: value for key, value in os.environ.items() if key not in unset}
    env |= {"ACADEMY_VAR": str(folder), "SECRET_KEY": SECRET_KEY, **environment}
    manage("migrate", "--verbosity", "0", env=env)
    manage("shell", "--verbosity", "0", "-c", MAKE_USER, env=env)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with process(
        "gunicorn",
        "--bind",
        f"127.0.0.1:{port}",
        "academy.wsgi",
        env=env,
        log=folder / "gunicorn.log",
    ):
        site = Site(folder, f"http://127.0.0.1:{port}", env)
        eventually(site.is_up)
        yield site


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        leave_out(
            "no Chromium with chromedriver is on PATH (Debian: apt-get install chromium"
            " chromium-driver)"
        )
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(argument)
    with ExitStack() as stack:
        running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        stack.callback(running.quit)
        running.implicitly_wait(20)
        yield running


def click_through(browser: Any, site: Site) -> str:
    """Log in, open a course, say that it is read, and take part; return the session's key."""

    def find(identifier: str) -> Any:
        return browser.find_element("id", identifier)

    browser.get(f"{site.url}/")
    find("id_username").send_keys("ada")
    find("id_password").send_keys("ada")
    find("login").click()
    find("course-owls").click()
    find("progress").click()
    eventually(lambda: find("told").text == "Noted.")
    find("enroll").click()
    assert find("enrolled").text == "You take part."
    return str(browser.get_cookie("sessionid")["value"])


def expected_session(key: str, site: Site) -> str:
    """The hash under which the site names the session."""
    code = f"from eventtracking_django.request import hash_session; print(hash_session({key!r}))"
    return manage("shell", "--verbosity", "0", "-c", code, env=site.env).strip()


def check(event: dict[str, Any], session: str) -> None:
    """Show that an event is the browser's: its user, its session, its page, and what the
    page said.
    """
    context = event["context"]
    assert (context["username"], context["user_id"], context["session"]) == ("ada", 1, session)
    assert (context["path"], context["method"]) == ("/courses/owls/progress", "POST")
    assert (context["course_id"], context["ip"]) == ("owls", "127.0.0.1")
    assert "Chrome" in context["agent"]
    assert event["data"] == {"read": 1, "title": "Owls at night"}


@pytest.mark.timeout(180)
def test_a_click_in_a_browser_is_in_sqlite(browser: Any, tmp_path: Path) -> None:
    """A browser clicks; the events are in SQLite with user, session hash, path and what the page
    said.
    """
    with running_site(tmp_path) as site:
        key = click_through(browser, site)
        names = {"page.viewed", "page.progress", "enrollment.activated", "welcome.sent"}
        stored = eventually(lambda: found if names <= set(found := site.stored()) else None)
        session = expected_session(key, site)
    check(stored["page.progress"], session)
    assert stored["enrollment.activated"]["data"] == {"course_id": "owls", "mode": "honor"}
    assert stored["welcome.sent"]["context"]["path"] == "/courses/owls/enroll"
    lines = (tmp_path / "tracking.log").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith('[tracking] {"name":') for line in lines)
    assert key not in "".join(lines)


@pytest.mark.timeout(180)
def test_a_click_in_a_browser_is_in_mongodb(
    browser: Any, tmp_path: Path, redis_server: Any, mongo_server: Any
) -> None:
    """With a broker and MongoDB, the same events arrive there through a Celery worker, and in
    SQLite as well.
    """
    import pymongo

    environment = {"BROKER_URL": redis_server.uri, "MONGO_URI": mongo_server.uri}
    with ExitStack() as stack:
        client: Any = stack.enter_context(
            pymongo.MongoClient(mongo_server.uri, uuidRepresentation="standard")
        )
        client.drop_database("academy")
        site = stack.enter_context(running_site(tmp_path, **environment))
        worker = ("celery", "-A", "academy", "worker", "--concurrency", "1", "--loglevel", "INFO")
        stack.enter_context(process(*worker, env=site.env, log=tmp_path / "worker.log"))
        session = expected_session(click_through(browser, site), site)
        events = client["academy"]["events"]
        names = {"page.viewed", "page.progress", "enrollment.activated"}
        eventually(lambda: names <= set(events.distinct("name")))
        document = events.find_one({"name": "page.progress"})
        stored = site.stored()["page.progress"]
    check(document, session)
    assert str(document["_id"]) == stored["id"]
