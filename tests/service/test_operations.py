"""What operators use: probes, metrics, version, problem pages, OpenAPI; overload, departures, drain."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from demur.api.problems import PROBLEMS
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import ServerSettings, Settings
from tests.service.running import Service, connection, half_asked, metric, serving, wait_for

ALONE = {"cache": {"mode": "bypass"}}  # work of its own for each request, although all ask the same


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    script = {
        "q": ["Paris"],
        "slow": [ScriptedAnswer("Paris", delay_seconds=30)],
        "0.2 s": [ScriptedAnswer("Paris", delay_seconds=0.2)],
    }
    with serving(script) as running:
        yield running


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/health"])
def test_probes_answer(service: Service, path: str) -> None:
    """Each probe says ok while the service takes requests."""
    response = service.client.get(path)
    assert (response.status_code, response.json()["status"]) == (200, "ok")


def test_version_names_the_models(service: Service) -> None:
    """What runs here."""
    assert service.client.get("/version").json() == {"version": "0.1.0", "model": "scripted", "nli_model": "same-text"}


def test_every_problem_has_a_page(service: Service) -> None:
    """The `type` of a problem resolves; an unknown one does not."""
    for slug, known in PROBLEMS.items():
        assert known.mend in service.client.get(f"/problems/{slug}").text.replace("&#x27;", "'")
    assert service.client.get("/problems/<script>").status_code == 404


def test_decisions_are_counted(service: Service) -> None:
    """Requests, decisions, entropy and phases are in /metrics; labels hold no prompt."""
    before = metric(service, "demur_answers_total", decision="answer")
    service.ask("q")
    assert metric(service, "demur_answers_total", decision="answer") == before + 1
    assert metric(service, "demur_semantic_entropy_nats_bucket", le="0.0") >= 1
    for phase in ("queue", "generate", "nli", "decide"):
        assert metric(service, "demur_phase_duration_seconds_count", phase=phase) >= 1
    assert metric(service, "demur_http_requests_total", route="/v1/answer", status="2xx") >= 1
    assert metric(service, "demur_ready") == 1


def test_unknown_paths_do_not_grow_the_metrics(service: Service) -> None:
    """A scan over random paths adds one series, not thousands."""
    for i in range(20):
        service.client.get(f"/scan/{i}")
    assert "/scan/" not in service.client.get("/metrics").text


def test_metrics_speak_openmetrics_when_asked(service: Service) -> None:
    """By `Accept`."""
    response = service.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_a_departed_client_frees_the_work(service: Service) -> None:
    """A client that hangs up: its draws are cancelled at once, not after 30 s."""
    before = service.sampler.n_cancelled
    with half_asked(service, "slow"):
        wait_for(lambda: service.sampler.n_running == 11, "the draws to begin")
    wait_for(lambda: service.sampler.n_cancelled == before + 11, "the draws to be cancelled")
    assert service.sampler.n_running == 0
    wait_for(lambda: metric(service, "demur_inflight_requests") == 0, "the place to be given back")


def test_a_client_that_leaves_during_its_upload_is_no_bug(service: Service) -> None:
    """Half a body, then nothing: counted as the client's, not as a 5xx."""
    before = metric(service, "demur_http_requests_total", status="4xx")
    with connection(service) as connected:
        connected.sendall(b"POST /v1/answer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    wait_for(lambda: metric(service, "demur_http_requests_total", status="4xx") == before + 1, "the count")
    assert metric(service, "demur_http_requests_total", status="5xx") == 0


def test_a_hundred_at_once_are_all_answered(service: Service) -> None:
    """100 concurrent requests of 0.2 s each, more than run at once: each gets its answer."""
    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(lambda _: service.ask("0.2 s", **ALONE).status_code, range(100)))
    assert statuses == [200] * 100


def test_overload_is_refused_with_a_time_to_come_back() -> None:
    """One in work, one waiting, the third refused: 503 overloaded with Retry-After, and the first two are answered."""
    settings = Settings(server=ServerSettings(max_inflight=1, max_queue=1))
    with serving({"q": [ScriptedAnswer("Paris", delay_seconds=3)]}, settings=settings) as service:
        with ThreadPoolExecutor(3) as pool:
            responses = list(pool.map(lambda _: service.ask("q", **ALONE), range(3)))
        refused = [r for r in responses if r.status_code == 503]
        assert sorted(r.status_code for r in responses) == [200, 200, 503]
        assert refused[0].json()["type"] == "/problems/overloaded"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert metric(service, "demur_rejected_total", reason="overloaded") == 1


def test_draining_finishes_what_was_accepted() -> None:
    """After `drain` readiness turns 503 and new questions are refused; the one in work is answered."""
    with serving({"q": [ScriptedAnswer("Paris", delay_seconds=0.5)]}) as service, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(service.ask, "q")
        wait_for(lambda: service.sampler.n_running > 0, "the work to begin")
        service.engine().drain()
        assert service.client.get("/readyz").status_code == 503
        refused = service.ask("q", **ALONE)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/draining")
        assert accepted.result().status_code == 200


def test_openapi_examples_are_valid_requests(service: Service) -> None:
    """The examples people copy from /docs are accepted as they stand."""
    paths = service.client.get("/openapi.json").json()["paths"]
    for path, status in {"/v1/answer": 200, "/v1/score": 200, "/v1/cluster": 200, "/v1/feedback": 404}.items():
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            assert service.client.post(path, json=example["value"]).status_code in (status, 502), (path, example)
