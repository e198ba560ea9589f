"""From a mapping or a file to the specs of a tree.

Read in this order: specs, parser, node, substitute, reading, options, discovery.
"""

from typing import Any

from eventtracking._former import find_former
from eventtracking.config.advice import advice
from eventtracking.config.files import load_file
from eventtracking.config.parser import parse
from eventtracking.config.specs import ObserverSpec, ProcessorSpec, RouteSpec, Spec

__all__ = ["ObserverSpec", "ProcessorSpec", "RouteSpec", "Spec", "advice", "load_file", "parse"]


def __getattr__(name: str) -> Any:
    """Find a name of event-tracking, if eventtracking-legacy is installed."""
    return find_former(__name__, name)
