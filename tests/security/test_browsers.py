"""What a browser is told, and whose pages may call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demur.settings import ServerSettings, Settings
from tests.service.running import Service, serving

OURS, THEIRS = "https://app.example", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def closed() -> Iterator[Service]:
    with serving({"q": ["Paris"]}) as running:
        yield running


@pytest.fixture(scope="module")
def shared() -> Iterator[Service]:
    with serving({"q": ["Paris"]}, settings=Settings(server=ServerSettings(cors_origins=(OURS,)))) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/livez"), ("GET", "/nowhere"), ("POST", "/v1/answer"), ("GET", "/problems/internal")]
)
def test_every_reply_forbids_what_no_reply_needs(closed: Service, method: str, path: str) -> None:
    """No sniffing, no frame, no script, no referrer, no copy; nor the name of the server."""
    headers = closed.client.request(method, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_the_page_about_the_service_may_run_its_script(closed: Service) -> None:
    """/docs has a policy of its own, and still no frame around it."""
    policy = closed.client.get("/docs").headers["content-security-policy"]
    assert "default-src 'self' https:" in policy
    assert "frame-ancestors 'none'" in policy


def test_no_page_from_elsewhere_may_call(closed: Service) -> None:
    """Nothing allows it, so a browser does not; the preflight is refused."""
    preflight = closed.client.options("/v1/answer", headers={"Origin": THEIRS, **PREFLIGHT})
    answered = closed.client.post("/v1/answer", json={"prompt": "q"}, headers={"Origin": THEIRS})
    assert preflight.status_code == 405
    for response in (preflight, answered):
        assert not any(name.startswith("access-control-") for name in response.headers)


def test_named_origins_may_call_and_no_others(shared: Service) -> None:
    """The named one reads the reply and its headers; cookies are never asked for."""
    preflight = shared.client.options("/v1/answer", headers={"Origin": OURS, **PREFLIGHT})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, OURS)
    answered = shared.client.post("/v1/answer", json={"prompt": "q"}, headers={"Origin": OURS})
    assert answered.headers["access-control-allow-origin"] == OURS
    assert "access-control-allow-credentials" not in answered.headers
    refused = shared.client.options("/v1/answer", headers={"Origin": THEIRS, **PREFLIGHT})
    stranger = shared.client.post("/v1/answer", json={"prompt": "q"}, headers={"Origin": THEIRS})
    assert refused.status_code == 400
    for response in (refused, stranger):
        assert response.headers.get("access-control-allow-origin") != THEIRS
        assert response.headers.get("access-control-allow-origin") != "*"
