"""The metrics: names, labels, values, the text itself."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from eventtracking import Counts
from eventtracking_prometheus._histograms import WIDTH, Histograms
from eventtracking_prometheus._metrics import TallyCollector
from eventtracking_prometheus._publisher import _Arrivals
from eventtracking_prometheus._sheet import NUMBERS, Layout, Notes, read, unpack, write
from eventtracking_prometheus._tally import DEATH, Tally
from eventtracking_prometheus._text import encode
from eventtracking_prometheus._totals import Reader, fold_dead

AT = ("route=", "tracker=default")


def key(*parts: str) -> tuple[str, ...]:
    return parts


def a_layout(*routes: str) -> Layout:
    return Layout(
        tracker="default",
        routes=routes,
        reasons=tuple((route, 'failed: "quoted" \\ and\nlines') for route in routes),
        histograms=routes[:1],
        width=WIDTH,
    )


def a_sheet(folder: Path, name: str, layout: Layout, oldest_s: float = 1.0) -> None:
    notes = Notes(pid=1, oldest_s=dict.fromkeys(layout.routes, oldest_s))
    write(folder / f"{name}.sheet", layout, notes, range(1, layout.length + 1))


def values(folder: Path) -> dict[tuple[str, ...], float]:
    text = encode(TallyCollector(Reader(folder).read)).decode()
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_text_is_that_of_the_client_library(tmp_path: Path) -> None:
    """Byte for byte, with every character in the names of routes and reasons."""
    a_sheet(tmp_path, "store-a", a_layout("", 'we"ird\\ro\nute', "ünï"))
    collector = TallyCollector(Reader(tmp_path).read)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    def stable(text: bytes) -> list[bytes]:
        return [line for line in text.split(b"\n") if b"collect_seconds " not in line]

    assert stable(encode(collector)) == stable(generate_latest(registry))


def test_sheets_of_one_layout_and_of_others_add_up(tmp_path: Path) -> None:
    """Numbers are summed, ages are the highest."""
    a_sheet(tmp_path, "store-1", a_layout("", "a"), oldest_s=1.0)
    a_sheet(tmp_path, "store-2", a_layout("", "a"), oldest_s=7.0)
    a_sheet(tmp_path, "store-3", a_layout("a", "b"))
    found = values(tmp_path)
    at = ("route=a", "tracker=default")
    first_of_a = 1 + len(NUMBERS)
    assert found[key("eventtracking_events_received_total", *at)] == 2 * first_of_a + 1
    assert found[key("eventtracking_oldest_pending_seconds", *at)] == 7.0
    assert found[key("eventtracking_events_pending", *at)] == 2 * (first_of_a + 5) + 6


def test_a_damaged_sheet_or_one_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    """The others are shown."""
    a_sheet(tmp_path, "store-1", a_layout(""))
    (tmp_path / "store-2.sheet").write_bytes(b"not a sheet")
    (tmp_path / "store-3.sheet").write_bytes(
        b'{"tracker":"default","routes":[],"format":9}\n{}\n1234'
    )
    content = (tmp_path / "store-1.sheet").read_bytes()
    (tmp_path / "store-4.sheet").write_bytes(content.replace(b"{", b"[", 1))
    assert (
        values(tmp_path)[key("eventtracking_events_received_total", "route=", "tracker=default")]
        == 1
    )


def test_folding_the_dead_keeps_every_counter(tmp_path: Path) -> None:
    """Counters stay, events that the process still had have failed, its gauges are gone; folding
    twice changes nothing.
    """
    for name in ("1-a", "2-b"):
        a_sheet(tmp_path, name, a_layout(""))
        (tmp_path / f"{name}.lock").touch()
    before = values(tmp_path)
    assert fold_dead(tmp_path) == 2
    assert fold_dead(tmp_path) == 0
    after = values(tmp_path)
    failed = ("eventtracking_events_total", "outcome=failed", *AT)
    assert before[key("eventtracking_events_pending", *AT)] == 12
    assert after[key("eventtracking_events_pending", *AT)] == 0
    assert after[key("eventtracking_dead_letters", *AT)] == 0
    assert after[failed] == before[failed] + 2 * (5 + 6)
    reason = f"reason={DEATH.partition(': ')[2]}"
    assert after[key("eventtracking_events_reasons_total", "outcome=failed", reason, *AT)] == 22
    fallen = {key for key in before if "_total" in key[0] and after.get(key, 0) < before[key]}
    assert fallen == set()
    unaccounted = ("eventtracking_events_unaccounted", *AT)
    assert after[unaccounted] == before[unaccounted]


def test_a_housekeeper_killed_half_way_neither_loses_nor_doubles(tmp_path: Path) -> None:
    """The sheet is in the totals, and still in the folder: it counts once."""
    a_sheet(tmp_path, "1-a", a_layout(""))
    (tmp_path / "1-a.lock").touch()
    content = (tmp_path / "1-a.sheet").read_bytes()
    fold_dead(tmp_path)
    expected = values(tmp_path)
    (tmp_path / "1-a.sheet").write_bytes(content)
    (tmp_path / "1-a.lock").touch()
    received = ("eventtracking_events_received_total", *AT)
    assert values(tmp_path)[received] == expected[received] == 1
    fold_dead(tmp_path)
    assert values(tmp_path)[received] == 1
    assert not (tmp_path / "1-a.sheet").exists()


def test_a_replayed_dead_letter_counts_again_when_it_dies_again() -> None:
    """The gauge falls with a replay, the counter does not."""
    arrivals = _Arrivals()
    assert arrivals.see(Counts(dead_lettered=2)) == 2
    assert arrivals.see(Counts(dead_lettered=1)) == 2
    assert arrivals.see(Counts(dead_lettered=2)) == 3
    told = Counts(dead_lettered=0, reasons={"dead_lettered: HTTP 400": 9, "failed: x": 4})
    assert arrivals.see(told) == 9


def test_reasons_are_bounded() -> None:
    """Beyond 64 of a route they are counted together."""
    tally = Tally()
    for number in range(100):
        tally.add_reason("a", f"failed: {number}", 1)
    assert len(tally.reasons["a"]) == 65
    assert tally.reasons["a"]["other reasons"] == 36


def test_histograms_add_up() -> None:
    """Each batch is in one bucket of either, and in both sums."""
    histograms = Histograms()
    histograms.add("a", 1, 0.0)
    histograms.add("a", 5000, 100.0)
    histograms.add("a", 100, 0.2)
    numbers = histograms.read()["a"]
    assert sum(numbers[:10]) == 3
    assert numbers[10] == 100_200_000
    assert sum(numbers[11:-1]) == 3
    assert numbers[-1] == 5101


def test_a_row_survives_the_way_to_the_file_and_back(tmp_path: Path) -> None:
    """Negative numbers are no counts: they become 0."""
    layout = Layout(tracker="t", routes=("a",))
    numbers = [-1, *range(2, len(NUMBERS) + 1)]
    write(tmp_path / "1.sheet", layout, Notes(), numbers)
    sheet = read(str(tmp_path / "1.sheet"))
    assert sheet is not None
    assert unpack(sheet.row, layout.length) == (0, *numbers[1:])


@pytest.mark.service
def test_promtool_finds_nothing_to_complain_of(tmp_path: Path, promtool: str) -> None:
    """Names, help texts and types keep the conventions."""
    a_sheet(tmp_path, "store-1", a_layout("", "a/b"))
    text = encode(TallyCollector(Reader(tmp_path).read))
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.service
def test_the_alert_rules_are_sound(promtool: str) -> None:
    """`promtool check rules` parses each expression."""
    rules = Path(str(files("eventtracking_prometheus").joinpath("alerts.yml")))
    done = subprocess.run(
        [promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_asks_for_metrics_that_exist(tmp_path: Path) -> None:
    """Each name in an expression of the dashboard and of the rules is that of a series."""
    a_sheet(tmp_path, "store-1", a_layout("", "a/b"))
    text = encode(TallyCollector(Reader(tmp_path).read)).decode()
    known = set(re.findall(r"^(eventtracking_\w+)", text, re.MULTILINE))
    for name in ("alerts.yml", "dashboard.json"):
        content = files("eventtracking_prometheus").joinpath(name).read_text()
        asked = set(re.findall(r"eventtracking_\w+", content))
        assert asked <= known, asked - known
