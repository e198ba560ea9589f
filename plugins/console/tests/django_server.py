"""The Django project of the tests on a real server: `python django_server.py FOLDER asgi|wsgi`.

Prints its address and the session of a member of staff who may replay.
"""

from __future__ import annotations

import socket
import sys
import time

from django.core.management import call_command
from django_project import FOLDER, member

from eventtracking import tracker


def serve(kind: str, listener: socket.socket) -> None:
    """Serve until the process is ended."""
    if kind == "asgi":
        import uvicorn
        from django.core.asgi import get_asgi_application

        config = uvicorn.Config(get_asgi_application(), log_level="error", lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])
        return
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    server = ThreadedWSGIServer(listener.getsockname(), WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(get_wsgi_application())
    server.serve_forever()


def main(kind: str) -> None:
    """Have two dead letters, and a member of staff; then serve."""
    (FOLDER / "file").write_text("in the way")
    call_command("migrate", verbosity=0)
    for number in range(2):
        tracker.emit("edx.enrolled", {"n": number})
    deadline = time.monotonic() + 60
    while tracker.get_tracker().stats()["disk"].dead_lettered < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    session = member("owner", "view_console", "change_console").cookies["sessionid"].value
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]} {session}", flush=True)
        serve(kind, listener)


if __name__ == "__main__":
    main(sys.argv[2])
