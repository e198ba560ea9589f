"""Test a plugin of `eventtracking` as its own are tested."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventtracking_testkit._captured import CapturedEvents
    from eventtracking_testkit.contracts import BackendContract, ProcessorContract, RouterContract
    from eventtracking_testkit.distribution import fake_distribution

__all__ = [
    "BackendContract",
    "CapturedEvents",
    "ProcessorContract",
    "RouterContract",
    "fake_distribution",
]

# Imported when they are asked for: pytest loads this package in every run, also where no plugin is
# tested.
_MODULES = {
    "BackendContract": "contracts",
    "CapturedEvents": "_captured",
    "ProcessorContract": "contracts",
    "RouterContract": "contracts",
    "fake_distribution": "distribution",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
