"""Spans of an answer, the caller's trace followed and passed on, ids in logs and exemplars."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from demur.observability.otel import OtelTracer
from demur.observability.tracing import Trail, open_tracer
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import Settings, TracingVariables
from demur.types import Sampling
from tests.conformance.openai_server import MODEL, openai_server
from tests.conformance.tei_server import serving_tei
from tests.otlp_receiver import collecting
from tests.service.running import Service, serve_process, serving
from tests.service.scripted_process import scripted_process

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = CALLER[:-2] + "00"
CANARY = "the canary sings at noon"
SCRIPT: Mapping[str, Sequence[ScriptedAnswer | str]] = {
    "q": [ScriptedAnswer(city, (-1.5,)) for city in ("Paris", "Paris", "Lyon")],
    CANARY: ["canary-answer", "canary-answer", "another canary"],
    "broken": [ScriptedAnswer(error="the canary broke")],
}
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def script(prompt: str, _: Sampling) -> Sequence[ScriptedAnswer | str]:
    """By the question at the end, whatever passages stand before it."""
    return next(answers for question, answers in SCRIPT.items() if prompt.endswith(question))


@contextmanager
def traced(*, has_text: bool = False) -> Iterator[tuple[Service, InMemorySpanExporter]]:
    """The exporter has all spans once the block of the caller's `with` has ended."""
    exporter = InMemorySpanExporter()
    tracer = OtelTracer(exporter, has_text=has_text)
    try:
        with serving(script, tracer=tracer) as service:
            yield service, exporter
    finally:
        tracer.close()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> str:
    assert span.parent
    return format_span_id(span.parent.span_id)


def id_of(span: ReadableSpan) -> str:
    return format_span_id(span.context.span_id)


def openmetrics(service: Service) -> str:
    return service.client.get("/metrics", headers=OPENMETRICS).text


def test_an_answer_is_one_tree_of_spans() -> None:
    """answer -> generate, nli.batch, decide; the caller's trace goes on in it, and attributes tell the evidence."""
    with traced() as (service, exporter):
        answer = service.client.post(
            "/v1/answer",
            json={"prompt": "q", "sampling": {"n": 4}, "include": ["nli"]},
            headers={"traceparent": CALLER},
        ).json()
    spans = by_name(exporter)
    assert set(spans) == {"answer", "generate", "nli.batch", "decide"}
    assert {format_trace_id(span.context.trace_id) for span in spans.values()} == {TRACE}
    assert parent_of(spans["answer"]) == "00f067aa0ba902b7"
    assert {parent_of(spans[name]) for name in ("generate", "nli.batch", "decide")} == {id_of(spans["answer"])}
    assert [spans[name].kind for name in ("answer", "generate", "decide")] == [
        SpanKind.SERVER,
        SpanKind.CLIENT,
        SpanKind.INTERNAL,
    ]
    assert spans["answer"].attributes == {
        **spans["answer"].attributes,  # type: ignore[dict-item]
        "demur.answer.id": answer["id"],
        "demur.cache": "miss",
        "demur.decision": answer["decision"],
        "demur.confidence": answer["confidence"],
        "demur.semantic_entropy": answer["uncertainty"]["semantic_entropy"],
        "demur.degraded": tuple(answer["degraded"]),
    }
    generate = spans["generate"].attributes or {}
    assert generate["gen_ai.request.model"] == "scripted"
    assert generate["gen_ai.request.choice.count"] == 4
    assert generate["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]
    batches = [span.attributes or {} for span in exporter.get_finished_spans() if span.name == "nli.batch"]
    assert sum(int(str(batch["demur.nli.pairs"])) for batch in batches) == answer["nli"]["pairs"]


CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "q"}]}
DOORS = {
    "events": ("/v1/answer", {"prompt": "q"}, {"Accept": "text/event-stream"}),
    "chat": ("/v1/chat/completions", CHAT, {}),
    "streamed chat": ("/v1/chat/completions", {**CHAT, "stream": True}, {}),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_leads_into_the_same_tree(door: str) -> None:
    """Streams too, whose work goes on in tasks of its own: one trace, the caller's, and nothing beside it."""
    path, body, headers = DOORS[door]
    with traced() as (service, exporter):
        reply = service.client.post(path, json=body, headers={**headers, "traceparent": CALLER})
        assert reply.status_code == 200, reply.text
    spans = by_name(exporter)
    assert set(spans) == {"answer", "generate", "nli.batch", "decide"}
    assert {format_trace_id(span.context.trace_id) for span in exporter.get_finished_spans()} == {TRACE}
    assert {parent_of(spans[name]) for name in ("generate", "nli.batch", "decide")} == {id_of(spans["answer"])}


def test_a_remembered_answer_is_a_span_without_work() -> None:
    with traced() as (service, exporter):
        service.ask("q")
        service.ask("q")
    answers = [span for span in exporter.get_finished_spans() if span.name == "answer"]
    assert [(span.attributes or {})["demur.cache"] for span in answers] == ["miss", "hit"]
    assert len([span for span in exporter.get_finished_spans() if span.name == "generate"]) == 1


def test_rating_and_grouping_are_traced_as_well() -> None:
    """An answer made elsewhere draws nothing; texts are a tree of their own."""
    with traced() as (service, exporter):
        rated = {"prompt": "q", "answer": "Paris", "samples": ["Paris", "Lyon", "Nice"]}
        assert service.client.post("/v1/score", json=rated).status_code == 200
        assert service.client.post("/v1/cluster", json={"texts": ["Oslo", "Bergen"]}).status_code == 200
    spans = by_name(exporter)
    assert set(spans) == {"answer", "cluster", "decide", "nli.batch"}
    assert parent_of(spans["decide"]) == id_of(spans["answer"])
    assert spans["cluster"].parent is None


def test_a_failure_is_noted_by_its_code() -> None:
    """Not by its words, which may quote the question."""
    with traced() as (service, exporter):
        assert service.ask("broken").status_code == 502
    spans = by_name(exporter)
    for name in ("answer", "generate"):
        assert (spans[name].attributes or {})["error.type"] == "backend-error"
        assert spans[name].status.status_code == StatusCode.ERROR
        assert not spans[name].events
        assert "canary" not in spans[name].to_json()


def test_a_callers_mistake_is_no_error_of_ours() -> None:
    with traced() as (service, exporter):
        assert service.ask("q", cache={"mode": "only"}).status_code == 404
    span = by_name(exporter)["answer"]
    assert (span.attributes or {})["error.type"] == "cache-miss"
    assert span.status.status_code == StatusCode.UNSET


@pytest.mark.parametrize("has_text", [False, True])
def test_words_stand_in_spans_only_where_they_were_asked_for(has_text: bool) -> None:
    """DEMUR_OBSERVABILITY__LOG_PROMPTS."""
    with traced(has_text=has_text) as (service, exporter):
        answer = service.ask(CANARY, context=[{"text": "a canary in a passage"}]).json()
        service.ask(CANARY, sampling={"stop": ["canary-stop"]})
    assert "canary" in answer["answer"]
    said = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert ("canary" in said) is has_text
    if has_text:
        generate = by_name(exporter)["generate"].attributes or {}
        assert CANARY in str(generate["gen_ai.input.messages"])
        assert "canary-answer" in str(generate["gen_ai.output.messages"])


def test_who_does_not_sample_is_followed_in_that() -> None:
    """No span is kept, and no exemplar leads to a trace that nobody has."""
    with traced() as (service, exporter):
        service.client.post("/v1/answer", json={"prompt": "q"}, headers={"traceparent": UNSAMPLED})
        assert TRACE not in openmetrics(service)
    assert not exporter.get_finished_spans()


def test_exemplars_lead_from_latency_and_entropy_to_the_trace() -> None:
    with traced() as (service, exporter):
        service.ask("q")
        told = openmetrics(service)
    trace_id = format_trace_id(by_name(exporter)["answer"].context.trace_id)
    for name in (
        "demur_http_request_duration_seconds_bucket",
        "demur_phase_duration_seconds_bucket",
        "demur_semantic_entropy_nats_bucket",
    ):
        lines = [line for line in told.splitlines() if line.startswith(name) and " # " in line]
        assert any(f'# {{trace_id="{trace_id}"}}' in line for line in lines), name


def test_without_opentelemetry_the_callers_trace_still_shows() -> None:
    """In the exemplars, as it came; and one that is malformed is as good as none."""
    with serving(script) as service:
        for header in ("00-nonsense", CALLER.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01", "ff" + CALLER[2:]):
            assert service.client.get("/version", headers={"traceparent": header}).status_code == 200
        assert "trace_id" not in openmetrics(service)
        service.client.post("/v1/answer", json={"prompt": "q"}, headers={"traceparent": CALLER})
        assert f'# {{trace_id="{TRACE}"}}' in openmetrics(service)


def test_log_lines_carry_request_and_trace_ids(tmp_path: Path) -> None:
    """The line of every request, one JSON object."""
    with (tmp_path / "log").open("wb") as log, scripted_process(log) as process:
        headers = {"X-Request-ID": "shop-42", "traceparent": CALLER}
        httpx2.post(f"{process.url}/v1/answer", json={"prompt": "q"}, headers=headers)
        httpx2.post(f"{process.url}/v1/answer", json={"prompt": "q"})
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    requests = [line for line in lines if line.get("route") == "/v1/answer"]
    assert [(line["request_id"] == "shop-42", line.get("trace_id")) for line in requests] == [
        (True, TRACE),
        (False, None),
    ]


def remote_models(llm_url: str, tei_url: str) -> dict[str, str]:
    return {
        "DEMUR_SAMPLER__BACKEND": "openai",
        "DEMUR_SAMPLER__BASE_URLS": llm_url,
        "DEMUR_SAMPLER__MODEL": MODEL,
        "DEMUR_NLI__BACKEND": "tei",
        "DEMUR_NLI__URL": tei_url,
    }


def test_a_real_collector_sees_what_the_service_sends() -> None:
    """`demur serve` under the standard variables: spans arrive by OTLP, before the process has ended; servers behind
    continue the same trace."""
    with collecting() as collector, openai_server() as llm, serving_tei() as tei:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        with serve_process(**remote_models(llm.url, tei.url), **variables) as process:
            n_probes, n_introductions = len(llm.traceparents), len(tei.traceparents)
            body = {"prompt": "What is the capital of France?", "sampling": {"n": 5, "seed": 1}}
            headers = {"traceparent": CALLER, "tracestate": "shop=1", "baggage": "customer=eve"}
            response = httpx2.post(f"{process.url}/v1/answer", json=body, headers=headers, timeout=60)
            assert response.status_code == 200
        [answer] = collector.named("answer")
        [generate] = collector.named("generate")
        assert (answer.trace_id, answer.parent) == (TRACE, "00f067aa0ba902b7")
        assert generate.parent == answer.span_id
        assert generate.attributes["gen_ai.request.model"] == MODEL
        assert {span.span_id for span in collector.named("nli.batch")} == {
            t.split("-")[2] for t in tei.traceparents[n_introductions:]
        }
        assert set(llm.traceparents[n_probes:]) == {f"00-{TRACE}-{generate.span_id}-01"}
        assert collector.headers["x-team"] == "a"
        assert collector.resources[0]["service.name"] == "demur"
        assert collector.resources[0]["deployment.environment.name"] == "test"


def test_without_opentelemetry_servers_behind_see_the_callers_trace() -> None:
    """As it came, for there is no span of ours between."""
    with openai_server() as llm, serving_tei() as tei, serve_process(**remote_models(llm.url, tei.url)) as process:
        n_probes, n_introductions = len(llm.traceparents), len(tei.traceparents)
        body = {"prompt": "What is the capital of France?", "sampling": {"n": 5, "seed": 1}}
        httpx2.post(f"{process.url}/v1/answer", json=body, headers={"traceparent": CALLER}, timeout=60)
        assert set(llm.traceparents[n_probes:]) == set(tei.traceparents[n_introductions:]) == {CALLER}


def test_a_collector_that_is_away_harms_nobody() -> None:
    """Answers are given, and the service ends in time, although no span can be sent."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with scripted_process(**env) as process:
        assert httpx2.post(f"{process.url}/v1/answer", json={"prompt": "q"}).status_code == 200
        process.popen.terminate()
        assert process.popen.wait(30) in (0, -15)


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_the_standard_variables_switch_spans_on(
    variables: dict[str, str], is_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tracer = open_tracer(TracingVariables(), has_text=False)
    assert (tracer is not None) is is_on
    if tracer:
        tracer.close()


WITHOUT_EXTRA = """
import sys
sys.modules |= dict.fromkeys(["opentelemetry.sdk", "opentelemetry.exporter"])
from demur.observability.tracing import open_tracer
from demur.settings import TracingVariables
assert open_tracer(TracingVariables(), has_text=False) is None
"""


def test_without_the_extra_there_are_no_spans_and_a_word_about_it() -> None:
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], env=environment, capture_output=True, text=True)
    assert (done.returncode, "pip install 'demur[otel]'" in done.stderr) == (0, True)


@pytest.mark.parametrize("state", ["", "a=1", "x" * 513])
def test_a_trace_state_is_bounded(state: str) -> None:
    """What is too long is left out; the trace goes on."""
    trail = Trail.of("r", {"traceparent": CALLER, "tracestate": state}, None)
    assert trail.caller == {"traceparent": CALLER} | ({"tracestate": state} if state == "a=1" else {})


def test_prompts_are_kept_out_of_spans_unless_told_otherwise() -> None:
    assert Settings().observability.log_prompts is False
