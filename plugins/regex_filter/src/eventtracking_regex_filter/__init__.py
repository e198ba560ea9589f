"""The plugin `regex_filter`: keeps or drops events by patterns on their names."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_processors"]


@hookimpl
def eventtracking_register_processors(register: Register) -> None:
    """Register the processor."""
    from eventtracking_regex_filter.processor import RegexFilter

    register("regex_filter", RegexFilter)
