"""Run the whole trial: `python moving_over.py [--events FILE]... [--suite FOLDER] [--write]`.

The site of `site/` with event-tracking 4.0.2 and with its successor, in three ways; the probes; and
the suite of event-routing-backends. Ends with 1 after a difference that the guide does not list.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE))

from compare import probe_differences, unlisted  # noqa: E402 - after the path
from differences import table  # noqa: E402 - after the path
from environments import (  # noqa: E402 - after the path
    NAMES,
    ROOT,
    environment,
    suite_environment,
    suite_tree,
)
from steps import APPS, environment_in, problems_of, wheels_in  # noqa: E402 - after the path
from trial import OLD_APP, Outcome, Scenario, run  # noqa: E402 - after the path

GUIDE: Final = ROOT / "docs" / "how-to" / "migrate.md"
OWN_EVENTS: Final = HERE / "own_events.jsonl"
SCENARIOS: Final = (
    Scenario("plain"),
    Scenario("batching", batching=True),
    Scenario("Caliper off", caliper=False),
)
_SHOWN: Final = 20
_BEGIN, _END = "<!-- made by make moving: begin -->\n", "<!-- made by make moving: end -->\n"


def both(scenario: Scenario, files: list[Path], redis_url: str, folder: Path) -> list[Outcome]:
    """Run a scenario in both environments, one after the other, on one Redis."""
    found = []
    for name in NAMES:
        place = folder / f"{scenario.name}-{name}".replace(" ", "-")
        place.mkdir()
        found.append(run(environment(name), scenario, files, place, redis_url, OLD_APP))
    return found


def probes(name: str) -> dict[str, Any]:
    """Run the probes in one environment."""
    command = [str(environment(name)), str(HERE / "site" / "probes.py")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def suite(name: str, tree: Path, folder: Path) -> dict[str, str]:
    """Run the suite of event-routing-backends; return the outcome of each test.

    Args:
        name: The environment.
        tree: A source tree of it, with its `test_settings.py`.
        folder: Where it runs.
    """
    python = suite_environment(name)
    source = tree / "src" if (tree / "src").exists() else tree
    command = [str(python), "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", "-q", "-rA"]
    command += ["--ds", "test_settings", "--tb", "no", "--rootdir", str(folder), "-c", os.devnull]
    command += [str(source / "event_routing_backends")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(source)])}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env=env, timeout=1200
    )
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", done.stdout, flags=re.MULTILINE)
    if not outcomes:
        raise SystemExit(f"the suite did not run with {python}:\n{done.stdout}{done.stderr}")
    return {test: outcome for outcome, test in outcomes}


def write_table(guide: Path) -> None:
    """Put the table of differences into the guide."""
    text = guide.read_text(encoding="utf-8")
    head, rest = text.split(_BEGIN)
    guide.write_text(f"{head}{_BEGIN}\n{table()}\n{_END}{rest.split(_END)[1]}", encoding="utf-8")


def main() -> int:
    """Run the trial; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--suite", type=Path, metavar="FOLDER", help="another source tree")
    parser.add_argument("--write", action="store_true", help="write the guide's table")
    arguments = parser.parse_args()
    from eventtracking_testkit.services import RedisServer

    problems: list[str] = []
    with tempfile.TemporaryDirectory() as temporary, RedisServer() as server:
        folder = Path(temporary)
        files = [OWN_EVENTS, *(path.resolve() for path in arguments.events)]
        for scenario in SCENARIOS:
            before, after = both(scenario, files, server.uri.rpartition("/")[0], folder)
            print(f"{scenario.name}: {told(before)} before, {told(after)} after", flush=True)
            problems += [f"{scenario.name}: {text}" for text in unlisted(before, after)]
        problems += probe_differences(*map(probes, NAMES))
        problems += suite_problems(arguments.suite or suite_tree(), folder)
        problems += step_problems(folder)
    if arguments.write:
        write_table(GUIDE)
    print("\n".join(problems[:_SHOWN]) or "no difference that the guide does not list")
    if len(problems) > _SHOWN:
        print(f"and {len(problems) - _SHOWN} more")
    return 1 if problems else 0


def step_problems(folder: Path) -> list[str]:
    """Move a site step by step, with each of the two names in `INSTALLED_APPS`."""
    wheels, problems = wheels_in(folder / "wheels"), []
    for app in APPS:
        place = folder / app
        place.mkdir()
        problems += [
            f"{app}: {one}" for one in problems_of(app, environment_in(place), wheels, place)
        ]
    print(f"step by step: {len(problems)} problems, with each name in INSTALLED_APPS")
    return problems


def told(outcome: Outcome) -> str:
    """Tell the size of an outcome."""
    xapi, caliper = sum(outcome.xapi.values()), sum(outcome.caliper.values())
    return f"{xapi} xAPI and {caliper} Caliper statements, {len(outcome.log)} log lines"


def suite_problems(tree: Path, folder: Path) -> list[str]:
    """Run the suite in both environments; tell the tests that pass only before."""
    before, after = (suite(name, tree.resolve(), folder) for name in NAMES)
    passed = [sum(one == "PASSED" for one in found.values()) for found in (before, after)]
    print(f"event-routing-backends' suite: {passed[0]} before, {passed[1]} after, of {len(before)}")
    return [
        f"suite: {test} passes before, and not after"
        for test, outcome in before.items()
        if outcome == "PASSED" and after.get(test) != "PASSED"
    ]


if __name__ == "__main__":
    sys.exit(main())
