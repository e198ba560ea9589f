"""The entry point of the command `eventtracking`, which works where the package `eventtracking`
does not.

event-tracking installs into the same folder, and may have put its modules in the place of ours.
"""

from __future__ import annotations

import runpy
import sys
from importlib.metadata import PackageNotFoundError, distribution

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say why it cannot run."""
    try:
        from eventtracking_cli.app import main as run
    except ImportError as error:
        sys.exit(_told(error))
    run()


def _told(error: ImportError) -> str:
    """Tell what is wrong with the installation, and the commands that mend it."""
    text = f"eventtracking: the package cannot be imported ({error}); its files are damaged"
    try:
        found = distribution("eventtracking-legacy").locate_file("eventtracking_legacy")
        # by its path: importing the package would need `eventtracking`
        module = runpy.run_path(f"{found}/environment.py")
        return "\n".join([text, *module["check_environment"]().lines()])
    except (PackageNotFoundError, ImportError, OSError):
        return f"{text}\n  pip install --force-reinstall --no-deps eventtracking"
