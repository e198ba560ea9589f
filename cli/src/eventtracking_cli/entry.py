"""The entry point of the command `eventtracking`, which works where the package `eventtracking`
does not.

event-tracking installs into the same folder, and may have put its modules in the place of ours.
"""

from __future__ import annotations

import runpy
import sys
from contextlib import suppress
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say why it cannot run."""
    try:
        from eventtracking_cli.app import main as run
    except ImportError as error:
        sys.exit(_told(error))
    run()


def _told(error: ImportError) -> str:
    """Tell the problem of the installation, and the commands that mend it."""
    text = f"eventtracking: the package cannot be imported ({error}); its files are damaged"
    found = find_spec("eventtracking_legacy")  # found, not imported: it needs `eventtracking`
    for folder in () if found is None else found.submodule_search_locations or ():
        with suppress(ImportError, OSError):
            module = runpy.run_path(f"{folder}/environment.py")
            return "\n".join([text, *module["check_environment"]().lines()])
    return f"{text}\n  pip install --force-reinstall --no-deps eventtracking"
