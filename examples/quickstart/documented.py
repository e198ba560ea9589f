"""Show the documentation of a stored event: `python documented.py FILE NAME`."""

import json
import sqlite3
import sys
from contextlib import closing

DOCUMENTATION = """
SELECT record.data
FROM events AS event JOIN events AS record
  ON record.name = 'eventtracking.event_type'
 AND json_extract(record.data, '$.schema') = json_extract(event.extra, '$.schema')
WHERE event.name = ?
ORDER BY event.timestamp DESC, record.timestamp DESC
LIMIT 1
"""


def main(path: str, name: str) -> None:
    """Print what the last event of that name means."""
    with closing(sqlite3.connect(path)) as store:
        (data,) = store.execute(DOCUMENTATION, (name,)).fetchone()
    record = json.loads(data)
    print(f"{record['schema']}: {record['description']}")
    for field, facts in record["fields"].items():
        print(f"  {field} ({facts['type']}): {facts['description']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
