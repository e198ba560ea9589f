"""From a mapping or a file to the specs of a tree.

Read in this order: specs, parser, substitute, options, discovery.
"""

from eventtracking.config.parser import advice, load_file, parse
from eventtracking.config.specs import ObserverSpec, ProcessorSpec, RouteSpec, Spec

__all__ = ["ObserverSpec", "ProcessorSpec", "RouteSpec", "Spec", "advice", "load_file", "parse"]
