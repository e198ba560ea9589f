"""From a mapping or a file to the specs of a tree.

Read in this order: parser, substitute, options, discovery.
"""

from eventtracking.config.parser import (
    ProcessorSpec,
    RouteSpec,
    Spec,
    advice,
    load_file,
    parse,
)

__all__ = ["ProcessorSpec", "RouteSpec", "Spec", "advice", "load_file", "parse"]
