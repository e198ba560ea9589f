"""A person at the console, in a real Chromium, with script and without."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtracking import Tracker

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
    "--disable-background-networking", "--window-size=1280,900",
)  # fmt: skip
PAGES = ("/", "/events", "/events/explain", "/events/search?route=store", "/letters")


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start browsers."""
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "no Chromium with chromedriver is on PATH (Debian: chromium chromium-driver)"
        if os.environ.get("EVENTTRACKING_REQUIRE_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    started: list[Any] = []

    def begin(script: bool = True) -> Any:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / f'browser{len(started)}'}"):
            options.add_argument(argument)
        if not script:
            content = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", content)
        running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        running.implicitly_wait(20)
        started.append(running)
        return running

    yield begin
    for running in started:
        running.quit()


@pytest.fixture
def dead_letters(config: Path, tmp_path: Path) -> Path:
    """Three events that a store could not take: its folder is a file, until it is mended."""
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    content = json.loads(config.read_text())
    content["backends"]["disk"]["backends"]["below"]["path"] = str(blocked / "below.db")
    config.write_text(json.dumps(content))
    with Tracker.from_config({**content, "observers": []}) as tracker:
        for number in range(3):
            tracker.emit("<b>enrolled</b>", {"n": number})
        deadline = time.monotonic() + 30
        while tracker.stats()["disk/below"].dead_lettered < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tracker.stats()["disk/below"].dead_lettered == 3
    return blocked


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_dead_letters_are_seen_filtered_replayed_and_arrive(
    browse: Callable[..., Any],
    start: Callable[..., Any],
    dead_letters: Path,
    config: Path,
    script: bool,
) -> None:
    """The failing destination is mended, the replay comes after a dry run, and nothing is left."""
    console = start("--allow-changes")
    browser = browse(script)
    browser.get(console.url)
    assert "dead letters" in browser.page_source
    browser.find_element("link text", "Dead letters").click()
    assert "<b>enrolled</b>" in browser.find_element("tag name", "table").text
    browser.find_element("name", "route").send_keys("disk/below")
    browser.find_element("xpath", "//button[text()='Filter']").click()
    assert len(browser.find_elements("css selector", "tbody tr")) == 3
    dead_letters.unlink()
    browser.find_element("xpath", "//button[starts-with(text(), 'Dry run')]").click()
    assert "3 dead letters of disk would be delivered again" in browser.page_source.replace(
        "<strong>", ""
    ).replace("</strong>", "")
    browser.find_element("xpath", "//button[starts-with(text(), 'Replay 3')]").click()
    assert "asked to be delivered again" in browser.find_element("class name", "done").text
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        browser.get(f"http://127.0.0.1:{console.port}/letters")
        if "No dead letters on disk" in browser.page_source:
            break
        time.sleep(0.5)
    assert "No dead letters on disk" in browser.page_source
    assert (dead_letters / "below.db").exists()


def test_the_pages_are_live(
    browse: Callable[..., Any], start: Callable[..., Any], application: Any
) -> None:
    """The counts grow and events appear without a reload; the console reports no script error."""
    console = start()
    browser = browse()
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


@pytest.mark.skipif("AXE" not in os.environ, reason="AXE names the file axe.min.js of axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browse: Callable[..., Any],
    start: Callable[..., Any],
    dead_letters: Path,
    application: Any,
    scheme: str,
    tmp_path: Path,
) -> None:
    """Each page at a phone's width and a desk's, light and dark; a screenshot of each is kept."""
    console = start("--allow-changes")
    browser = browse()
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    browser.get(console.url)
    axe = Path(os.environ["AXE"]).read_text()
    shots = Path(os.environ.get("SHOTS", tmp_path))
    for width in (390, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for path in (*PAGES, "/letters/one?router=disk&number=1"):
            browser.get(f"http://127.0.0.1:{console.port}{path}")
            time.sleep(2.5 if path in ("/", "/events") else 0.2)
            name = path.partition("?")[0].strip("/").replace("/", "-") or "routes"
            browser.save_screenshot(str(shots / f"{name}-{width}-{scheme}.png"))
            browser.execute_script(axe)
            found = browser.execute_async_script(
                "const done = arguments[arguments.length - 1];"
                "axe.run().then(found => done(found.violations))"
            )
            serious = [
                (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
                for one in found
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], (path, width, serious)
            scrolls = "return document.documentElement.scrollWidth > window.innerWidth"
            assert not browser.execute_script(scrolls), (path, width)
