"""Show the stored events: when, who, what."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

STORE = Path(__file__).parent / "var" / "events.db"


def main() -> None:
    """Print one line for each event."""
    if not STORE.exists():
        raise SystemExit("no event is stored yet: run `make`, and click something")
    with sqlite3.connect(STORE) as connection:
        for moment, name, context, data in connection.execute(
            "SELECT timestamp, name, context, data FROM events ORDER BY timestamp"
        ):
            known = json.loads(context)
            print(
                f"{moment}  {known.get('username', '-'):10} {known.get('path', '-'):24} {name:24}"
                f" {data}"
            )


if __name__ == "__main__":
    main()
