"""The static site of a catalog: `pages` makes the HTML, `write` the files."""

from eventtracking_catalog.site.write import write_site

__all__ = ["write_site"]
