"""Show the last events of an SQLite store: `python stored.py FILE COUNT`."""

import json
import sqlite3
import sys
from contextlib import closing

COUNT = "SELECT count(*) FROM events WHERE name NOT LIKE 'eventtracking.%'"
LAST = """
SELECT timestamp, name, context, data FROM events
WHERE name NOT LIKE 'eventtracking.%'
ORDER BY timestamp DESC, id DESC LIMIT ?
"""


def main(path: str, count: str) -> None:
    """Print how many events there are, and the last of them, oldest first."""
    with closing(sqlite3.connect(path)) as store:
        (total,) = store.execute(COUNT).fetchone()
        rows = store.execute(LAST, (int(count),)).fetchall()
    print(f"{path} holds {total} events; the last {len(rows)}:")
    for timestamp, name, context, data in reversed(rows):
        print(
            f"  {timestamp[:19]}  {name:<30} user {json.loads(context).get('user_id', '-')}  {data}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
