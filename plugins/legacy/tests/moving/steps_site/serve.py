# mypy: ignore-errors
"""Serve the site on a port, as a WSGI server does: without Django's checks before it."""

import sys
from wsgiref.simple_server import make_server

from django.core.wsgi import get_wsgi_application

server = make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application())
print("ready", flush=True)
server.serve_forever()
