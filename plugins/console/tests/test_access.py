"""Who is let in, and who is not: each refusal against the running command."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eventtracking_cli.app import app

pytestmark = [pytest.mark.timeout(180), pytest.mark.needs("buffer", "catalog", "sqlite")]

Start = Callable[..., Any]
SAME = {"Sec_Fetch_Site": "same-origin"}


@pytest.mark.process
def test_the_address_works_once(start: Start) -> None:
    """The cookie that it sets opens the pages; its second use is refused."""
    console = start()
    console.enter()
    assert console.ask("/")[0] == 200
    console.cookie = ""
    assert console.ask(f"/?token={console.token}")[0] == 403
    assert console.ask("/")[0] == 403


@pytest.mark.timeout(180)
@pytest.mark.process
def test_a_refused_request_does_not_use_the_address_up(start: Start) -> None:
    """Neither a foreign Host nor a guess."""
    fresh = start()
    assert fresh.ask(f"/?token={fresh.token}", Host="evil.example")[0] == 421
    assert fresh.ask("/?token=guess")[0] == 403
    assert fresh.ask(f"/?token={fresh.token}", method="HEAD")[0] == 403
    fresh.enter()
    assert fresh.ask("/")[0] == 200


@pytest.mark.process
def test_what_is_refused(start: Start) -> None:
    """Foreign hosts, foreign pages, no cookie, a wrong cookie; on every path and method."""
    console = start("--allow-changes")
    console.enter()
    for path in ("/", "/letters", "/live/routes", "/static/style.css", "/nope"):
        assert console.ask(path, Host="evil.example")[0] == 421
        assert console.ask(path, Host=f"evil.example:{console.port}")[0] == 421
    for path in ("/letters/freeze", "/letters/replay", "/events/explain", "/nope"):
        for site in ("cross-site", "same-site", "none"):
            assert console.ask(path, "POST", "a=b", Sec_Fetch_Site=site)[0] == 403, path
        assert console.ask(path, "POST", "a=b", Origin="https://evil.example")[0] == 403
        assert console.ask(path, "POST", "a=b", Origin="null")[0] == 403
        assert console.ask(path, "DELETE", Sec_Fetch_Site="cross-site")[0] == 403
    assert console.ask("/letters/freeze", "POST", "route=", **SAME)[0] == 200
    for cookie in ("", "eventtracking_console=guess", "eventtracking_console=", 'a="; b'):
        console.cookie = cookie
        assert console.ask("/")[0] == 403
        assert console.ask("/letters/freeze", "POST", "route=", **SAME)[0] == 403
    _, _, headers = console.ask("/")
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")


@pytest.mark.process
def test_the_cookie_and_the_headers(start: Start) -> None:
    """HttpOnly, SameSite=Strict; no answer may be framed or kept."""
    console = start()
    console.enter()
    _, text, headers = console.ask("/")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert console.cookie.startswith("eventtracking_console=")
    assert {"HttpOnly", "SameSite=strict"} <= set(console.attributes)


@pytest.mark.process
def test_without_allow_changes_nothing_changes(start: Start) -> None:
    """Both steps of a replay are refused."""
    console = start()
    console.enter()
    for path in ("/letters/freeze", "/letters/replay"):
        status, text, _ = console.ask(path, "POST", "router=disk&selection=x", **SAME)
        assert status == 403
        assert "--allow-changes" in text


@pytest.mark.process
def test_another_address_needs_a_password(
    start: Start, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused with words; with one, the password opens the console."""
    refused = CliRunner().invoke(app, ["console", "-c", str(config), "--host", "0.0.0.0"])
    assert refused.exit_code == 1
    assert "EVENTTRACKING_CONSOLE_PASSWORD" in refused.output
    monkeypatch.setenv("EVENTTRACKING_CONSOLE_PASSWORD", "secret")
    console = start("--host", "0.0.0.0", "--allow-host", "127.0.0.1")
    console.enter()
    console.cookie = ""
    assert console.ask("/")[0] == 401
    right, wrong = (base64.b64encode(word).decode() for word in (b"me:secret", b"me:Secret"))
    assert console.ask("/", Authorization=f"Basic {wrong}")[0] == 401
    assert console.ask("/", Authorization="Basic ???")[0] == 401
    assert console.ask("/", Authorization=f"Basic {right}")[0] == 200


@pytest.mark.process
def test_an_event_full_of_html_is_text(start: Start, application: Any) -> None:
    """On each page that shows one."""
    console = start()
    console.enter()
    for path in ("/events/search?route=store", "/events?name=%3Cb%3E%22&route=%3Cb%3E"):
        status, text, _ = console.ask(path)
        assert status == 200
        assert "<script>alert" not in text
        assert "<b>" not in text
    status, text, _ = console.ask(
        "/events/explain", "POST", 'event={"name":"<b>x</b>","data":"<b>"}', **SAME
    )
    assert status == 200
    assert "<b>" not in text
    assert "data must be an object" in text


@pytest.mark.process
def test_viewers_that_never_read_cost_nothing(start: Start, application: Any) -> None:
    """The others are served meanwhile, and the console ends at SIGINT, with status 0."""
    console = start()
    console.enter()
    hanging = []
    for path in ("/live/routes", "/live/events"):
        client = socket.create_connection(("127.0.0.1", console.port))
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {console.cookie}\r\n\r\n".encode()
        )
        hanging.append(client)
    reader = socket.create_connection(("127.0.0.1", console.port))
    reader.settimeout(20)
    reader.sendall(
        f"GET /live/events HTTP/1.1\r\nHost: localhost\r\nCookie: {console.cookie}\r\n\r\n".encode()
    )
    got = b""
    while b"edx.tick" not in got:
        got += reader.recv(65536)
    assert b"<script>" not in got
    assert console.ask("/")[0] == 200
    console.process.send_signal(signal.SIGINT)
    assert console.process.wait(20) == 0
    for client in (*hanging, reader):
        client.close()


def test_a_taken_port_is_told(config: Path) -> None:
    """In one line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = CliRunner().invoke(app, ["console", "-c", str(config), "--port", port])
    assert done.exit_code == 1
    assert "choose another --port" in done.output


@pytest.mark.process
def test_it_brings_few_packages() -> None:
    """At most 12 more than core and the command line."""
    code = (
        "import importlib.metadata as m, re\n"
        "def needs(name, seen):\n"
        "    if name in seen: return seen\n"
        "    seen.add(name)\n"
        "    for line in m.requires(name) or ():\n"
        "        if 'extra ==' in line or 'sys_platform' in line: continue\n"
        "        other = re.match(r'[A-Za-z0-9_.-]+', line)[0].lower().replace('_', '-')\n"
        "        try: m.distribution(other)\n"
        "        except m.PackageNotFoundError: continue\n"
        "        needs(other, seen)\n"
        "    return seen\n"
        "print(len(needs('eventtracking-console', set()) - needs('eventtracking-cli', set())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) <= 12


@pytest.mark.process
def test_it_starts_soon(config: Path) -> None:
    """The address comes before the web server is imported, and no other plugin's commands are."""
    config.write_text(json.dumps({**json.loads(config.read_text()), "processors": []}))
    code = (
        "import sys\n"
        "def stopped(*arguments, **options):\n"
        "    late = ('uvicorn', 'starlette', 'jinja2', 'rich', 'eventtracking_console.web',\n"
        "        'eventtracking_buffer.cli.commands', 'eventtracking_prometheus',\n"
        "        'eventtracking_catalog')\n"
        "    print([name for name in late if name in sys.modules])\n"
        "    sys.exit()\n"
        "import click\n"
        "click.echo = stopped\n"
        "from eventtracking_cli.app import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "console", "-c", config, "--port=0"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_a_config_with_a_problem_is_told(config: Path) -> None:
    """Before any address is printed."""
    config.write_text('{"backends": {"a": {"plugin": "sqlite", "pth": "x"}}}')
    done = CliRunner().invoke(app, ["console", "-c", str(config), "--port=0"])
    assert done.exit_code == 1
    assert "backends.a.pth" in done.output
    assert "http" not in done.stdout
