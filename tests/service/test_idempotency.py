"""`Idempotency-Key`: sent twice, done once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import AuthSettings, Settings, StoreSettings
from tests.redis_server import DURABLE, RedisServer, redis_server
from tests.service.running import Service, serving, wait_for

SCRIPT = {
    "q": ["Paris"],
    "slow": [ScriptedAnswer("Paris", delay_seconds=2)],
    "endless": [ScriptedAnswer("Paris", delay_seconds=60)],
    "fails": [ScriptedAnswer(error="out of order")],
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module", params=["SQLite", "Redis"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if request.param == "Redis":
        url = request.getfixturevalue("redis").url
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('store')}/demur.sqlite3"
    with serving(SCRIPT, settings=_settings(url)) as running:
        yield running


def _settings(url: str, **store: object) -> Settings:
    return Settings(store=StoreSettings.model_validate({"url": url, "timeout_s": 5, **store}))


def _post(service: Service, key: str, prompt: str = "q", path: str = "/v1/answer", **headers: str) -> httpx2.Response:
    return service.client.post(path, json={"prompt": prompt}, headers={"Idempotency-Key": key, **headers})


def test_a_repeated_request_gets_the_first_reply(service: Service) -> None:
    """The same bytes, the same verdict headers, said to be a replay; nothing is drawn again."""
    first = _post(service, "one")
    n_drawn = service.sampler.n_started
    again = _post(service, "one")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-demur-answer-id"] == first.headers["x-demur-answer-id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert service.sampler.n_started == n_drawn


def test_the_alias_is_the_same_route_and_feedback_another(service: Service) -> None:
    """A key belongs to what is done, not to how the path is written."""
    first = _post(service, "route", path="/v1/answer")
    assert _post(service, "route", path="/answer").headers["idempotency-replayed"] == "true"
    body = {"answer_id": first.json()["id"], "label": "correct"}
    given = service.client.post("/v1/feedback", json=body, headers={"Idempotency-Key": "route"})
    assert (given.status_code, "idempotency-replayed" in given.headers) == (202, False)


def test_a_key_of_another_request_is_refused(service: Service) -> None:
    """422, and the first reply stays what it was."""
    first = _post(service, "mismatch")
    other = service.client.post("/v1/answer", json={"prompt": "other"}, headers={"Idempotency-Key": "mismatch"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-mismatch")
    assert _post(service, "mismatch").content == first.content


def test_while_the_first_runs_the_second_waits_outside(service: Service) -> None:
    """409 with a time to come back; then the reply of the first. Eight at once: it is done once."""
    n_drawn = service.sampler.n_started
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: _post(service, "running", "slow"), range(8)))
    assert sorted(r.status_code for r in replies) == [200] + [409] * 7
    refused = next(r for r in replies if r.status_code == 409)
    assert refused.json()["type"] == "/problems/idempotency-in-progress"
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("2", "true")
    assert _post(service, "running", "slow").headers["idempotency-replayed"] == "true"
    assert service.sampler.n_started == n_drawn + 11


@pytest.mark.parametrize(("body", "status"), [({"prompt": ""}, 422), ({"prompt": "fails"}, 502), ({"prompt": 7}, 422)])
def test_a_refusal_is_not_kept(service: Service, body: dict[str, object], status: int) -> None:
    """Neither what the caller can mend nor what may pass by itself: the key is free again."""
    key = f"refused-{body['prompt']}"
    headers = {"Idempotency-Key": key}
    for _ in range(2):
        response = service.client.post("/v1/answer", json=body, headers=headers)
        assert (response.status_code, "idempotency-replayed" in response.headers) == (status, False)
    assert _post(service, key).status_code == 200


def test_a_departed_client_leaves_its_key_free(service: Service) -> None:
    """Hung up while the work ran: it was cancelled, so the same request may be sent again."""
    with pytest.raises(httpx2.ReadTimeout):
        service.client.post(
            "/v1/answer", json={"prompt": "endless"}, headers={"Idempotency-Key": "departed"}, timeout=0.5
        )
    wait_for(lambda: service.sampler.n_running == 0, "the draws to be cancelled")
    wait_for(lambda: _post(service, "departed").status_code == 200, "the key to be free")


@pytest.mark.parametrize("key", ["", "k" * 256, "a b", "caf\xe9", "tab\there"])
def test_a_key_must_be_short_and_plain(service: Service, key: str) -> None:
    """400, saying what a key is; 255 characters are still one."""
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    response = service.client.post("/v1/answer", json={"prompt": "q"}, headers=headers)
    assert (response.status_code, response.json()["type"]) == (400, "/problems/invalid-request")
    assert "255" in response.json()["detail"]
    assert _post(service, "k" * 255).status_code == 200


def test_two_tenants_may_use_the_same_key(tmp_path: Path) -> None:
    """Neither gets the other's reply, nor learns that the key is in use."""
    (one, key_one), (two, key_two) = new_key("one", "answer"), new_key("two", "answer")
    auth = AuthSettings(api_keys=SecretStr(f"{key_one.line};{key_two.line}"))
    settings = _settings(f"sqlite:///{tmp_path}/demur.sqlite3").model_copy(update={"auth": auth})
    with serving(SCRIPT, settings=settings) as service:
        replies = [_post(service, "same", Authorization=f"Bearer {secret}") for secret in (one, two)]
        assert [r.status_code for r in replies] == [200, 200]
        assert not any("idempotency-replayed" in r.headers for r in replies)
        assert replies[0].json()["id"] != replies[1].json()["id"]


def test_switched_off_a_key_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    """Who sends one relies on it."""
    with serving(SCRIPT, settings=_settings(f"sqlite:///{tmp_path}/x.sqlite3", idempotency_ttl_s=0)) as service:
        assert _post(service, "off").status_code == 400
        assert service.ask("q").status_code == 200


def test_without_its_store_a_key_is_refused_and_no_key_is_answered(tmp_path: Path) -> None:
    """Redis killed: 503 store-unavailable, nothing is drawn; without a key the answer comes. Back: both again."""
    with redis_server(tmp_path) as redis, serving(SCRIPT, settings=_settings(redis.url)) as service:
        assert _post(service, "before").status_code == 200
        redis.kill()
        n_drawn = service.sampler.n_started
        refused = _post(service, "during")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert service.sampler.n_started == n_drawn
        assert service.ask("q").status_code == 200
        redis.start()
        wait_for(lambda: _post(service, "before").status_code == 200, "the store to be back")
        assert _post(service, "before").headers["idempotency-replayed"] == "true"


def test_a_reply_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    """Redis killed while the answer is drawn: the answer is given, and the key is known not to protect it."""
    with redis_server(tmp_path, DURABLE) as redis, serving(SCRIPT, settings=_settings(redis.url)) as service:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(_post, service, "lost", "slow")
            wait_for(lambda: service.sampler.n_running > 0, "the work to begin")
            redis.kill()
            reply = asked.result()
        assert (reply.status_code, reply.headers["idempotency-kept"]) == (200, "false")
