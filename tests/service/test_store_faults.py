"""The store away, slow, full, emptied or refusing: answers go on, nothing is acknowledged that is not kept, and all is
well again without a restart. Real Redis, real signals, a real network to cut, a real disk to fill.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from redis.exceptions import ConnectionError

from demur.doctor import Finding, examine
from demur.errors import NotFound, StoreUnavailable
from demur.settings import NLISettings, SamplerSettings, Settings, StoreSettings
from demur.storage import redis_calls, sqlite_file
from demur.storage.circuit import Circuit
from demur.storage.redis import RedisStore
from tests.records import record
from tests.redis_server import DURABLE, FORMS, START_SECONDS, RedisServer, redis_server
from tests.service.running import Service, serving, wait_for
from tests.tcp_proxy import tcp_proxy


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def service(redis: RedisServer) -> Iterator[Service]:
    with _service(redis.url) as running:
        yield running


def _service(url: str, timeout_seconds: float = 0.25) -> Any:
    settings = Settings(store=StoreSettings(url=url, timeout_s=timeout_seconds))
    return serving({"q": ["Paris"]}, settings=settings)


def _is_stored(service: Service) -> bool:
    """Asks a question, which is answered in any case."""
    response = service.ask()
    assert response.status_code == 200, response.text
    stored: bool = response.json()["stored"]
    return stored


def _stored_answer(service: Service) -> str:
    """The id of an answer that was kept; keeps asking until one is."""
    ids: list[str] = []

    def is_kept() -> bool:
        body = service.ask().json()
        ids.append(body["id"])
        return bool(body["stored"])

    wait_for(is_kept, "an answer to be stored")
    return ids[-1]


def _label(service: Service, answer_id: str) -> httpx2.Response:
    return service.client.post("/v1/feedback", json={"answer_id": answer_id, "label": "correct"})


def _state(service: Service) -> str:
    ready = service.client.get("/readyz")
    assert ready.status_code == 200
    state: str = ready.json()["store"]["state"]
    return state


def _assert_refused(response: httpx2.Response, status: int, slug: str) -> None:
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")


def _assert_works_without(service: Service, answer_id: str, state: str = "away") -> None:
    """Answers are given and say that they are not kept; feedback is refused, to be sent again; ready all the same."""
    wait_for(lambda: not _is_stored(service), "the store to be missed")
    refused = _label(service, answer_id)
    _assert_refused(refused, 503, "store-unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    wait_for(lambda: _state(service) == state, f"the store to be called {state}")
    text = service.client.get("/metrics").text
    assert 'demur_store_writes_total{outcome="store-unavailable",record="answer"}' in text
    assert 'demur_store_writes_total{outcome="store-unavailable",record="feedback"}' in text


def _assert_works_again(service: Service, *kept: str) -> None:
    """Without a restart of the service; `kept` were acknowledged before."""
    new = _stored_answer(service)
    wait_for(lambda: _state(service) == "ok", "the store to be well")
    for answer_id in (new, *kept):
        wait_for(lambda known=answer_id: _label(service, known).status_code == 202, "feedback to be taken")  # type: ignore[misc]
        assert service.client.get(f"/v1/answers/{answer_id}").json()["id"] == answer_id


def test_redis_that_is_not_there_yet_is_met_later(tmp_path: Path) -> None:
    """The service starts without it."""
    redis = RedisServer(tmp_path)
    with _service(redis.url) as service:
        _assert_works_without(service, "ans_1")
        redis.start()
        try:
            _assert_works_again(service)
        finally:
            redis.kill()


def test_redis_killed_and_started_again(service: Service, redis: RedisServer) -> None:
    """`kill -9`; what was acknowledged is there afterwards."""
    kept = _stored_answer(service)
    redis.kill()
    _assert_works_without(service, kept)
    redis.start()
    _assert_works_again(service, kept)


def test_redis_paused(service: Service, redis: RedisServer) -> None:
    """SIGSTOP: connections stay open and nothing comes back."""
    kept = _stored_answer(service)
    with redis.paused():
        _assert_works_without(service, kept)
    _assert_works_again(service, kept)


def test_redis_emptied(service: Service, redis: RedisServer) -> None:
    """What was there is unknown, as if it had never been; what comes is kept."""
    gone = _stored_answer(service)
    with redis.client() as client:
        client.flushall()
    assert service.client.get(f"/v1/answers/{gone}").status_code == 404
    _assert_refused(_label(service, gone), 404, "not-found")
    assert service.client.get("/v1/feedback").json()["data"] == []
    _assert_works_again(service)


def test_redis_that_became_a_replica(service: Service, redis: RedisServer) -> None:
    """It reads and refuses to write (READONLY), as after a failover that the service has not heard of."""
    kept = _stored_answer(service)
    with redis.client() as client:
        client.replicaof("127.0.0.1", 1)
        client.config_set("replica-serve-stale-data", "yes")
        _assert_works_without(service, kept)
        assert service.client.get(f"/v1/answers/{kept}").status_code == 200
        client.replicaof("NO", "ONE")
    _assert_works_again(service, kept)


def test_redis_that_is_still_loading(service: Service, redis: RedisServer) -> None:
    """It answers every command with LOADING while it reads its files after a start."""
    kept = _stored_answer(service)
    with redis.client() as client, client.pipeline(transaction=False) as pipe:
        for i in range(80_000):  # 16 s at 0.2 ms a key, cut short below; it listens after every 1024th
            pipe.set(f"filler:{i}", i)
        pipe.execute()
    redis.kill()
    redis.start([*DURABLE, "--key-load-delay", "200"], is_answering=False)
    with redis.client() as client:
        wait_for(lambda: _is_loading(client), "redis-server to load")
        _assert_works_without(service, kept)
        assert _is_loading(client)
        client.config_set("key-load-delay", 0)
    redis.wait()
    _assert_works_again(service, kept)


def _is_loading(client: Any) -> bool:
    try:
        return bool(client.info("persistence")["loading"])
    except ConnectionError:
        return False


def test_redis_full(service: Service, redis: RedisServer) -> None:
    """maxmemory reached and nothing evictable: 507, and records are readable and can be deleted."""
    kept, to_delete = _stored_answer(service), _stored_answer(service)
    with redis.client() as client:
        client.config_set("maxmemory", 1)
        assert not _is_stored(service)
        _assert_refused(_label(service, kept), 507, "store-full")
        assert _state(service) == "away"
        assert service.client.get(f"/v1/answers/{kept}").status_code == 200
        assert service.client.delete(f"/v1/answers/{to_delete}").status_code == 204
        client.config_set("maxmemory", 0)
    _assert_works_again(service, kept)


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
        ("maxmemory-policy", "allkeys-lru", "volatile-lru"),
    ],
)
def test_redis_that_could_lose_records_gets_none(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, setting: str, bad: str, good: str
) -> None:
    """Nothing is acknowledged that a crash or an eviction could take; once the setting is right, all works."""
    monkeypatch.setattr(redis_calls, "_PROMISE_SECONDS", 0.05)
    with redis.client() as client, _service(redis.url) as service:
        kept = _stored_answer(service)
        client.config_set(setting, bad)
        _assert_works_without(service, kept, state="not_durable")
        assert f"{setting} {bad}" in _label(service, kept).json()["detail"]
        client.config_set(setting, good)
        _assert_works_again(service, kept)


def test_an_operator_can_take_durability_as_given(tmp_path: Path) -> None:
    """DEMUR_STORE__DURABILITY=assumed, for Redis that keeps nothing on disk or does not tell."""
    options = ["--appendonly", "no", "--save", "", "--rename-command", "CONFIG", ""]
    with redis_server(tmp_path, options) as redis:
        with _service(redis.url) as service:
            assert not _is_stored(service)
            assert _state(service) == "not_durable"
        settings = Settings(store=StoreSettings(url=redis.url, timeout_s=20, durability="assumed"))
        with serving({"q": ["Paris"]}, settings=settings) as service:
            _assert_works_again(service)


@pytest.mark.parametrize("mode", ["cut", "stalled", "mute"])
def test_the_network_to_redis(redis: RedisServer, mode: Any) -> None:
    """Cut, stalled, or losing every reply, which is the worst: the write may be done, and nobody says so."""
    with tcp_proxy(redis.port) as proxy, _service(f"redis://127.0.0.1:{proxy.port}/0") as service:
        kept = _stored_answer(service)
        proxy.set(mode)
        _assert_works_without(service, kept)
        proxy.set("cut")
        proxy.set("open")
        _assert_works_again(service, kept)


def test_a_full_disk(small_disk: Path) -> None:
    """SQLite on a disk that is full: answers go on, feedback is refused with 507; with room again all is kept."""
    filler = small_disk / "filler"
    with _service(f"sqlite:///{small_disk}/demur.sqlite3") as service:
        kept = _stored_answer(service)
        with pytest.raises(OSError, match="No space"):
            _fill(filler)
        wait_for(lambda: not _is_stored(service), "the disk to be full")
        _assert_refused(_label(service, kept), 507, "store-full")
        assert _state(service) == "filling"
        assert service.client.get(f"/v1/answers/{kept}").status_code == 200
        filler.unlink()
        assert _is_stored(service)
        assert _label(service, kept).status_code == 202


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)


def test_a_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock and does not let go: as with any store that is away."""
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.05)
    path = tmp_path / "demur.sqlite3"
    with _service(f"sqlite:///{path}") as service:
        kept = _stored_answer(service)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            wait_for(lambda: not _is_stored(service), "the lock to be noticed")
            _assert_refused(_label(service, kept), 503, "store-unavailable")
            other.execute("ROLLBACK")
        new = _stored_answer(service)
        for answer_id in (kept, new):
            wait_for(lambda known=answer_id: _label(service, known).status_code == 202, "feedback to be taken")  # type: ignore[misc]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["cut", "stalled"])
async def test_redis_that_is_away_does_not_cost_each_request_its_timeout(redis: RedisServer, mode: Any) -> None:
    """After three failures nobody is sent there: 50 more calls open no connection."""
    with tcp_proxy(redis.port) as proxy:
        store = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix="demur", timeout_seconds=0.1)
        store._redis._circuit = Circuit(pause_seconds=1000)
        proxy.set(mode)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="is away: "):
                await store.add_answer(record())
        before = proxy.n_connections
        assert before >= 3
        for _ in range(50):
            with pytest.raises(StoreUnavailable, match="tried again in"):
                await store.add_answer(record())
        assert proxy.n_connections == before
        await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
async def test_redis_in_every_form_comes_back(form: str, tmp_path: Path) -> None:
    """Alone, as a cluster, behind a sentinel: killed and started again under the same client."""
    with FORMS[form](tmp_path) as redis:
        store = RedisStore(redis.url, prefix="demur", timeout_seconds=1)
        kept = record()
        await _until_done(lambda: store.add_answer(kept))
        redis.server.kill()
        with pytest.raises(StoreUnavailable):
            await store.get_answer(kept.id)
        redis.server.start()
        await _until_done(lambda: store.add_answer(record()))
        await _until_done(lambda: store.get_answer(kept.id))
        await store.aclose()


async def _until_done(call: Callable[[], Any]) -> None:
    """Repeats `call` until the store is there; the circuit paces it."""
    with anyio.fail_after(START_SECONDS):
        while True:
            try:
                await call()
                return
            except StoreUnavailable as error:
                await anyio.sleep(min(0.2, error.retry_after_seconds or 0.2))


@pytest.mark.anyio
async def test_a_cursor_or_id_never_reaches_another_prefix(redis: RedisServer) -> None:
    """Two services on one Redis under two prefixes see nothing of each other."""
    one, other = (RedisStore(redis.url, prefix=name, timeout_seconds=20) for name in ("one", "other"))
    kept = record(is_audit=True)
    await one.add_answer(kept)
    with pytest.raises(NotFound):
        await other.get_answer(kept.id)
    assert (await other.list_audits()).items == ()
    assert await other.sweep(created_before=kept.created + 1) == 0
    assert await one.get_answer(kept.id) == kept
    for store in (one, other):
        await store.aclose()


@pytest.mark.anyio
async def test_a_write_that_memory_cannot_take_is_full_for_good_and_all(redis: RedisServer) -> None:
    """Records carry no TTL, so that volatile-lru takes none of them to make room: the new one is refused."""
    store = RedisStore(redis.url, prefix="demur", timeout_seconds=20)
    kept = [record() for _ in range(50)]
    for each in kept:
        await store.add_answer(each)
    with redis.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", 1)
        health = await store.health()
        assert (health.state, "full" in health.detail) == ("away", True)
        assert all([await store.get_answer(each.id) == each for each in kept])
        assert {client.ttl(key) for key in client.keys("demur:*") if b"probe" not in key} == {-1}
    await store.aclose()


async def _examined(url: str) -> Finding:
    """What `demur doctor` says of the store, beside a language model that is not there."""
    sampler = SamplerSettings(backend="openai", base_urls=["http://127.0.0.1:9/v1"], model="m", retries=0)
    store = StoreSettings(url=url, timeout_s=20)
    findings = await examine(Settings(sampler=sampler, nli=NLISettings(backend="exact"), store=store))
    (found,) = [finding for finding in findings if finding.part == "store"]
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "state", "words"),
    [
        ("sqlite:///{folder}/demur.sqlite3", "ok", "what it keeps is durable"),
        ("sqlite:////dev/null/demur.sqlite3", "failed", "cannot use the store /dev/null/demur.sqlite3"),
        ("redis://user:secret@127.0.0.1:9/1", "failed", "redis://127.0.0.1:9/1 is away"),
        ("redis://127.0.0.1:many", "failed", "cannot be understood"),
    ],
)
async def test_doctor_examines_the_store(tmp_path: Path, url: str, state: str, words: str) -> None:
    """Without credentials in what it says."""
    finding = await _examined(url.format(folder=tmp_path))
    assert finding.state == state
    assert words in finding.text
    assert "secret" not in finding.text


@pytest.mark.anyio
async def test_doctor_tells_that_redis_could_lose_records(tmp_path: Path) -> None:
    """With the settings to change; and is content when they are."""
    with redis_server(tmp_path, ["--appendonly", "no", "--save", ""]) as redis, redis.client() as client:
        finding = await _examined(redis.url)
        assert (finding.state, "set appendonly yes, appendfsync always" in finding.text) == ("warning", True)
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
        assert (await _examined(redis.url)).state == "ok"
