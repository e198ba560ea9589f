"""Celery's own command, run as a script: `python .../launch.py -A APP worker`.

It imports nothing before Celery has looked for `--pool gevent`, which patches the standard library.
`python -m celery` would do, but takes a file celery.py of the working folder for Celery.
"""

import sys


def main() -> None:
    """Run it; the exit status is Celery's."""
    del sys.path[0]  # this folder: its modules have names of their own package
    from celery.__main__ import main as celery

    celery()


if __name__ == "__main__":
    main()
