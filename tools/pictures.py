"""Make the pictures of the documents anew: `.venv/bin/python tools/pictures.py`.

The routing tree is the text of `eventtracking graph`; the console is a real one, beside a running
application, in a headless Chromium. Both show the config below.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import workspace

PICTURES = workspace.ROOT / "docs" / "pictures"
BIN = Path(sys.executable).parent
WIDTH, HEIGHT = 1040, 560

CONFIG = """\
[[observers]]
plugin = "live"
folder = "live"

[[processors]]
plugin = "regex_filter"
filter_type = "blocklist"
regular_expressions = ['debug\\.']

[backends.log]
plugin = "logger"
name = "tracking"

[backends.durable]
plugin = "buffer"
storage = "disk"
path = "spool"

[backends.durable.backends.archive]
plugin = "sqlite"
path = "archive.db"

[backends.durable.backends.partner]
plugin = "sqlite"
path = "away/partner.db"
processors = [
  { plugin = "name_filter", filter_type = "allowlist", names = ["grade.calculated"] },
]
"""

APPLICATION = """
import itertools, logging, time
import eventtracking
logging.basicConfig(filename="tracking.log", level=logging.INFO)
tracker = eventtracking.configure("eventtracking.toml")
NAMES = itertools.cycle(["course.enrolled", "video.played", "grade.calculated", "debug.tick"])
for name in NAMES:
    tracker.emit(name, {"course": "botany"})
    time.sleep(0.02)
"""

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The routing tree that eventtracking graph prints</title>
<style>
text {{ font: 15px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #e6e9ef;
       white-space: pre; }}
.prompt {{ fill: #8fbcff; }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#1f2430"/>
{lines}
</svg>
"""
LINE = '<text x="20" y="{y}" textLength="{length}"{style}>{text}</text>'
LINE_HEIGHT, CHARACTER = 22, 9


def tree(folder: Path) -> str:
    """Draw the output of `eventtracking graph`."""
    printed = ["$ eventtracking graph", *command(folder, "graph").splitlines()]
    lines = [
        LINE.format(
            y=20 + LINE_HEIGHT * (number + 1) - 6,
            length=len(text) * CHARACTER,
            style="" if number else ' class="prompt"',
            text=escape(text),
        )
        for number, text in enumerate(printed)
    ]
    width = max(map(len, printed)) * CHARACTER + 40
    height = len(printed) * LINE_HEIGHT + 40
    return SVG.format(width=width, height=height, lines="\n".join(lines))


def command(folder: Path, *words: str) -> str:
    """Run the command line; return what it prints."""
    environ = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    program = [str(BIN / "eventtracking"), *words]
    return subprocess.run(
        program, cwd=folder, env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def running(*words: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside this one."""
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def browser() -> Iterator[Any]:
    """Start a headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    with webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    ) as chrome:
        yield chrome


def console_page(folder: Path, target: Path) -> None:
    """Photograph the console's routes, with one destination away."""
    (folder / "away").write_text("in the way of a folder")
    with (
        running(sys.executable, "-c", APPLICATION, cwd=folder),
        running(BIN / "eventtracking", "console", "--port=0", cwd=folder) as console,
        browser() as chrome,
    ):
        address = console.stdout.readline().strip() if console.stdout else ""
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        chrome.get(address)
        time.sleep(20)  # a rate is an average over some seconds
        chrome.save_screenshot(str(target))


def main() -> int:
    """Write both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "eventtracking.toml").write_text(CONFIG)
        (PICTURES / "routing-tree.svg").write_text(tree(folder))
        console_page(folder, PICTURES / "console.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
