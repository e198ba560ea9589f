"""The command `eventtracking metrics`: the metrics as text, the alert rules, the dashboard."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from eventtracking_cli.config import config_option, load_tracker
from eventtracking_prometheus._publisher import Publisher
from eventtracking_prometheus.app import text
from eventtracking_prometheus.observer import PrometheusObserver

__all__ = ["metrics"]


@click.command("metrics")
@config_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replace this file, whole, such as a textfile of node_exporter.",
)
@click.option("--rules", is_flag=True, help="Print alert rules for Prometheus instead.")
@click.option("--dashboard", is_flag=True, help="Print a Grafana dashboard instead.")
def metrics(config_path: str, output: Path | None, rules: bool, dashboard: bool) -> None:
    """Print the metrics of all processes that share the folder of the observer.

    Buffers on disk are read even where no process is alive.
    """
    if rules or dashboard:
        found = (
            files("eventtracking_prometheus")
            .joinpath("alerts.yml" if rules else "dashboard.json")
            .read_bytes()
        )
    else:
        found = _metrics_of(config_path)
    if output is None:
        click.echo(found, nl=False)
        return
    beside = output.with_name(f".{output.name}.new")
    beside.write_bytes(found)
    beside.replace(output)


def _metrics_of(config_path: str) -> bytes:
    tracker = load_tracker(config_path)
    observer = next(
        (one for one in tracker.observers() if isinstance(one, PrometheusObserver)),
        PrometheusObserver(),
    )
    folder = observer.prepared_folder()
    publisher = Publisher(observer.tracker, folder)
    publisher.publish_stores(tracker)
    publisher.release_stores()
    return text(folder)
