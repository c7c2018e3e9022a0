"""Which server is asked next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from demur.samplers.endpoints import MAX_FAILURES, REST_SECONDS, Endpoint, preferred, retry_after_seconds

CLIENT = AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:1/v1")


def endpoint(name: str = "a", n_inflight: int = 0) -> Endpoint:
    return Endpoint(name, CLIENT, n_inflight=n_inflight)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1))
def test_the_least_busy_of_the_healthy_is_preferred(states: list[tuple[int, bool]]) -> None:
    """A resting one only where all rest."""
    endpoints = [endpoint(str(i), n) for i, (n, _) in enumerate(states)]
    for candidate, (_, rests) in zip(endpoints, states, strict=True):
        if rests:
            candidate.fail(is_unreachable=True)
    chosen = preferred(endpoints)
    rivals = [e for e in endpoints if e.is_resting == chosen.is_resting]
    assert chosen.n_inflight == min(e.n_inflight for e in rivals)
    assert not chosen.is_resting or all(rests for _, rests in states)


def test_failures_in_a_row_put_a_server_to_rest() -> None:
    """One success between them forgives; a single one may be the request's own fault."""
    shaky = endpoint()
    for _ in range(MAX_FAILURES - 1):
        shaky.fail()
    shaky.succeed()
    for _ in range(MAX_FAILURES - 1):
        shaky.fail()
    assert not shaky.is_resting
    shaky.fail()
    assert shaky.is_resting
    shaky.succeed()
    assert not shaky.is_resting


def test_an_unreachable_server_rests_at_once_and_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is tried again."""
    gone, now = endpoint(), 1000.0
    monkeypatch.setattr("demur.samplers.endpoints.time.monotonic", lambda: now)
    gone.fail(is_unreachable=True)
    assert gone.is_resting
    now += REST_SECONDS
    assert not gone.is_resting


@pytest.mark.parametrize(("value", "seconds"), [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("", None)])
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    """Nothing is made of what cannot be read."""
    assert retry_after_seconds(httpx2.Headers({"retry-after": value})) == seconds


def test_retry_after_as_a_date() -> None:
    """The other form that HTTP allows."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    found = retry_after_seconds(httpx2.Headers({"retry-after": date}))
    assert found is not None
    assert 35 < found <= 40
    assert retry_after_seconds(httpx2.Headers({})) is None
