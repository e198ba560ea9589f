"""A person at the console, in a real Chromium, with script and without."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Tracker
from eventtracking_testkit.services import ServiceUnavailableError
from eventtracking_testkit.services._binaries import find_axe
from eventtracking_testkit.services.fixtures import leave_out

pytestmark = [
    pytest.mark.service,
    pytest.mark.timeout(180),
    pytest.mark.needs("buffer", "catalog", "sqlite"),
]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
    "--disable-background-networking", "--window-size=1280,900",
)  # fmt: skip
PAGES = (
    "/", "/events", "/events/explain", "/events/search?route=store", "/letters",
    "/letters/one?router=disk&number=1", "/catalog/", "/catalog/one?name=edx.tick",
)  # fmt: skip
LIVE = {"/": "svg.spark", "/events": "details.event"}
"""The element that shows a live page to be live."""
ROWS = "[aria-label='Dead letters'] tbody tr"
CHECK = (
    "const done = arguments[arguments.length - 1];"
    "axe.run({resultTypes: ['violations']}).then(found => done(found.violations))"
)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Chromium for all tests of this file."""
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        leave_out("no Chromium with chromedriver is on PATH (Debian: chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as running:
        yield running


@pytest.fixture
def browser(chrome: Any) -> Any:
    """The browser without a cookie, at a desk, in daylight, with script."""
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chrome.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    show(chrome, 1280, "light")
    chrome.implicitly_wait(20)
    chrome.get_log("browser")
    return chrome


def show(browser: Any, width: int, scheme: str) -> None:
    """Give the page a width, and a scheme of colours."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core."""
    try:
        return find_axe().read_text(encoding="utf-8")
    except ServiceUnavailableError as error:
        leave_out(str(error))


@pytest.fixture
def dead_letters(config: Path, tmp_path: Path) -> Path:
    """Four events that a store could not take: its folder is a file, until it is mended."""
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    content = json.loads(config.read_text())
    content["backends"]["disk"]["backends"]["below"]["path"] = str(blocked / "below.db")
    config.write_text(json.dumps(content))
    with Tracker.from_config({**content, "observers": []}) as tracker:
        for number in range(3):
            tracker.emit("<b>enrolled</b>", {"n": number})
        tracker.emit("left", {"n": 4})
        deadline = time.monotonic() + 30
        while tracker.stats()["disk/below"].dead_lettered < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tracker.stats()["disk/below"].dead_lettered == 4
    return blocked


@pytest.mark.process
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_dead_letters_are_seen_filtered_replayed_and_arrive(
    browser: Any, start: Callable[..., Any], dead_letters: Path, script: bool
) -> None:
    """The failing destination is mended, the replay comes after a dry run, and nothing is left."""
    console = start("--allow-changes")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get(console.url)
    assert browser.find_element("xpath", "//div[dt='dead letters'][dd='4']")
    browser.find_element("link text", "Dead letters").click()
    assert browser.find_element("xpath", "//td[.='<b>enrolled</b>']")
    assert len(browser.find_elements("css selector", ROWS)) == 4
    browser.find_element("name", "name").send_keys("<b>enrolled</b>")
    browser.find_element("xpath", "//button[.='Filter']").click()
    assert browser.find_element("css selector", "input[name=name][value*=enrolled]")
    assert len(browser.find_elements("css selector", ROWS)) == 3
    dead_letters.unlink()
    browser.find_element("xpath", "//button[starts-with(., 'Dry run')]").click()
    told = "3 dead letters of disk would be delivered again"
    assert browser.find_element("xpath", f"//p[starts-with(., '{told}')]")
    browser.find_element("xpath", "//button[starts-with(., 'Replay 3')]").click()
    assert browser.find_element("xpath", "//*[@role='status'][contains(., 'delivered again')]")
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        browser.get(f"http://127.0.0.1:{console.port}/letters")
        if len(browser.find_elements("css selector", ROWS)) == 1:
            break
        time.sleep(0.1)
    assert browser.find_element("css selector", f"{ROWS} td").text == "left"
    assert events_in(dead_letters / "below.db") == ["<b>enrolled</b>"] * 3


def events_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM events")]


@pytest.mark.process
def test_the_pages_are_live(browser: Any, start: Callable[..., Any], application: Any) -> None:
    """The counts grow and events appear without a reload; the console reports no script error."""
    console = start()
    browser.get(console.url)
    received = "return Number(document.querySelector('.route dd').textContent)"
    before = browser.execute_script(received)
    deadline = time.monotonic() + 30
    while browser.execute_script(received) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    browser.get(f"http://127.0.0.1:{console.port}/events?route=store")
    assert browser.find_element("css selector", "details.event")
    assert browser.get_log("browser") == []


def looks() -> list[tuple[int, str]]:
    """Each width and each scheme once; for pictures, all four."""
    if "SHOTS" in os.environ:
        return list(itertools.product((390, 1280), ("light", "dark")))
    return [(390, "light"), (1280, "dark")]


def test_axe_finds_nothing_serious(
    browser: Any,
    start: Callable[..., Any],
    dead_letters: Path,
    application: Any,
    axe: str,
    tmp_path: Path,
) -> None:
    """Each page at a phone's width and a desk's, light and dark; none scrolls sideways.

    The variable SHOTS names a folder that keeps a picture of each.
    """
    console = start("--allow-changes")
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})  # for axe, which is not ours
    browser.get(console.url)
    shots = Path(os.environ.get("SHOTS", tmp_path))
    for path in PAGES:
        browser.get(f"http://127.0.0.1:{console.port}{path}")
        if path in LIVE:
            assert browser.find_element("css selector", LIVE[path])
        browser.execute_script(axe)
        for width, scheme in looks():
            show(browser, width, scheme)
            if "SHOTS" in os.environ:
                name = path.partition("?")[0].strip("/").replace("/", "-") or "routes"
                browser.save_screenshot(str(shots / f"{name}-{width}-{scheme}.png"))
            serious = [
                (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
                for one in browser.execute_async_script(CHECK)
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], (path, width, scheme)
            scrolls = "return document.documentElement.scrollWidth > window.innerWidth"
            assert not browser.execute_script(scrolls), (path, width)


@pytest.fixture(params=["asgi", "wsgi"])
def django(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """A Django project on a real server: its kind, its address, the session of a person."""
    program = Path(__file__).with_name("django_server.py")
    command = [sys.executable, program, tmp_path, request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, session = process.stdout.readline().split()
        yield request.param, address, session
        process.kill()


@pytest.mark.process
@pytest.mark.needs("django")
def test_a_replay_in_django(browser: Any, django: tuple[str, str, str], tmp_path: Path) -> None:
    """Staff see the failing route, live under ASGI, and replay its dead letters, which arrive."""
    kind, address, session = django
    browser.get(f"{address}/tracking/")
    assert browser.current_url == f"{address}/login/?next=/tracking/"
    browser.add_cookie({"name": "sessionid", "value": session})
    browser.get(f"{address}/tracking/")
    assert browser.find_element("xpath", "//div[dt='dead letters'][dd='2']")
    live = "[sse-connect]" if kind == "asgi" else "[hx-get='/tracking/live/routes']"
    assert browser.find_element("css selector", live)
    assert browser.find_element("css selector", "svg.spark")  # after a look without a reload
    browser.find_element("link text", "Catalog").click()
    assert browser.find_element("xpath", "//h1[.='Catalog']")
    browser.find_element("link text", "Dead letters").click()
    (tmp_path / "file").unlink()
    browser.find_element("xpath", "//button[starts-with(., 'Dry run')]").click()
    browser.find_element("xpath", "//button[starts-with(., 'Replay 2')]").click()
    assert browser.find_element("xpath", "//td[.='owner']")
    deadline = time.monotonic() + 60
    while browser.find_elements("css selector", ROWS):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        browser.implicitly_wait(0)
        browser.get(f"{address}/tracking/letters")
    assert events_in(tmp_path / "file" / "x.db") == ["edx.enrolled"] * 2
    # The project has no page to log in at, which the network's part of the log tells.
    assert [one for one in browser.get_log("browser") if one["source"] != "network"] == []
