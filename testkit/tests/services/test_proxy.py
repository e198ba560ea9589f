"""The proxy passes bytes, and spoils the network in each of the ways it promises."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest

from eventtracking_testkit.services.proxy import TcpProxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture
def echo() -> Iterator[int]:
    """Give the port of a server that sends back what it gets."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: int, new_tcp_proxy: Callable[[int], TcpProxy]) -> TcpProxy:
    """Give a proxy before the echo."""
    return new_tcp_proxy(echo)


@contextlib.contextmanager
def connected(proxy: TcpProxy, timeout_s: float = 10.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout_s) as client:
        yield client


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        part = client.recv(65_536)
        assert part, "the connection ended"
        answer += part
    return answer


def is_silent(client: socket.socket) -> bool:
    client.settimeout(0.4)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(10.0)


def test_it_passes_everything(proxy: TcpProxy) -> None:
    """Small and large answers arrive whole, and the end of the client's side reaches the server."""
    with connected(proxy) as client:
        assert ask(client, b"small") == b"small"
        large = bytes(range(256)) * 20_000
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(_read_all(client)))
        reader.start()
        client.sendall(large)
        client.shutdown(socket.SHUT_WR)
        reader.join()
        assert answers == [large]
    assert proxy.accepted == 1


def _read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_it_refuses_and_passes_again(proxy: TcpProxy) -> None:
    """Open connections are reset and new ones refused; then the same port works again."""
    with connected(proxy) as client:
        ask(client, b"x")
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError), connected(proxy):
        pass
    proxy.let_pass()
    with connected(proxy) as client:
        assert ask(client, b"back") == b"back"


def test_a_black_hole_takes_and_never_answers(proxy: TcpProxy) -> None:
    """Old and new connections stay open and silent; what they sent passes afterwards."""
    with connected(proxy) as old:
        ask(old, b"x")
        proxy.black_hole()
        with connected(proxy) as new:
            for client in (old, new):
                client.sendall(b"held")
                assert is_silent(client)
            proxy.let_pass()
            assert [client.recv(4) for client in (old, new)] == [b"held", b"held"]


def test_a_hang_spares_new_connections(proxy: TcpProxy) -> None:
    """Only the connections that were open are stuck."""
    with connected(proxy) as old, connected(proxy) as new:
        assert (ask(old, b"x"), ask(new, b"x")) == (b"x", b"x")
        proxy.hang()
        old.sendall(b"stuck")
        assert is_silent(old)
        with connected(proxy) as later:
            assert ask(later, b"free") == b"free"
        proxy.let_pass()
        assert old.recv(5) == b"stuck"


def test_a_cut_resets_and_new_ones_work(proxy: TcpProxy) -> None:
    """The client sees a reset, not an orderly end; a new connection works at once."""
    with connected(proxy) as client:
        ask(client, b"x")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connected(proxy) as client:
        assert ask(client, b"again") == b"again"


def test_a_cut_half_way_lets_that_much_pass(proxy: TcpProxy) -> None:
    """The server gets exactly the first bytes; then both sides see the reset."""
    proxy.cut_after(3)
    with connected(proxy) as client:
        client.sendall(b"abcdef")
        with pytest.raises(ConnectionResetError):
            _read_all(client)
    proxy.let_pass()
    with connected(proxy) as client:
        assert ask(client, b"whole again") == b"whole again"


def test_a_missing_target_resets_its_client(
    new_tcp_proxy: Callable[[int], TcpProxy], echo: int
) -> None:
    """With nothing behind the proxy, its client is cut, not left hanging."""
    inner = new_tcp_proxy(echo)
    outer = new_tcp_proxy(inner.port)
    inner.refuse()
    with (
        pytest.raises(ConnectionResetError),
        connected(outer) as client,
    ):  # it may come with the connection already
        client.recv(1)


def test_closing_in_any_state_leaves_no_thread(echo: int) -> None:
    """Closing ends every thread, also those that hold back a connection."""
    before = threading.active_count()
    for spoil in (TcpProxy.let_pass, TcpProxy.black_hole, TcpProxy.hang, TcpProxy.refuse):
        with TcpProxy(echo) as proxy, connected(proxy) as client:
            ask(client, b"x")
            spoil(proxy)
        proxy.close()
        assert [
            thread for thread in threading.enumerate() if thread.name == f"tcp-proxy-{proxy.port}"
        ] == []
    assert threading.active_count() <= before + 4  # the echo's own handlers may still be ending
