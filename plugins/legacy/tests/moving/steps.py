"""A site moves over step by step, as the guide says, and is asked for a page at each step.

The requests have numbers. The tracking log must hold each of them once, whichever package wrote it,
also while the packages are exchanged below a running process, and where the old one is installed
again by mistake.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
from environments import ROOT
from trial import SHARED

from eventtracking_testkit.services._process import free_port

__all__ = ["APPS", "environment_in", "numbers_between", "problems_of", "wheels_in"]

APPS: Final = ("eventtracking.django.apps.EventTrackingConfig", "eventtracking_django")
"""The old name in `INSTALLED_APPS`, and the one that the guide recommends."""
_SITE: Final = Path(__file__).with_name("steps_site")
_FORMER: Final = "event-tracking==4.0.2"
_NEEDED: Final = ("core", "cli", "legacy", "django", "logger", "name_filter", "regex_filter")


def wheels_in(folder: Path) -> Path:
    """Build the wheels that a site with a tracking log needs."""
    sys.path.append(str(ROOT / "tools"))
    import wheels
    import workspace

    for member in workspace.ready_members():
        if member.name in _NEEDED:
            wheels.build(member, folder)
    return folder


def environment_in(folder: Path) -> Path:
    """Make an environment with pip, Django and the old package; return its folder."""
    sys.path.append(str(ROOT / "tools"))
    import workspace

    venv = folder / "venv"
    workspace.uv("venv", "--quiet", "--seed", "--python", sys.executable, venv)
    python = venv / "bin" / "python"
    workspace.uv("pip", "install", "--quiet", "--python", python, _FORMER, "setuptools<81")
    return venv


@attrs.define
class Step:
    """How a command ended."""

    status: int
    text: str


@attrs.define(eq=False)
class Site:
    """The site, its environment, and the process that serves it."""

    venv: Path
    wheels: Path
    app: str
    log: Path
    asked: int = 0
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "STEPS_APP": self.app,
            "STEPS_LOG": str(self.log),
            "DJANGO_SETTINGS_MODULE": "steps_settings",
            "PYTHONPATH": f"{_SITE}{os.pathsep}{SHARED}",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PATH": f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *command: str) -> Step:
        """Run a command of the environment."""
        program = str(self.venv / "bin" / command[0])
        done = subprocess.run(
            [program, *command[1:]], check=False, capture_output=True, text=True, env=self.env()
        )
        return Step(done.returncode, done.stdout + done.stderr)

    def start(self) -> bool:
        """Start a process; when it serves, it takes the place of the one before, as a server that
        restarts without a gap does. Tell whether it serves.
        """
        port = free_port()
        process = subprocess.Popen(
            [str(self.venv / "bin" / "python"), str(_SITE / "serve.py"), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.env(),
        )
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            process.wait()
            process.stdout.close()
            return False
        self.stop()
        self.port, self.process = port, process
        return True

    def stop(self) -> None:
        """End the process that serves."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def ask(self) -> None:
        """Ask for a page, which emits the next number."""
        self.asked += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/emit/{self.asked}") as answer:
            assert answer.read() == b"emitted"

    def logged(self) -> list[int]:
        """Return the numbers in the tracking log, whose lines are as the old package wrote them."""
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        for event in events:
            assert {"name", "timestamp", "context", "data"} <= event.keys(), event
            assert event["context"]["path"] == f"/emit/{event['data']['number']}", event
        return [event["data"]["number"] for event in events]


def problems_of(app: str, venv: Path, wheels: Path, folder: Path) -> list[str]:
    """Move a site with this name in `INSTALLED_APPS`; return each thing that is not as it should
    be. Afterwards the environment holds ours.
    """
    site = Site(venv, wheels, app, folder / "tracking.log")
    problems: list[str] = []

    def see(name: str, is_right: bool, text: str = "") -> None:
        """Note a step, and ask for a page after it: the site logs at each of them."""
        if not is_right:
            problems.append(f"{name}: {text or 'not as it should be'}")
        site.ask()
        if site.logged() != list(range(1, site.asked + 1)):
            problems.append(f"{name}: of {site.asked} requests the log has {site.logged()}")

    try:
        _steps(site, see)
    finally:
        site.stop()
    return problems


def numbers_between(before: Path, after: Path, folder: Path) -> list[int]:
    """Serve a site of one environment, then of another; return the numbers in its log, of 3."""
    site = Site(before, folder, APPS[0], folder / "tracking.log")
    try:
        assert site.start()
        site.ask()
        site.venv = after
        assert site.start()
        site.ask()
        site.ask()
        return site.logged()
    finally:
        site.stop()


def _steps(site: Site, see: Callable[..., None]) -> None:
    # with "eventtracking_django", which the old package does not have, the first start has the
    # old name: the setting is changed together with the requirements
    wanted, site.app = site.app, APPS[0]
    see("the old package", site.start())
    gone = site.run("pip", "uninstall", "--yes", "event-tracking")
    see("uninstalled below a running process", gone.status == 0, gone.text)
    site.app = wanted
    installed = site.run("pip", "install", "--quiet", "eventtracking-legacy[cli]")
    see("the requirements", installed.status == 0, installed.text)
    found = site.run("eventtracking", "migrate", "--check-environment")
    see("check-environment", found.status == 0, found.text)
    checked = site.run("python", "-m", "django", "check")
    see("check", checked.status == 0, checked.text)
    see("start", site.start())
    back = site.run("pip", "install", "--quiet", "--no-deps", _FORMER)
    see("the old package again, by mistake", back.status == 0, back.text)
    found = site.run("eventtracking", "migrate", "--check-environment")
    see("check-environment after it", found.status == 1 and "4.0.2" in found.text, found.text)
    checked = site.run("python", "-m", "django", "check")
    # with the old name the old package checks itself, and knows of nothing
    is_told = checked.status != 0 or wanted == APPS[0]
    see("check after it", is_told, checked.text)
    site.start()  # either it serves, or the process before goes on
    see("start after it", True)
    for line in _pip_lines(found.text):
        done = site.run(*shlex.split(line))
        see(line, done.status == 0, done.text)
    found = site.run("eventtracking", "migrate", "--check-environment")
    see("check-environment when it is put right", found.status == 0, found.text)
    checked = site.run("python", "-m", "django", "check")
    see("check when it is put right", checked.status == 0, checked.text)
    see("start when it is put right", site.start())


def _pip_lines(text: str) -> list[str]:
    """Return the commands that are printed for pip."""
    return [line.strip() for line in text.splitlines() if line.startswith("  pip ")]
