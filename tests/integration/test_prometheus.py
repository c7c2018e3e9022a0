"""A real Prometheus over two real services: every panel and every rule has data, and alerts fire on their faults.

One service is the embedded default, calibrated and audited. The other has all that the first has not: a language model
server, an NLI server, Redis, API keys. Their traffic never stops, so that rates have something to tell.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import promql_parser
import pytest

from demur.access.keys import new_key
from demur.backends import revisions_of
from demur.calibration.profile import write_profile
from demur.engine.calibrating import Calibration, Served
from demur.engine.prompting import PromptTemplate
from demur.settings import ClusteringSettings, Settings
from demur.types import Message, Question, Sampling
from deploy.grafana.build import DASHBOARDS
from tests.conformance.openai_server import MODEL, Behaviour, OpenAIServer, openai_server
from tests.conformance.tei_server import Tei, refusing, serving_tei
from tests.prometheus_server import Prometheus, prometheus, quickened, shipped_rules
from tests.redis_server import RedisServer, redis_server
from tests.service.running import serve_process, wait_for
from tests.unit.calibration.profiles import PROFILE

pytestmark = [pytest.mark.model, pytest.mark.prometheus, pytest.mark.timeout(300)]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
VARIABLES = {"$__rate_interval": "8s", "$__range": "60s", "$job": ".*", "$instance": ".*", "$model": ".*"}
PANELS = [
    pytest.param(query.expr, id=f"{dashboard.uid}: {panel.title}")
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
]
KNOWN, UNKNOWN = "What is the capital of France?", "Who founded Calverton Mills?"
# All samples are the same, in every answer: entropy stands at 0, and nothing but the change of the test moves it.
CERTAIN = {"sampling": {"n": 5, "temperature": 0.01}}
UNCERTAIN = {"sampling": {"n": 5, "temperature": 2.0}, "retrieval": {"available": False}}


class Traffic:
    """A question, asked again and again by somebody in a thread of their own; `fields` may change meanwhile."""

    def __init__(self, client: httpx2.Client, fields: Mapping[str, Any]) -> None:
        self._client = client
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.fields = fields
        self.n_answers = 0

    def _run(self) -> None:
        while not self._is_over.wait(0.1):
            body = {"prompt": KNOWN, "cache": {"mode": "bypass"}, "timeout_s": 10, **self.fields}
            self.n_answers += self._client.post("/v1/answer", json=body).status_code == 200

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(60)


@dataclass
class Watched:
    """Everything that runs."""

    prometheus: Prometheus
    default: httpx2.Client
    remote: httpx2.Client
    llm: OpenAIServer
    tei: Tei
    redis: RedisServer
    greedy_key: str
    killing: ExitStack
    traffic: Traffic = field(init=False)


def write_bundled_profile(folder: Path) -> None:
    """The test profile, under the key of the embedded default at quality `fast`."""
    template = PromptTemplate()
    calibration = Calibration({}, ClusteringSettings(), template, revisions_of(Settings()))
    question = Question((Message("user", KNOWN),), sampling=Sampling(n=5))
    key = calibration.key(question, Served("demur-facts", "demur-nli", has_greedy=True))
    assert PROFILE.with_context
    with_context = replace(PROFILE.with_context, prompt_template=template.digest)
    write_profile(replace(PROFILE, key=key, with_context=with_context), folder / "bundled.json")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    profiles, watching = folder / "profiles", folder / "prometheus"
    profiles.mkdir()
    watching.mkdir()
    write_bundled_profile(profiles)
    key, kept = new_key("shop", "answer,feedback,metrics")
    greedy_key, kept_greedy = new_key("greedy", "answer")
    with ExitStack() as stack, ExitStack() as killing:
        llm = killing.enter_context(openai_server(Behaviour(logprobs="omitted", delay_seconds=0.005)))
        tei, redis = stack.enter_context(serving_tei()), stack.enter_context(redis_server(folder / "redis"))
        default = stack.enter_context(
            serve_process(DEMUR_AUDIT__RATE="1", DEMUR_CALIBRATION__PROFILES=str(profiles), DEMUR_SERVER__PORT="0")
        )
        remote = stack.enter_context(
            serve_process(
                DEMUR_AUTH__API_KEYS=f"{kept.line};{kept_greedy.line}",
                DEMUR_AUTH__RATE_LIMIT="off",
                DEMUR_AUTH__RATE_LIMIT_SAMPLES="200/1s",
                DEMUR_NLI__BACKEND="tei",
                DEMUR_NLI__URL=tei.url,
                DEMUR_SAMPLER__BACKEND="openai",
                DEMUR_SAMPLER__BASE_URLS=llm.url,
                DEMUR_SAMPLER__MODEL=MODEL,
                DEMUR_SERVER__MAX_INFLIGHT="2",
                DEMUR_SERVER__MAX_QUEUE="2",
                DEMUR_STORE__URL=redis.url,
            )
        )
        asking = httpx2.Client(base_url=default.url, timeout=60)
        shopping = httpx2.Client(base_url=remote.url, timeout=60, headers={"X-API-Key": key})
        targets = [each.url.removeprefix("http://") for each in (default, remote)]
        running = stack.enter_context(prometheus(watching, targets, key=key))
        found = Watched(running, asking, shopping, llm, tei, redis, greedy_key, killing)
        with asking, shopping, Traffic(shopping, CERTAIN) as found.traffic:
            use(found)
            yield found


def use(watched: Watched) -> None:
    """What people do with the two services, and what goes wrong on an ordinary day; twice, as rates compare."""
    for _ in range(2):
        use_default(watched.default)
        use_remote(watched)
        wait_for_scrapes(watched, 2)
    earlier = quickened("avg_over_time(demur:semantic_entropy_nats:mean_rate1h[7d] offset 1h)")
    wait_for(lambda: watched.prometheus.has_data(earlier), "a past to compare with")


def use_default(client: httpx2.Client) -> None:
    """Answers of each decision, with passages, remembered, refused; and labels on them."""
    fast = {"quality": "fast"}
    passages = {"context": [{"text": "Calverton Mills was founded by Edda Marlow."}], "cache": {"mode": "bypass"}}
    answered = [
        client.post("/v1/answer", json={"prompt": KNOWN, **fast}, headers={"traceparent": f"00-{TRACE}-{'1' * 16}-01"}),
        client.post("/v1/answer", json={"prompt": KNOWN, **fast}),
        client.post("/v1/answer", json={"prompt": UNKNOWN, **fast}),
        client.post("/v1/answer", json={"prompt": UNKNOWN, **fast, "retrieval": {"available": False}}),
        client.post("/v1/answer", json={"prompt": UNKNOWN, **fast, **passages}),
    ]
    decisions = [reply.json()["decision"] for reply in answered]
    assert {"answer", "retrieve", "abstain"} <= set(decisions), decisions
    for reply, label in zip(answered, ["correct", "correct", "incorrect", "incorrect", "correct"], strict=True):
        for source in ("audit", "human"):
            said = {"answer_id": reply.json()["id"], "label": label, "source": source}
            assert client.post("/v1/feedback", json=said).status_code == 202
    assert client.post("/v1/answer", json={"prompt": KNOWN, "tempratue": 1}).status_code == 422
    assert client.get("/nowhere").status_code == 404


def use_remote(watched: Watched) -> None:
    """A remembered answer, a failing call, an NLI server that refuses, tools, Redis that hangs, too many at once."""
    client, llm = watched.remote, watched.llm
    for _ in range(2):
        client.post("/v1/answer", json={"prompt": KNOWN, "sampling": {**CERTAIN["sampling"], "seed": 1}})
    good = llm.behaviour
    llm.behaviour = replace(good, fault="error", n_faults=len(llm.bodies) + 1)
    client.post("/v1/answer", json={"prompt": "What is the capital of Peru?", **CERTAIN})
    llm.behaviour = good
    watched.tei.faults += [refusing(424)] * 2
    client.post("/v1/answer", json={"prompt": "What is the capital of Chad?", **CERTAIN})
    called = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    chat = {"model": MODEL, "messages": [{"role": "user", "content": KNOWN}], "tools": [called]}
    assert client.post("/v1/chat/completions", json=chat).status_code == 200
    with watched.redis.paused():
        client.post("/v1/answer", json={"prompt": "What is the capital of Laos?", **CERTAIN})
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: ask_greedily(watched), range(12)))


def ask_greedily(watched: Watched) -> httpx2.Response:
    body = {"prompt": KNOWN, "sampling": {"n": 32, "temperature": 0.01}, "cache": {"mode": "bypass"}}
    headers = {"X-API-Key": watched.greedy_key}
    return httpx2.post(f"{watched.remote.base_url}/v1/answer", json=body, headers=headers, timeout=60)


def wait_for_data(watched: Watched, query: str) -> None:
    """Questions go on being asked, and what compares with the past needs some past."""
    wait_for(lambda: watched.prometheus.has_data(query), f"data for {query}")


def wait_for_scrapes(watched: Watched, n: int) -> None:
    """So many more samples of each target."""

    def n_scraped() -> int:
        return sum(len(series["values"]) for series in watched.prometheus.series("timestamp(up)"))

    seen = n_scraped()
    wait_for(lambda: n_scraped() >= seen + 2 * n, "Prometheus to look again")


def filled(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return quickened(expr, {**{value: value for value in VARIABLES.values()}, "1d": "30s"})


def compared(expr: Any) -> Iterator[Any]:
    """What an alert looks at: the sides of its comparisons, which have data in good days as in bad ones."""
    if isinstance(expr, promql_parser.NumberLiteral):
        return
    if isinstance(expr, promql_parser.BinaryExpr) and str(expr.op) in {">", "<", ">=", "<=", "==", "!=", "and", "or"}:
        yield from compared(expr.lhs)
        yield from compared(expr.rhs)
    elif isinstance(expr, promql_parser.ParenExpr | promql_parser.AggregateExpr) and _compares(expr):
        yield from compared(expr.expr)
    else:
        yield expr


def _compares(expr: Any) -> bool:
    inner = expr.expr
    return isinstance(inner, promql_parser.BinaryExpr) and str(inner.op) in {">", "<", ">=", "<=", "==", "!=", "and"}


ALERTS = [
    pytest.param(str(side), id=f"{rule['alert']}: {side}")
    for rule in shipped_rules()
    if "alert" in rule
    for side in compared(promql_parser.parse(rule["expr"]))
]
RECORDS = [pytest.param(rule["expr"], id=rule["record"]) for rule in shipped_rules() if "record" in rule]


@pytest.mark.parametrize("expr", PANELS)
def test_every_panel_shows_something(watched: Watched, expr: str) -> None:
    wait_for_data(watched, filled(expr))


@pytest.mark.parametrize("expr", RECORDS)
def test_every_recording_rule_records(watched: Watched, expr: str) -> None:
    wait_for_data(watched, quickened(expr))


@pytest.mark.parametrize("expr", ALERTS)
def test_every_alert_looks_at_something(watched: Watched, expr: str) -> None:
    """An alert on a metric that is not there would keep quiet whatever happened."""
    wait_for_data(watched, quickened(expr))


def test_prometheus_takes_every_rule(watched: Watched) -> None:
    """All are loaded, and none fails when it is evaluated."""
    rules = watched.prometheus.rules()
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in shipped_rules()}
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}


def test_exemplars_reach_prometheus(watched: Watched) -> None:
    """From a bar of the entropy heatmap, or of latency, to the trace of one who was in it."""
    for name in ("demur_semantic_entropy_nats_bucket", "demur_http_request_duration_seconds_bucket"):
        assert TRACE in {exemplar["labels"]["trace_id"] for exemplar in watched.prometheus.exemplars(name)}


def test_alerts_keep_quiet_while_nothing_changes(watched: Watched) -> None:
    assert not {"DemurDown", "DemurEntropyDrift", "DemurAbstainSpike"} & watched.prometheus.firing(MODEL)


def test_alerts_fire_when_the_model_becomes_unsure(watched: Watched) -> None:
    """Another temperature, and nowhere to look things up: entropy drifts, and the abstentions with it."""
    before = watched.traffic.n_answers
    watched.traffic.fields = UNCERTAIN
    wait_for(lambda: watched.traffic.n_answers > before, "an answer at the other temperature")
    wait_for(lambda: "DemurEntropyDrift" in watched.prometheus.firing(MODEL), "DemurEntropyDrift to fire")
    wait_for(lambda: "DemurAbstainSpike" in watched.prometheus.firing(MODEL), "DemurAbstainSpike to fire")


def test_alerts_fire_when_the_language_model_dies(watched: Watched) -> None:
    """Its server is gone: calls are kept from it, and requests end in errors."""
    watched.killing.close()
    wait_for(lambda: "DemurBackendCircuitOpen" in watched.prometheus.firing(MODEL), "DemurBackendCircuitOpen to fire")
    wait_for(lambda: "DemurHighErrorRatio" in watched.prometheus.firing(MODEL), "DemurHighErrorRatio to fire")
