"""The service against what its OpenAPI document promises: generated requests, right and wrong, on every operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.checks import CheckFunction
from schemathesis.core.failures import Failure
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from demur.access.keys import SCOPES, new_key
from demur.app import create_app
from demur.settings import AuthSettings, Settings
from demur.types import Sampling
from tests.service.running import serve_process, serving
from tests.unit.calibration.profiles import KEY as KEY_OF_PROFILE

SECRET, KEY = new_key("tester", ",".join(SCOPES))
HEADERS = {"Authorization": f"Bearer {SECRET}"}


class Bug(Failure):
    """A status that says that the service, or what it rests on, broke."""


def no_bug(ctx: Any, response: Any, case: Any) -> None:
    """Whatever is sent: 500, 501 and 502 mean that something broke."""
    if response.status_code in (500, 501, 502):
        raise Bug(operation=case.operation.label, title="bug", message=f"{response.status_code}: {response.text}")


def nothing_wrong_is_taken(ctx: Any, response: Any, case: Any) -> Any:
    """As schemathesis has it, to which 413 is no refusal."""
    return None if response.status_code == 413 else checks.negative_data_rejection(ctx, response, case)


CHECKS: list[CheckFunction] = [
    no_bug,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.missing_required_header,
    nothing_wrong_is_taken,
    checks.ignored_auth,
]


# Requests for one operation, by how much there is to get wrong in it; `make test-full` sends ten times as many.
N_WITH_BODY, N_WITH_INPUT, N_PLAIN = 90, 20, 3
SLOW_FACTOR = 10


@dataclass(frozen=True)
class Plan:
    """`n_cases` generated requests for one operation; `mode`: as the document has it, or otherwise."""

    method: str
    path: str
    mode: GenerationMode
    n_cases: int

    def __str__(self) -> str:
        return f"{self.mode.value} {self.method.upper()} {self.path}"


def _plans() -> Iterator[Plan]:
    for path, operations in create_app(_settings()).openapi()["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", [])
            n_cases = N_WITH_BODY if "requestBody" in operation else N_WITH_INPUT if parameters else N_PLAIN
            yield Plan(method, path, GenerationMode.POSITIVE, n_cases)
            if "requestBody" in operation or any(each["in"] == "query" for each in parameters):  # any path is a text
                yield Plan(method, path, GenerationMode.NEGATIVE, n_cases)


def _settings() -> Settings:
    auth = AuthSettings(api_keys=SecretStr(KEY.line), rate_limit="off", rate_limit_samples="off")
    return Settings(auth=auth)


def _answers(question: str, sampling: Sampling) -> list[str]:
    return [f"{question[:100]} Paris", question[:200], "Lyon"]


PLANS = list(_plans())


@pytest.fixture(scope="module")
def scripted() -> Iterator[Any]:
    with serving(_answers, settings=_settings()) as service:
        yield _schema(service.url)
        assert service.ask("q").status_code == 401, "the service lives"


def _schema(url: str) -> Any:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=HEADERS)
    schema.config.generation.update(with_security_parameters=False)  # ours are in HEADERS
    return schema


def _check(schema: Any, plan: Plan, n_cases: int) -> Counter[int]:
    """Send generated requests and hold every response against the document; how many had which status."""
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=n_cases, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=schema[plan.path][plan.method].as_strategy(generation_mode=plan.mode))
    def send(case: Any) -> None:
        if plan.mode is GenerationMode.POSITIVE and statuses.total() % 2:
            _make_sense(case, schema)
        response = case.call_and_validate(headers=HEADERS, checks=CHECKS, timeout=60)
        statuses[response.status_code] += 1

    send()
    return statuses


def _make_sense(case: Any, schema: Any) -> None:
    """What the document allows is mostly nonsense: name things that exist, ask something, and ask for little."""
    named = {
        "answer_id": lambda: _answer_id(schema),
        "slug": lambda: "rate-limited",
        "calibration_id": lambda: _posted(schema, "/v1/calibrations", CALIBRATION)["id"],
    }
    for fields in (case.path_parameters, case.body):
        for name, value in named.items():
            if isinstance(fields, dict) and name in fields:
                fields[name] = value()
    if case.operation.path in ("/v1/answer", "/v1/score"):
        case.body = {**case.body, "prompt": "What is the capital of Peru?", "model": None, "messages": None}
        case.body |= {"sampling": {"n": 2, "max_tokens": 16}, "timeout_s": 60, "strict": False}
        case.body["context"] = [{**passage, "text": "Lima"} for passage in case.body.get("context", [])]
    if case.operation.path == "/v1/score":
        case.body |= {"answer": "Lima", "quality": None, "sample_logprobs": None}
        case.body["sampling"] = {} if case.body.get("samples") else case.body["sampling"]
    if case.operation.path == "/v1/cluster":
        case.body |= {"weights": None, "timeout_s": 60}
    if case.operation.label == "POST /v1/calibrations":
        case.body = {**CALIBRATION, "activate": case.body.get("activate", False)}
    if case.operation.path == "/v1/chat/completions":
        case.body = {"model": None, "messages": [{"role": "user", "content": "What is the capital of Peru?"}], "n": 2}
        case.body |= {"max_tokens": 16, "uncertainty": {"n": 2, "timeout_s": 60}}
        case.headers = {}


# 120 labelled answers, the surer ones more often right.
_SIGNALS = [{"agreement": (i % 10 + 1.5) / 11} for i in range(120)]
CALIBRATION = {
    "source": "dataset",
    "certificate": False,
    "dataset": {
        "key": asdict(KEY_OF_PROFILE),
        "answers": [
            {"id": f"q{i}", "correct": i % 10 > 3 or i < 10, "signals": each} for i, each in enumerate(_SIGNALS)
        ],
    },
}


def _answer_id(schema: Any) -> Any:
    return _posted(schema, "/v1/answer", {"prompt": "q"})["id"]


def _posted(schema: Any, path: str, body: dict[str, Any]) -> Any:
    url = schema.location.removesuffix("/openapi.json") + path
    response = httpx2.post(url, json=body, headers=HEADERS, timeout=60)
    assert response.is_success, response.text
    return response.json()


def test_at_least_500_requests_are_planned() -> None:
    """And ten times as many in the long run."""
    assert sum(plan.n_cases for plan in PLANS if plan.n_cases > N_PLAIN) >= 500


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_response_is_as_documented(scripted: Any, plan: Plan) -> None:
    """Status, type, headers and body; nothing wrong is taken, nobody comes in without a key, nothing breaks."""
    statuses = _check(scripted, plan, plan.n_cases)
    assert statuses.total() >= plan.n_cases or plan.n_cases == N_PLAIN
    if plan.mode is GenerationMode.POSITIVE:
        assert any(200 <= status < 300 for status in statuses), statuses


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_response_is_as_documented_at_length(scripted: Any, plan: Plan) -> None:
    """The same with ten times as many."""
    _check(scripted, plan, plan.n_cases * SLOW_FACTOR)


@pytest.mark.model
@pytest.mark.timeout(600)  # models are loaded and asked fifty times, maybe beside other work
def test_the_bundled_models_keep_the_promise_too() -> None:
    """50 requests that the document allows, to the language model and the NLI model of the embedded default."""
    env = {
        "DEMUR_AUTH__API_KEYS": KEY.line,
        "DEMUR_AUTH__RATE_LIMIT": "off",
        "DEMUR_AUTH__RATE_LIMIT_SAMPLES": "off",
        "DEMUR_DEFAULTS__MAX_SAMPLES": "4",
        "DEMUR_DEFAULTS__MAX_TOKENS": "16",
        "DEMUR_DEFAULTS__MAX_TIMEOUT_S": "60",
    }
    with serve_process(**env) as process:
        statuses = _check(_schema(process.url), Plan("post", "/v1/answer", GenerationMode.POSITIVE, 50), 50)
        assert statuses.total() >= 50
        assert statuses[200] >= 15, statuses
        assert httpx2.get(f"{process.url}/livez").status_code == 200
