"""The contract that every backend keeps, kept by this one, in each of its formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from eventtracking_testkit.contracts import BackendContract


def _events_of(request: Mapping[str, Any], body: bytes) -> list[dict[str, Any]]:
    kind = request["headers"]["content-type"]
    if "ndjson" in kind:
        return [json.loads(line) for line in body.decode().split("\n") if line]
    found = json.loads(body)
    if "cloudevents" not in kind:
        return list(found)
    return [one["data"] for one in (found if "batch" in kind else [found])]


class TestWebhookBackend(BackendContract):
    """The server sees an event as often as it comes, and knows it by its id."""

    plugin = "webhook"

    @pytest.fixture
    def options(self, endpoint: Any) -> Mapping[str, Any]:
        return {
            "url": endpoint.url,
            "headers": {"Authorization": "Bearer 5ecret"},
            "signing_secrets": ["whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"],
        }

    @pytest.fixture
    def stored(self, endpoint: Any, body_of: Any) -> Callable[[], list[dict[str, Any]]]:
        """Of each id the first."""

        def read() -> list[dict[str, Any]]:
            taken: dict[str, dict[str, Any]] = {}
            for request in endpoint.requests:
                for event in _events_of(request, body_of(request)):
                    if event["id"] in request["taken"]:
                        taken.setdefault(event["id"], event)
            return list(taken.values())

        return read

    @pytest.fixture
    def broken(self, endpoint: Any) -> Callable[[], AbstractContextManager[None]]:
        """Meanwhile the server answers 503."""

        @contextmanager
        def break_it() -> Iterator[None]:
            endpoint.tell(always={"status": 503})
            yield
            endpoint.tell()

        return break_it

    @pytest.fixture
    def other_options(self, server: Any, endpoint_of: Any) -> Mapping[str, Any]:
        return {"url": endpoint_of(server).url}
