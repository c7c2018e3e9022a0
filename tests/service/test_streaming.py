"""`POST /v1/answer` with `Accept: text/event-stream`, over a real server: the samples land when the test says so."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.api import streaming
from demur.api.responses import AnswerResponse
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import AuthSettings, ServerSettings, Settings, StoreSettings
from tests.service.events import Event, read_events
from tests.service.running import SameText, Service, connection, metric, serving, wait_for
from tests.service.test_overlap import Stage, staged

LOGPROB = (math.log(0.5),)
SCRIPT = {
    "q": [ScriptedAnswer(text, LOGPROB) for text in ("Paris", "Paris", "Lyon")],
    "cached": [ScriptedAnswer("Paris", LOGPROB)],
    "slow": [ScriptedAnswer("Paris", LOGPROB, delay_seconds=0.5)],
    "endless": [ScriptedAnswer("Paris", delay_seconds=60)],
    "breaks": [ScriptedAnswer("Paris"), ScriptedAnswer("Paris"), ScriptedAnswer("Paris", delay_seconds=60)],
    "fails": [ScriptedAnswer(error="out of order")],
}
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(SCRIPT) as running:
        yield running


@contextmanager
def streamed(service: Service, prompt: str = "q", **fields: Any) -> Iterator[tuple[httpx2.Response, Iterator[Event]]]:
    headers = {**EVENTS, **fields.pop("headers", {})}
    body = {"prompt": prompt, **fields}
    with service.client.stream("POST", fields.pop("path", "/v1/answer"), json=body, headers=headers) as response:
        yield response, read_events(response.iter_lines())


def told(service: Service, prompt: str = "q", **fields: Any) -> list[Event]:
    with streamed(service, prompt, **fields) as (response, events):
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        return list(events)


def named(events: list[Event], name: str) -> list[dict[str, Any]]:
    return [data for each, data in events if each == name]


def test_an_answer_is_told_as_it_comes_about(service: Service) -> None:
    """start, samples with the growing partition, the result that JSON would have been, done."""
    events = told(service, sampling={"n": 4}, include=["samples", "clusters"], cache={"mode": "bypass"})
    result = named(events, "result")[0]
    AnswerResponse.model_validate(result)
    assert events[0] == ("start", {"id": result["id"], "n": 4})
    assert [name for name, _ in events[-2:]] == ["result", "done"]
    samples = sorted(named(events, "sample"), key=lambda sample: sample["index"])
    assert samples == [{k: s[k] for k in ("index", "text", "finish_reason")} for s in result["samples"]]
    last = named(events, "progress")[-1]
    assert last == {
        "completed": 4,
        "num_clusters": 2,
        "semantic_entropy": result["uncertainty"]["semantic_entropy"],
        "assignments": [s["cluster"] for s in result["samples"]],
    }


def test_the_result_is_what_json_would_have_been(service: Service) -> None:
    """The same fields; all but what names this answer and its times."""
    fields = {"sampling": {"n": 4}, "cache": {"mode": "bypass"}, "include": ["samples", "nli"]}
    one, other = service.ask("q", **fields).json(), named(told(service, **fields), "result")[0]
    changing = ("id", "created", "nli")
    assert {k: v for k, v in one.items() if k not in changing} == {k: v for k, v in other.items() if k not in changing}
    assert one["nli"].keys() == other["nli"].keys()


def test_the_headers_keep_proxies_from_waiting(service: Service) -> None:
    with streamed(service) as (response, events):
        assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-store", "no")
        assert response.headers["x-request-id"]
        list(events)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/event-stream", "text/event-stream"),
        ("application/json;q=0.5, Text/Event-Stream ; q=0.9", "text/event-stream"),
        ("text/event-stream, */*", "text/event-stream"),
        ("application/json, text/event-stream", "application/json"),
        ("text/event-stream;q=0", "application/json"),
        ("text/event-stream;q=much", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_who_likes_events_best_gets_them(service: Service, accept: str, kind: str) -> None:
    response = service.client.post("/answer", json={"prompt": "q"}, headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, kind)


def test_samples_are_told_while_others_are_drawn() -> None:
    """Paris, Lyon: two meanings of three samples; Lutetia is another until the model has said that it is Paris."""
    with staged() as stage, ThreadPoolExecutor(1) as pool, _reading(stage, pool, n=4) as heard:
        stage.land("Paris", "Lyon")
        wait_for(lambda: _last_progress(heard) == [0, 1, None, None], "two meanings")
        stage.wait_until_asked(("Lyon", "Paris"))
        stage.model.hold()
        stage.land("Lutetia")
        wait_for(lambda: _last_progress(heard) == [0, 1, 2, None], "a third meaning, for now")
        assert not named(heard, "result")
        stage.model.release()
        wait_for(lambda: _last_progress(heard) == [0, 1, 0, None], "the first and the third to be one")
        stage.land("Lutetia")
        wait_for(lambda: bool(named(heard, "done")), "the end")
        assert [cluster["sample_indices"] for cluster in named(heard, "result")[0]["clusters"]] == [[0, 2, 3], [1]]
        assert _last_progress(heard) == [0, 1, 0, 0]


def test_without_overlap_meanings_merge_at_the_end() -> None:
    """Nothing is asked until all have landed: texts alone tell so far, and the last progress tells what was found."""
    with staged("off") as stage, ThreadPoolExecutor(1) as pool, _reading(stage, pool, n=3) as heard:
        stage.land("Paris", "Lutetia", "paris")
        wait_for(lambda: bool(named(heard, "done")), "the end")
    told_so_far = [data["assignments"] for data in named(heard, "progress")]
    assert told_so_far == [[0, None, None], [0, 1, None], [0, 1, 0], [0, 0, 0]]


@contextmanager
def _reading(stage: Stage, pool: ThreadPoolExecutor, n: int) -> Iterator[list[Event]]:
    heard: list[Event] = []

    def read() -> None:
        with streamed(stage.service, "q", sampling={"n": n}) as (_, events):
            for event in events:
                heard.append(event)  # noqa: PERF402 - each is seen as soon as it has come

    asked = pool.submit(read)
    yield heard
    asked.result(timeout=60)


def _last_progress(heard: list[Event]) -> list[int | None]:
    found = named(heard, "progress")
    return found[-1]["assignments"] if found else []


def test_a_remembered_answer_is_told_too(service: Service) -> None:
    """Its samples, its partition, its result; nothing is drawn."""
    first = service.ask("cached", include=["samples"]).json()
    n_drawn = service.sampler.n_started
    events = told(service, "cached", include=["samples"])
    assert [name for name, _ in events] == ["start", *["sample"] * 10, "progress", "result", "done"]
    assert events[0][1] == {"id": first["id"], "n": 10}
    assert named(events, "result")[0]["cache"]["status"] == "hit"
    assert named(events, "progress")[0]["assignments"] == [0] * 10
    assert service.sampler.n_started == n_drawn


def test_who_shares_an_answer_is_told_too(service: Service) -> None:
    """Three at once are one run; each is told everything."""
    n_drawn = service.sampler.n_started
    with ThreadPoolExecutor(3) as pool:
        everything = list(pool.map(lambda _: told(service, "slow"), range(3)))
    assert service.sampler.n_started == n_drawn + 11
    assert len({events[0][1]["id"] for events in everything}) == 1
    for events in everything:
        assert (len(named(events, "sample")), events[-1][0]) == (10, "done")
    statuses = sorted(named(events, "result")[0]["cache"]["status"] for events in everything)
    assert statuses == ["miss", "shared", "shared"]


def test_who_leaves_cancels_the_work(service: Service) -> None:
    """Nobody else waits for it."""
    with streamed(service, "breaks", cache={"mode": "bypass"}) as (_, events):
        assert next(events)[0] == "start"
        assert service.sampler.n_running > 0
    wait_for(lambda: service.sampler.n_running == 0, "the draws to be cancelled")


def test_who_leaves_before_the_first_event_cancels_the_work() -> None:
    """Still in the queue, and gone: the place in it is free again."""
    with (
        serving(SCRIPT, settings=Settings(server=ServerSettings(max_inflight=1, max_queue=1))) as service,
        streamed(service, "breaks") as (_, events),
    ):
        assert next(events)[0] == "start"
        with pytest.raises(httpx2.ReadTimeout):
            service.client.post("/v1/answer", json={"prompt": "endless"}, headers=EVENTS, timeout=0.5)
        wait_for(
            lambda: "no place was free" in service.ask("q", timeout_s=0.2).json()["detail"], "a place in the queue"
        )


def test_work_goes_on_while_somebody_else_waits(service: Service) -> None:
    """Who began it leaves; who joined gets the answer."""
    n_drawn, n_cancelled = service.sampler.n_started, service.sampler.n_cancelled
    fields = {"sampling": {"n": 3}}
    with ThreadPoolExecutor(1) as pool:
        with streamed(service, "slow", **fields) as (_, events):
            assert next(events)[0] == "start"
            joined = pool.submit(told, service, "slow", **fields)
            wait_for(lambda: service.app.state.answering._cache._flights._n_waiting == 2, "the second to join")
        assert named(joined.result(), "result")[0]["answer"] == "Paris"
    assert (service.sampler.n_started, service.sampler.n_cancelled) == (n_drawn + 4, n_cancelled)


@pytest.mark.parametrize(
    ("prompt", "fields", "slug"),
    [
        ("", {}, "validation-failed"),
        ("q", {"sampling": {"n": 1}}, "validation-failed"),
        ("never asked", {"cache": {"mode": "only"}}, "cache-miss"),
    ],
)
def test_what_is_refused_at_once_is_an_ordinary_problem(
    service: Service, prompt: str, fields: dict[str, Any], slug: str
) -> None:
    """With its own status."""
    with streamed(service, prompt, **fields) as (response, _):
        body = httpx2.Response(200, content=response.read()).json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, body["type"]) == (body["status"], f"/problems/{slug}")


@pytest.mark.parametrize(
    ("prompt", "fields", "slug"),
    [("fails", {}, "backend-error"), ("endless", {"timeout_s": 0.3}, "deadline-exceeded")],
)
def test_what_goes_wrong_later_is_the_last_event(
    service: Service, prompt: str, fields: dict[str, Any], slug: str
) -> None:
    """An `error` with the problem, status and request id included; no result, no done."""
    with streamed(service, prompt, **fields) as (response, events):
        heard = list(events)
    assert response.status_code == 200
    assert heard[0][0] == "start"
    assert not named(heard, "result") + named(heard, "done")
    name, problem = heard[-1]
    assert (name, problem["type"], problem["request_id"]) == (
        "error",
        f"/problems/{slug}",
        response.headers["x-request-id"],
    )


class Bug(SameText):
    """An entailment model with a fault that nobody foresaw."""

    async def label(self, pairs: Any) -> Any:
        raise ZeroDivisionError("secret")


def test_a_bug_is_told_without_its_details() -> None:
    with serving(SCRIPT, entailment=Bug()) as service:
        events = told(service)
        assert service.client.get("/livez").status_code == 200
    assert (events[-1][0], events[-1][1]["type"]) == ("error", "/problems/internal")
    assert "secret" not in str(events)


def test_silence_is_broken_by_pings(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, which are no events; the stream begins with one where there is nothing else to tell yet."""
    monkeypatch.setattr(streaming, "PING_SECONDS", 0.05)
    names = [name for name, _ in told(service, "slow", cache={"mode": "bypass"})]
    assert names.index(":") < names.index("sample")
    assert next(name for name in names if name != ":") == "start"
    assert names[-1] == "done"


def test_events_are_replayed_for_their_key(tmp_path: Path) -> None:
    """The same events again, to the letter, and nothing drawn; asked for as JSON the key is another request's."""
    settings = Settings(store=StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/x.sqlite3"}))
    headers = {**EVENTS, "Idempotency-Key": "k"}
    body = {"prompt": "q", "cache": {"mode": "bypass"}}
    with serving(SCRIPT, settings=settings) as service:
        first = service.client.post("/v1/answer", json=body, headers=headers)
        n_drawn = service.sampler.n_started
        again = service.client.post("/v1/answer", json=body, headers=headers)
        as_json = service.client.post("/v1/answer", json=body, headers={"Idempotency-Key": "k"})
        assert again.content == first.content
        assert (again.headers["content-type"], again.headers["idempotency-replayed"]) == ("text/event-stream", "true")
        assert (as_json.status_code, as_json.json()["type"]) == (422, "/problems/idempotency-mismatch")
        assert service.sampler.n_started == n_drawn


def test_a_key_is_held_while_events_are_told_and_free_when_they_end_badly(tmp_path: Path) -> None:
    """409 while they run; who leaves, or is told of an error, may send it again."""
    settings = Settings(store=StoreSettings.model_validate({"url": f"sqlite:///{tmp_path}/x.sqlite3"}))
    with serving(SCRIPT, settings=settings) as service:
        key = {"Idempotency-Key": "held"}
        with streamed(service, "breaks", headers=key) as (_, events):
            assert next(events)[0] == "start"
            second = service.client.post("/v1/answer", json={"prompt": "breaks"}, headers={**EVENTS, **key})
            assert (second.status_code, second.json()["type"]) == (409, "/problems/idempotency-in-progress")
        wait_for(lambda: told_status(service, "q", key) == 200, "the key to be free")
        for _ in range(2):
            assert told(service, "fails", headers={"Idempotency-Key": "bad"})[-1][0] == "error"


def told_status(service: Service, prompt: str, headers: dict[str, str]) -> int:
    return service.client.post("/v1/answer", json={"prompt": prompt}, headers={**EVENTS, **headers}).status_code


def test_keys_scopes_and_rates_hold() -> None:
    """401 and 403 before anything is told, 429 once the samples are spent, with the headers that say so."""
    secret, key = new_key("asker", "answer")
    other, watcher = new_key("watcher", "metrics")
    lines = SecretStr(f"{key.line};{watcher.line}")
    auth = AuthSettings(api_keys=lines, rate_limit="100/60s", rate_limit_samples="12/60s")
    with serving(SCRIPT, settings=Settings(auth=auth)) as service:
        statuses = []
        for given in ({}, {"X-API-Key": other}, {"X-API-Key": secret}, {"X-API-Key": secret}):
            fields = {"headers": given, "cache": {"mode": "bypass"}}
            with streamed(service, **fields) as (response, _):
                statuses.append(response.status_code)
                response.read()
        assert statuses == [401, 403, 200, 429]
        assert int(response.headers["retry-after"]) >= 1


def test_who_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes for a client that does not read: it is hung up on, and holds neither a place nor a task."""
    monkeypatch.setattr(streaming, "_STALLED_SECONDS", 0.5)
    long = {"long": [ScriptedAnswer("x" * 150_000)]}
    with serving(long) as service, connection(service) as silent:
        body = json.dumps({"prompt": "long", "sampling": {"n": 32}, "include": ["samples"]}).encode()
        head = f"POST /v1/answer HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n"
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        wait_for(lambda: metric(service, "demur_http_requests_total", route="/v1/answer") == 1, "it to be hung up on")
        assert metric(service, "demur_inflight_requests") == 0
        assert b"event: start" in silent.recv(2_000)
        assert service.ask("long", include=[]).status_code == 200


def test_a_stream_is_finished_before_the_service_stops() -> None:
    """Stopped while samples are drawn: everything is told to the end, and newcomers are turned away."""
    with serving(SCRIPT) as service, streamed(service, "slow", sampling={"n": 3}) as (_, events):
        assert next(events)[0] == "start"
        service.engine().drain()
        refused = service.ask("q")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/draining")
        assert [name for name, _ in events][-2:] == ["result", "done"]
