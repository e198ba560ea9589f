"""The plugin `logger` keeps the contract of backends."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventtracking_testkit.contracts import BackendContract
from eventtracking_testkit.contracts.backend import Broken, Stored


class _BrokenHandler(logging.Handler):
    """Raises into the logger, as a handler on a full disk may."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("no space left on device")


class TestLogger(BackendContract):
    """Each line goes to a file, through a handler of the standard library."""

    plugin = "logger"
    stores_once = False  # a log cannot tell that a line comes twice

    def forget(self) -> None:
        """Empty the handlers of pytest, which keep every record."""
        for handler in logging.getLogger().handlers:
            getattr(handler, "reset", list)()

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"name": "contract.logger"}

    @pytest.fixture
    def stored(self, tmp_path: Path) -> Iterator[Stored]:
        path = tmp_path / "tracking.log"
        handler = logging.FileHandler(path, encoding="utf-8")
        logger = logging.getLogger("contract.logger")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
        yield lambda: [
            json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]
        ]
        logger.removeHandler(handler)
        handler.close()

    @pytest.fixture
    def broken(self) -> Broken:
        @contextmanager
        def break_it() -> Iterator[None]:
            logger, handler = logging.getLogger("contract.logger"), _BrokenHandler()
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
            yield
            logger.removeHandler(handler)

        return break_it
