"""Fetch the programs of the servers ahead of the tests, and say where they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from eventtracking_testkit.services._binaries import (
    find_axe,
    find_mongod,
    find_rabbitmq,
    find_redis,
)
from eventtracking_testkit.services.errors import ServiceUnavailableError


def main() -> int:
    """Look for each; exit status 1 if one cannot be had."""
    finders = (lambda: find_mongod()[0], find_redis, find_rabbitmq, find_axe)
    found = [_report(find) for find in finders]
    return 0 if all(found) else 1


def _report(find: Callable[[], Path]) -> bool:
    try:
        sys.stdout.write(f"{find()}\n")
    except ServiceUnavailableError as error:
        sys.stdout.write(f"{error}\n")
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
