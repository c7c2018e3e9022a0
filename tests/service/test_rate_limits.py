"""Rates as callers meet them: exact across replicas, said in headers, and none where there are no keys."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.settings import AuthSettings, Settings
from tests.redis_server import redis_server
from tests.service.running import serving
from tests.service.scripted_process import scripted_process

SECRET, KEY = new_key("web", "answer,feedback")
OTHER_SECRET, OTHER_KEY = new_key("other", "answer")
LINES = f"{KEY.line};{OTHER_KEY.line}"


def _ask(url: str, secret: str = SECRET, **fields: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{url}/v1/answer", json={"prompt": "q", **fields}, headers=headers, timeout=60)


def test_two_replicas_on_one_redis_keep_one_rate(tmp_path: Path) -> None:
    """60 requests at two processes, of which 25 may: exactly 25 are answered. Of 80 samples, 20 times 4 are drawn."""
    with redis_server(tmp_path) as redis:
        env = {
            "DEMUR_STORE__URL": redis.url,
            "DEMUR_STORE__TIMEOUT_S": "10",
            "DEMUR_STORE__CACHE_TTL_S": "0",  # an answer that is remembered costs no samples
            "DEMUR_AUTH__API_KEYS": LINES,
            "DEMUR_AUTH__RATE_LIMIT": "25/1h",
            "DEMUR_AUTH__RATE_LIMIT_SAMPLES": "80/1h",
        }
        with scripted_process(**env) as one, scripted_process(**env) as two, ThreadPoolExecutor(12) as pool:
            urls = [one.url, two.url] * 30
            statuses = Counter(pool.map(lambda url: _ask(url, sampling={"n": 2}).status_code, urls))
            assert statuses == {200: 25, 429: 35}
            by_samples = Counter(
                pool.map(lambda url: _ask(url, OTHER_SECRET, sampling={"n": 4}).status_code, urls[:24])
            )
            assert by_samples == {200: 20, 429: 4}


@pytest.fixture
def limited() -> Settings:
    return Settings(auth=AuthSettings(api_keys=SecretStr(LINES), rate_limit="3/60s", rate_limit_samples="1000/60s"))


def test_a_refusal_says_when_to_come_back(limited: Settings) -> None:
    """429 as a problem, with Retry-After and what OpenAI's clients look for; another key is not held up by it."""
    with serving({"q": ["Paris"]}, settings=limited) as service:
        answered = [_ask(service.url) for _ in range(3)]
        assert [r.headers["x-ratelimit-remaining-requests"] for r in answered] == ["2", "1", "0"]
        refused = _ask(service.url)
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/rate-limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-should-retry"] == "true"
        assert refused.headers["ratelimit-policy"].startswith('"requests";q=3;w=60')
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert _ask(service.url, OTHER_SECRET).status_code == 200


def test_what_can_never_be_drawn_is_a_wrong_field() -> None:
    """More samples in one question than the rate allows in all: 422, which no client repeats."""
    settings = Settings(auth=AuthSettings(api_keys=SecretStr(LINES), rate_limit_samples="5/60s"))
    with serving({"q": ["Paris"]}, settings=settings) as service:
        response = _ask(service.url, quality="thorough")
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/sampling/n")
        assert response.headers["x-should-retry"] == "false"


def test_without_keys_nobody_is_held_up() -> None:
    """A person alone on their machine may ask as fast as they like."""
    with serving({"q": ["Paris"]}, settings=Settings(auth=AuthSettings(rate_limit="1/60s"))) as service:
        responses = [service.ask("q") for _ in range(5)]
        assert [r.status_code for r in responses] == [200] * 5
        assert not any(name.startswith(("ratelimit", "x-ratelimit")) for name in responses[-1].headers)
