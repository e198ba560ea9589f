"""Proxies, private CAs and secrets, on real connections."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from eventtracking import ConfigError, DeliveryError, Tracker
from eventtracking_testkit.samples import sample_events
from eventtracking_webhook.backend import WebhookBackend

Make = Callable[..., WebhookBackend]
PROXY_VARIABLES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A private CA, another one, and a certificate of the first for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("ca")
    paths = {name: folder / f"{name}.pem" for name in ("ca", "other", "certificate")}
    ca = trustme.CA()
    ca.cert_pem.write_to_path(paths["ca"])
    trustme.CA().cert_pem.write_to_path(paths["other"])
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(paths["certificate"])
    return paths


@pytest.fixture(scope="module")
def secure(start_server: Callable[..., Any], authority: dict[str, Path]) -> Any:
    """A server with a certificate of the private CA."""
    return start_server("--certificate", authority["certificate"])


@pytest.fixture(scope="module")
def proxy(start_server: Callable[..., Any]) -> Any:
    """An HTTP proxy, in a process of its own."""
    return start_server("--proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the environment in which it runs."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def methods(proxy: Any, path: str) -> list[tuple[str, str]]:
    """Return how the proxy was asked for an address, and by whom."""
    return [
        (r["method"], r["headers"].get("proxy-authorization", ""))
        for r in proxy.requests("")
        if path in r["path"]
    ]


def test_a_private_ca(make: Make, secure: Any, authority: dict[str, Path]) -> None:
    """A certificate of the given CA is trusted; without it, or with another one, nothing is sent,
    and the error says where to look.
    """
    events = sample_events(2)
    for ca_file in (None, authority["other"]):
        with pytest.raises(DeliveryError, match="ca_file"):
            make(url=f"{secure.url}/private", ca_file=ca_file).send(events)
    assert secure.requests("/private") == []
    make(url=f"{secure.url}/private", ca_file=authority["ca"]).send(events)
    assert secure.requests("/private")[0]["taken"] == [event.id for event in events]


def test_a_name_that_the_certificate_does_not_have(
    make: Make, secure: Any, authority: dict[str, Path]
) -> None:
    """The name in the URL must be that of the certificate."""
    url = secure.url.replace("127.0.0.1", "localhost")
    with pytest.raises(DeliveryError, match="no answer"):
        make(url=f"{url}/name", ca_file=authority["ca"]).send(sample_events(1))
    assert secure.requests("/name") == []


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_cannot_be_read(
    make: Make, server: Any, tmp_path: Path, content: str | None
) -> None:
    """A file that is missing or holds no certificate is named; correcting it needs no restart."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    backend = WebhookBackend(url=f"{server.url}/late", ca_file=file, proxy="")
    with pytest.raises(DeliveryError, match=r"ca\.pem"):
        backend.open()
    trustme.CA().cert_pem.write_to_path(file)
    backend.open()
    backend.send(sample_events(1))
    backend.close()


def test_a_proxy(make: Make, server: Any, proxy: Any) -> None:
    """A request without TLS passes through the proxy, which is told its user."""
    url = proxy.url.replace("http://", "http://us%40er:pass@")
    make(url=f"{server.url}/proxied", proxy=url).send(sample_events(1))
    (request,) = server.requests("/proxied")
    basic = base64.b64encode(b"us@er:pass").decode()
    assert methods(proxy, "/proxied") == [("FORWARD", f"Basic {basic}")]
    assert len(request["taken"]) == 1


def test_a_tunnel(make: Make, secure: Any, proxy: Any, authority: dict[str, Path]) -> None:
    """A request with TLS passes in a tunnel: the proxy sees the host alone, and the server none of
    the proxy's credentials.
    """
    url = proxy.url.replace("http://", "http://user:pass@")
    backend = make(url=f"{secure.url}/tunnel?t0ken", proxy=url, ca_file=authority["ca"])
    backend.send(sample_events(1))
    backend.send(sample_events(1))
    first, second = secure.requests("/tunnel")
    assert first["client"] == second["client"]
    assert "proxy-authorization" not in first["headers"]
    basic = base64.b64encode(b"user:pass").decode()
    assert methods(proxy, f"127.0.0.1:{secure.port}") == [("CONNECT", f"Basic {basic}")]


@pytest.mark.parametrize("named", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_proxy_of_the_environment(
    make: Make, endpoint: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """It is used unless the option says otherwise, or NO_PROXY names the host."""
    monkeypatch.setenv(named, proxy.url)
    make(proxy=None).send(sample_events(1))
    assert len(methods(proxy, endpoint.path)) == 1
    make(proxy="").send(sample_events(1))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    make(proxy=None).send(sample_events(1))
    assert len(methods(proxy, endpoint.path)) == 1
    assert len(endpoint.taken) == 3


def test_a_proxy_of_the_environment_that_is_none(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that speaks another protocol is reported, without its address."""
    monkeypatch.setenv("http_proxy", "socks5://user:s3cret@h0st")
    with pytest.raises(DeliveryError, match="unusable proxy") as caught:
        make(proxy=None)
    assert "s3cret" not in str(caught.value)


def test_a_proxy_that_is_down_or_drips(
    make: Make, secure: Any, start_server: Callable[..., Any], authority: dict[str, Path]
) -> None:
    """A proxy that refuses, or drips its answer, ends at the time limit."""
    dripping = start_server("--proxy", "--drip-tunnels")
    options = {"url": f"{secure.url}/x", "ca_file": authority["ca"], "timeout_s": 0.5}
    with pytest.raises(DeliveryError, match="no answer"):
        make(proxy=dripping.url, **options).send(sample_events(1))
    dripping.kill()
    with pytest.raises(DeliveryError, match="no answer"):
        make(proxy=dripping.url, **options).send(sample_events(1))


SECRETS = ("us3r", "p4ss", "p4th", "t0ken", "h3ader", "c2VjcmV0", "pr0xy")


def secret_config(server: Any, through: Any, /, **more: Any) -> dict[str, Any]:
    address = f"127.0.0.1:{server.port}/p4th/{more.pop('part', 'x')}?key=t0ken"
    webhook = {
        "plugin": "webhook",
        "url": f"http://us3r:p4ss@{address}",
        "headers": {"X-Key": "h3ader"},
        "signing_secrets": ["whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"],
        "proxy": through.url.replace("http://", "http://pr0xy:pr0xy@"),
    }
    return {"backends": {"hook": {**webhook, **more}}}


@pytest.mark.parametrize("status", [200, 302, 422, 503, 410])
def test_no_secret_shows(
    server: Any, endpoint_of: Any, proxy: Any, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Neither logs at any level, nor counts with their reasons, nor a repr holds a secret."""
    caplog.set_level(logging.DEBUG)
    config = secret_config(server, proxy, part=status)
    told = endpoint_of(server, f"/p4th/{status}")
    told.tell(always={"status": status, "headers": {"Location": "/t0ken"}})
    with Tracker.from_config(config) as tracker:
        tracker.emit("demo.happened", {})
        counts = tracker.stats()["hook"]
        shown = f"{counts!r} {counts.reasons} {tracker.routes()!r} {caplog.text}"
    assert (counts.delivered, counts.failed) == ((1, 0) if status == 200 else (0, 1))
    assert [secret for secret in SECRETS if secret in shown + caplog.text] == []


def test_no_secret_shows_without_an_answer(
    server: Any, proxy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does the error of a broken connection, its causes included."""
    caplog.set_level(logging.DEBUG)
    config = secret_config(server, proxy)["backends"]["hook"]
    del config["plugin"], config["proxy"]
    config["url"] = config["url"].replace(str(server.port), "1")
    backend = WebhookBackend(**config, proxy="")
    backend.open()
    with pytest.raises(DeliveryError) as caught:
        backend.send(sample_events(1))
    backend.close()
    chain: list[BaseException | None] = [caught.value, caught.value.__cause__]
    chain.append(caught.value.__context__)
    shown = f"{chain} {backend!r} {caplog.text}"
    assert [secret for secret in SECRETS if secret in shown] == []


def test_no_secret_shows_in_problems(server: Any, proxy: Any) -> None:
    """Nor does the report on a config that cannot be used."""
    wrong = {
        "url": "htp://us3r:p4ss@h/p4th?t0ken",
        "headers": {"X-Key": "h3ader\n"},
        "proxy": "htp://pr0xy",
        "signing_secrets": ["whsec_c2VjcmV0"],
    }
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(secret_config(server, proxy, **wrong))
    paths = {problem.path.removeprefix("backends.hook.") for problem in caught.value.problems}
    assert paths == {"url", "headers", "proxy", "signing_secrets[0]"}
    assert [secret for secret in SECRETS if secret in str(caught.value)] == []


def test_records_of_others_are_kept(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3's records of other requests in the process still reach the log."""
    caplog.set_level(logging.DEBUG)
    make().send(sample_events(1))
    logging.getLogger("urllib3.connectionpool").debug("of another library")
    assert "of another library" in caplog.text
    assert "POST" not in caplog.text
