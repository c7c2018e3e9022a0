"""What callers see of the cache: over HTTP, and between two service processes on one real Redis."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from demur.samplers.scripted import ScriptedAnswer
from demur.settings import Settings, StoreSettings
from tests.conformance.redis_server import RedisServer, redis_server
from tests.service.running import START_SECONDS, Process, Service, announced_url, serving, wait_for

LOGPROB = (math.log(0.05),)  # of eleven different answers, so that they do not sum to more than 1
SCRIPT = {
    "q": [ScriptedAnswer(text, LOGPROB) for text in ("Paris", "Paris", "Lyon")],
    "q2": [ScriptedAnswer("Paris", LOGPROB)],
    "weak": ["Paris"],
    "slow": [ScriptedAnswer("Paris", LOGPROB, delay_seconds=0.5)],
    "refused": [ScriptedAnswer(text, LOGPROB) for text in ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")],
}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["local", "redis"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    url = None
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        server.client.flushall()
        url = SecretStr(server.url)
    with serving(SCRIPT, settings=Settings(store=StoreSettings(url=url, timeout_s=10))) as running:
        yield running


def _counted(client: httpx2.Client, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [s for f in families for s in f.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def test_the_second_answer_is_the_first(service: Service) -> None:
    """Same id, text and numbers; the body, the header and the metrics say that it was remembered."""
    first, second = service.ask("q", include=["timings"]), service.ask("q", include=["timings"])
    assert (first.headers["x-demur-cache"], second.headers["x-demur-cache"]) == ("miss", "hit")
    assert first.json()["cache"] == {"status": "miss", "age_s": 0, "ttl_s": 3600}
    one, other = first.json(), second.json()
    told = other.pop("cache")
    assert (told["status"], told["ttl_s"]) == ("hit", 3600)
    assert 0 <= told["age_s"] < 3600
    assert (other.pop("timings")["generate_s"], "gen;dur=0.0" in second.headers["server-timing"]) == (0, True)
    assert {k: v for k, v in one.items() if k not in ("cache", "timings")} == other
    assert _counted(service.client, "demur_cache_requests_total", result="hit") == 1
    assert _counted(service.client, "demur_singleflight_total", result="led") == 1
    assert _counted(service.client, "demur_phase_duration_seconds_count", phase="cache") == 2
    assert service.sampler.n_started == 11


def test_what_is_shown_is_each_caller_s_own(service: Service) -> None:
    """`include`, `on_abstain`, `metadata` and `timeout_s` share an answer; `policy` does not."""
    fields = {"retrieval": {"available": False}, "include": []}
    assert service.ask("refused", **fields).json()["answer"] == "b"
    other = service.ask("refused", **fields | {"include": ["samples"]}, on_abstain="omit", metadata={"a": "b"}).json()
    assert (other["cache"]["status"], other["answer"], other["metadata"]) == ("hit", None, {"a": "b"})
    assert len(other["samples"]) == 10
    stricter = service.ask("refused", **fields, policy={"answer_min": 0.1}).json()
    assert (stricter["cache"]["status"], stricter["policy"]["answer_min"]) == ("miss", 0.1)


def test_modes(service: Service) -> None:
    """only: 404 on a miss; refresh draws anew for all; bypass for itself."""
    missed = service.ask("q2", cache={"mode": "only"})
    assert (missed.status_code, missed.json()["type"]) == (404, "/problems/cache-miss")
    ids = [
        (answer.json()["id"], answer.headers["x-demur-cache"])
        for answer in (
            service.ask("q2"),
            service.ask("q2", cache={"mode": "only"}),
            service.ask("q2", cache={"mode": "bypass"}),
            service.ask("q2", cache={"mode": "refresh"}),
            service.ask("q2"),
        )
    ]
    assert [status for _, status in ids] == ["miss", "hit", "bypass", "refresh", "hit"]
    assert ids[0][0] == ids[1][0] != ids[2][0] != ids[3][0] == ids[4][0]


def test_a_degraded_answer_says_that_it_is_not_kept(service: Service) -> None:
    """Without logprobs: ttl 0, and drawn again."""
    for _ in range(2):
        body = service.ask("weak").json()
        assert body["degraded"] == ["no_logprobs", "uncalibrated"]
        assert body["cache"] == {"status": "miss", "age_s": 0, "ttl_s": 0}


def test_strict_callers_are_served_from_the_cache(service: Service) -> None:
    """Only what would have passed is in it."""
    statuses = [service.ask("q", strict=True).headers["x-demur-cache"] for _ in range(2)]
    assert statuses == ["miss", "hit"]


def test_twenty_at_once_are_one_run(service: Service) -> None:
    """Each has an answer, all of them the same one."""
    with ThreadPoolExecutor(20) as pool:
        bodies = list(pool.map(lambda _: service.ask("slow").json(), range(20)))
    assert len({body["id"] for body in bodies}) == 1
    assert service.sampler.n_started == 11
    statuses = [body["cache"]["status"] for body in bodies]
    assert statuses.count("miss") == 1
    assert set(statuses) <= {"miss", "shared", "hit"}


@pytest.mark.parametrize(
    ("cache", "pointer"),
    [
        ({"mode": "never"}, "/cache/mode"),
        ({"ttl_s": -1}, "/cache/ttl_s"),
        ({"ttl_s": 86_401}, "/cache/ttl_s"),
        ({"tll_s": 1}, "/cache/tll_s"),
        ("bypass", "/cache"),
    ],
)
def test_bad_cache_fields_are_named(service: Service, cache: object, pointer: str) -> None:
    response = service.ask("q", cache=cache)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)


def test_answers_made_under_other_settings_are_not_used(redis: RedisServer, tmp_path: Path) -> None:
    """Two services on one Redis: another model, way to cluster or template draws anew; the same one does not."""
    redis.client.flushall()
    template = tmp_path / "template.txt"
    template.write_text("$passages $question")
    store = StoreSettings(url=SecretStr(redis.url), timeout_s=10)
    groups: list[dict[str, object]] = [
        {},
        {},
        {"nli": {"max_length": 256}},
        {"clustering": {"rule": "relaxed"}},
        {"clustering": {"include_prompt": False}},
        {"defaults": {"prompt_template_file": template}},
        {"sampler": {"revision": "v2"}},
        {"server": {"max_inflight": 7}},
    ]
    statuses = []
    for group in groups:
        with serving(SCRIPT, settings=Settings(store=store, **group)) as service:  # type: ignore[arg-type]
            statuses.append(service.ask("q").json()["cache"]["status"])
    assert statuses == ["miss", "hit", *["miss"] * 5, "hit"]


def test_switched_off() -> None:
    """DEMUR_STORE__CACHE_TTL_S=0: every answer is drawn, and says so."""
    with serving(SCRIPT, settings=Settings(store=StoreSettings(cache_ttl_s=0))) as service:
        assert [service.ask("q").headers["x-demur-cache"] for _ in range(2)] == ["bypass", "bypass"]
        assert service.ask("q", cache={"mode": "only"}).status_code == 404


def test_a_redis_that_is_not_there_keeps_nobody_from_starting_or_answering() -> None:
    """Answers say `cache_unavailable`, and are strict enough for strict callers: nothing about them is weaker."""
    store = StoreSettings(url=SecretStr("redis://127.0.0.1:9/0"))
    with serving(SCRIPT, settings=Settings(store=store)) as service:
        body = service.ask("q", strict=True).json()
        assert body["degraded"] == ["uncalibrated", "cache_unavailable"]
        assert (body["cache"]["status"], body["cache"]["ttl_s"]) == ("miss", 0)
        assert _counted(service.client, "demur_degraded_total", reason="cache_unavailable") == 1


@dataclass
class Pair:
    """Two service processes on one Redis, and the calls that reached either sampler."""

    processes: list[Process]
    tally: Path
    redis: RedisServer

    def calls(self) -> list[int]:
        """Ids of the processes whose samplers were called, in order."""
        return [int(line) for line in self.tally.read_text().split()] if self.tally.exists() else []

    def flights(self, result: str) -> float:
        """Of both processes."""
        with ExitStack() as stack:
            clients = [stack.enter_context(httpx2.Client(base_url=process.url)) for process in self.processes]
            return sum(_counted(client, "demur_singleflight_total", result=result) for client in clients)

    def ask(self, which: int, prompt: str, **fields: object) -> httpx2.Response:
        url = self.processes[which].url
        return httpx2.post(f"{url}/v1/answer", json={"prompt": prompt, **fields}, timeout=60)


@contextmanager
def _scripted(tally: Path, **env: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "tests.service.tallied_process", str(tally)]
    popen = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield Process(announced_url(popen), popen)
    finally:
        popen.kill()
        popen.wait(START_SECONDS)
        if popen.stdout:
            popen.stdout.close()


@contextmanager
def _pair(tally: Path, redis: RedisServer, **env: str) -> Iterator[Pair]:
    redis.client.flushall()
    store = {"DEMUR_STORE__URL": redis.url, "DEMUR_STORE__TIMEOUT_S": "10", **env}
    with ExitStack() as stack:
        processes = [stack.enter_context(_scripted(tally, **store)) for _ in range(2)]
        yield Pair(processes, tally, redis)


def test_two_processes_call_the_sampler_once(tmp_path: Path, redis: RedisServer) -> None:
    """Twelve requests at once, six to each process: one call. A thirteenth is remembered by the other process too."""
    with _pair(tmp_path / "tally", redis) as pair, ThreadPoolExecutor(12) as pool:
        bodies = [r.json() for r in pool.map(lambda i: pair.ask(i % 2, "slow 2"), range(12))]
        assert len(pair.calls()) == 1
        assert len({body["id"] for body in bodies}) == 1
        assert {body["answer"] for body in bodies} == {"Paris"}
        later = [pair.ask(i, "slow 2").json() for i in range(2)]
        assert [(body["id"], body["cache"]["status"]) for body in later] == [(bodies[0]["id"], "hit")] * 2
        assert len(pair.calls()) == 1
        assert pair.flights("led") == 1
        assert pair.flights("alone") == 0


def test_verdicts_of_one_process_spare_the_other_its_model(tmp_path: Path, redis: RedisServer) -> None:
    """The same answers to the same question, drawn by each (`bypass`): the second one asks its NLI model nothing."""
    fields = {"cache": {"mode": "bypass"}, "include": ["nli"]}
    with _pair(tmp_path / "tally", redis) as pair:
        first = pair.ask(0, "q", **fields).json()["nli"]
        assert first["pairs"] > 0
        wait_for(lambda: len(redis.client.keys("demur:nli:*")) == first["pairs"], "the verdicts to arrive")
        second = pair.ask(1, "q", **fields).json()["nli"]
        assert (second["pairs"], second["pairs_cached"]) == (0, first["pairs"] + first["pairs_cached"])


def test_a_killed_holder_is_followed(tmp_path: Path, redis: RedisServer) -> None:
    """kill -9 while it works: its lease of 2 s expires, and the process that waited takes over and answers."""
    with _pair(tmp_path / "tally", redis, DEMUR_STORE__LOCK_TTL_S="2") as pair, ThreadPoolExecutor(2) as pool:
        first = pool.submit(pair.ask, 0, "slow 10")
        wait_for(lambda: len(pair.calls()) == 1, "the first to work")
        second = pool.submit(pair.ask, 1, "slow 10", timeout_s=59.9)
        waiting = redis.client.info("commandstats")["cmdstat_get"]["calls"] + 10
        wait_for(lambda: redis.client.info("commandstats")["cmdstat_get"]["calls"] > waiting, "the second to wait")
        assert len(pair.calls()) == 1
        pair.processes[0].popen.kill()
        with pytest.raises(httpx2.HTTPError):
            first.result()
        body = second.result().json()
        assert (body["answer"], body["cache"]["status"]) == ("Paris", "miss")
        assert pair.calls() == [process.popen.pid for process in pair.processes]
