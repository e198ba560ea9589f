"""Resources of a parent process, kept from being finalised in a forked child.

A child inherits sockets, files and locks in the state that the parent's other threads had left.
Closing or finalising one there can end the parent's session, or wait for a lock forever.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["abandon"]

_abandoned: Final[list[Any]] = []
"""Referenced until the process ends, and past it: see `abandon`."""


def abandon(thing: Any) -> None:
    """Keep an inherited object alive for good: no finaliser of it runs, not even at the exit.

    Call it in `open()`, in a forked child, before you replace the parent's object.

    Example:
        >>> class Client:
        ...     def open(self):
        ...         if self.pid != os.getpid():
        ...             abandon(self.connection)
        ...         self.connection, self.pid = connect(), os.getpid()
    """
    _abandoned.append(thing)
    _leak(thing)


def _leak(thing: Any) -> None:
    """Take a reference that is never given back.

    The interpreter clears its modules at the exit, and so the list above; a reference that no
    object holds is out of its reach.
    """
    import ctypes  # for a forked child with an object to abandon alone

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
