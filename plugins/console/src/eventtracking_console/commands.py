"""The command `console`."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from contextlib import suppress
from typing import Any, Final

import click

from eventtracking_cli.config import config_option, load_config, tracker_of

__all__ = ["console"]

_PASSWORD_VARIABLE: Final = "EVENTTRACKING_CONSOLE_PASSWORD"  # noqa: S105 - the name of a variable
_BACKLOG: Final = 2048


@click.command("console")
@config_option
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--allow-host", "names", multiple=True, help="A further name by which browsers may call it."
)
@click.option("--allow-changes", is_flag=True, help="Let people replay dead letters.")
def console(
    config_path: str, port: int, host: str, names: tuple[str, ...], allow_changes: bool
) -> None:
    """Serve a web console; print the address to open, which works once.

    At another address than the loopback one it needs a password, in the environment variable
    EVENTTRACKING_CONSOLE_PASSWORD.
    """
    password = os.environ.get(_PASSWORD_VARIABLE) or None
    if not _is_loopback(host) and password is None:
        raise click.ClickException(
            f"{host} can be reached from other machines, and there is no password; set"
            f" {_PASSWORD_VARIABLE}, or leave --host out"
        )
    config = load_config(config_path)
    tracker = tracker_of(config, config_path)
    listener = _listen(host, port)
    token = secrets.token_urlsafe(32)
    shown = host if _is_loopback(host) else (names[0] if names else host)
    address = f"[{shown}]" if ":" in shown else shown
    click.echo(f"http://{address}:{listener.getsockname()[1]}/?token={token}")
    sys.stdout.flush()
    # A browser may connect from here on: the kernel keeps it waiting while the server is imported.
    import uvicorn

    from eventtracking_console.access import LOOPBACK, Access
    from eventtracking_console.web import console_app

    access = Access({*LOOPBACK, host.lower(), *(name.lower() for name in names)}, password, token)
    app = console_app(config, allow_changes=allow_changes, access=access, tracker=tracker)
    logging.basicConfig(level=logging.WARNING)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when all is closed
        _server(uvicorn, app).run(sockets=[listener])


def _server(uvicorn: Any, app: Any) -> Any:
    class Server(uvicorn.Server):  # type: ignore[misc]  # it is imported late, for a quick start
        def handle_exit(self, sig: int, frame: Any) -> None:
            """End; the streams of viewers are cancelled, which is no error."""
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(sig, frame)

    return Server(_settings(uvicorn, app))


def _settings(uvicorn: Any, app: Any) -> Any:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        http="h11",
        loop="asyncio",
        timeout_graceful_shutdown=1,
        limit_concurrency=500,
    )


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise click.ClickException(
            f"cannot listen at {host}:{port} ({error.strerror}); choose another --port"
        ) from error
    return listener
