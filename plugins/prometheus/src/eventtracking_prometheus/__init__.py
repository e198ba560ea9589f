"""The plugin `prometheus`: the counts of every route as metrics."""

from typing import Any

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_commands", "eventtracking_register_observers"]


@hookimpl
def eventtracking_register_observers(register: Register) -> None:
    """Register the observer."""
    from eventtracking_prometheus.observer import PrometheusObserver

    register("prometheus", PrometheusObserver)


@hookimpl
def eventtracking_register_commands(group: Any) -> None:
    """Add `eventtracking metrics`, where the command line is installed."""
    from eventtracking_prometheus.commands import metrics

    group.add_command(metrics)
