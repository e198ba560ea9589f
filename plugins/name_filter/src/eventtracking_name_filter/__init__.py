"""The plugin `name_filter`: keep or drop events by their exact names."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_processors"]


@hookimpl
def eventtracking_register_processors(register: Register) -> None:
    """Register the processor."""
    from eventtracking_name_filter.processor import NameFilter

    register("name_filter", NameFilter)
