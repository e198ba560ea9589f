"""Contract suites: what every backend, router, processor and observer must keep.

A plugin's tests subclass one, and inherit the tests.

The least::

    import pytest
    from eventtracking_testkit.contracts import BackendContract


    class TestMyBackend(BackendContract):
        plugin = "mine"

See each class for what more it can be told, and so shows.
"""

from eventtracking_testkit.contracts.backend import BackendContract
from eventtracking_testkit.contracts.observer import ObserverContract
from eventtracking_testkit.contracts.processor import ProcessorContract
from eventtracking_testkit.contracts.router import RouterContract

__all__ = ["BackendContract", "ObserverContract", "ProcessorContract", "RouterContract"]
