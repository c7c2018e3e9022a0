"""Every endpoint x (no key, wrong key, wrong scope, right scope, another tenant's id), generated from the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from demur.access.gate import Need
from demur.access.keys import SCOPES, new_key
from demur.api.openai_errors import OPENAI_PATHS
from demur.app import create_app
from demur.settings import AuthSettings, Settings
from tests.security.routes import Endpoint, endpoints
from tests.service.running import Service, serving

# Who may call what. An endpoint that is missing here fails these tests until somebody has decided.
DECISIONS: dict[str, Need] = {
    "POST /answer": "answer",
    "POST /v1/answer": "answer",
    "POST /v1/score": "answer",
    "POST /v1/cluster": "answer",
    "POST /v1/chat/completions": "answer",
    "GET /v1/models": "answer",
    "GET /v1/policies": "answer",
    "GET /v1/answers/{}": "answer",
    "DELETE /v1/answers/{}": "answer",
    "POST /v1/feedback": "feedback",
    "GET /v1/feedback": "admin",
    "GET /v1/audits": "admin",
    "GET /v1/calibrations": "admin",
    "POST /v1/calibrations": "admin",
    "POST /v1/calibrations/{}/activate": "admin",
    "GET /metrics": "metrics",
    "GET /openapi.json": "any key",
    "GET /docs": "any key",
    "GET /livez": "nothing",
    "GET /readyz": "nothing",
    "GET /startupz": "nothing",
    "GET /health": "nothing",
    "GET /version": "nothing",
    "GET /problems/{}": "nothing",
    "GET /playground": "nothing",
    "GET /playground/{}": "nothing",
}

KEYS = {name: new_key(name, scopes) for name, scopes in {"all": ",".join(SCOPES), "other": "answer,feedback"}.items()}
KEYS |= {f"only {scope}": new_key(f"only-{scope}", scope) for scope in SCOPES}
KEYS |= {f"not {scope}": new_key(f"not-{scope}", ",".join(s for s in SCOPES if s != scope)) for scope in SCOPES}


def _settings() -> Settings:
    lines = ";".join(key.line for _, key in KEYS.values())
    return Settings(auth=AuthSettings(api_keys=SecretStr(lines), rate_limit="off", rate_limit_samples="off"))


ENDPOINTS = endpoints(create_app(_settings()))
CLOSED = [e for e in ENDPOINTS if e.need != "nothing"]
SCOPED = [e for e in CLOSED if e.need != "any key"]
OPEN = [e for e in ENDPOINTS if e.need == "nothing"]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving({"q": ["Paris"]}, settings=_settings()) as running:
        yield running


def _bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name][0]}"}


def _call(service: Service, endpoint: Endpoint, headers: dict[str, str], path: str | None = None) -> httpx2.Response:
    body = {"json": {}} if endpoint.reads_body else {}
    return service.client.request(endpoint.method, path or endpoint.sample_path, headers=headers, **body)


def _is_problem(response: httpx2.Response, status: int, slug: str) -> bool:
    """A problem, or on the paths for OpenAI's clients an error as they read it."""
    if response.url.path in OPENAI_PATHS:
        return (response.status_code, response.json()["error"]["code"]) == (status, slug)
    is_typed = response.headers["content-type"] == "application/problem+json"
    return is_typed and (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_somebody_decided_who_may_call(endpoint: Endpoint) -> None:
    """The route names what it needs, and that is what was decided."""
    name = f"{endpoint.method} {re.sub(r'{[^}]*}', '{}', endpoint.path)}"
    assert endpoint.need == DECISIONS[name]


@pytest.mark.parametrize("endpoint", CLOSED, ids=str)
def test_no_key(service: Service, endpoint: Endpoint) -> None:
    """401, and how to send one."""
    response = _call(service, endpoint, {})
    assert _is_problem(response, 401, "unauthenticated"), response.text
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("endpoint", CLOSED, ids=str)
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer demur_0000"},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": KEYS["all"][0]},
        {"Authorization": f"Basic {KEYS['all'][0]}"},
        {"Authorization": f"Bearer {KEYS['all'][1].digest}"},
        {"Authorization": f"Bearer {KEYS['all'][0]}x"},
        {"Authorization": f"Bearer {KEYS['all'][0][:-1]}"},
        {"X-API-Key": ""},
        {"X-API-Key": KEYS["all"][1].digest},
        {"X-API-Key": KEYS["all"][1].line},
        {"X-API-Key": KEYS["all"][0].upper()},
        {"X-API-Key": "x", **_bearer("all")},
        {"X-API-Key": KEYS["all"][0], "Authorization": "Bearer x"},
        {"X-API-Key": KEYS["all"][0], "Authorization": "Basic eDp4"},
    ],
)
def test_a_wrong_key(service: Service, endpoint: Endpoint, headers: dict[str, str]) -> None:
    """Whatever is not a key is 401: parts of one, its digest, another scheme, two that differ."""
    assert _is_problem(_call(service, endpoint, headers), 401, "unauthenticated")


@pytest.mark.parametrize("endpoint", SCOPED, ids=str)
def test_the_wrong_scope(service: Service, endpoint: Endpoint) -> None:
    """A key with every scope but the one that is needed: 403, naming it."""
    response = _call(service, endpoint, _bearer(f"not {endpoint.need}"))
    assert _is_problem(response, 403, "forbidden"), response.text
    assert repr(endpoint.need) in response.text


@pytest.mark.parametrize("endpoint", CLOSED, ids=str)
def test_the_right_scope_alone_is_enough(service: Service, endpoint: Endpoint) -> None:
    """In either header."""
    name = "only metrics" if endpoint.need == "any key" else f"only {endpoint.need}"
    for headers in (_bearer(name), {"X-API-Key": KEYS[name][0]}):
        assert _call(service, endpoint, headers).status_code not in (401, 403)


@pytest.mark.parametrize("endpoint", OPEN, ids=str)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_what_is_open_is_open_to_all(service: Service, endpoint: Endpoint, headers: dict[str, str]) -> None:
    """Probes do not depend on keys."""
    assert _call(service, endpoint, headers).status_code not in (401, 403)


def _ids_in(endpoint: Endpoint) -> set[str]:
    return set(re.findall(r"{([^}]*)}", endpoint.path))


# Ids that belong to nobody: problem pages are for all, calibrations are of the service and need `admin`.
_SHARED_IDS = {"slug", "calibration_id", "name"}
_WITH_OWN_IDS = [e for e in ENDPOINTS if _ids_in(e) - _SHARED_IDS]


@pytest.mark.parametrize("endpoint", _WITH_OWN_IDS, ids=str)
def test_another_tenants_id_is_as_good_as_none(service: Service, endpoint: Endpoint) -> None:
    """What one tenant owns looks to another exactly like what was never there, and is still there afterwards."""
    assert _ids_in(endpoint) == {"answer_id"}, "say in this test whose ids these are"
    own = _call_answer(service, "all")
    never = "ans_00000000000000000000000000"
    theirs, missing = (
        _call(service, endpoint, _bearer("other"), endpoint.path.replace("{answer_id}", each)) for each in (own, never)
    )
    assert _is_problem(theirs, 404, "not-found"), theirs.text
    told = [{**r.json(), "request_id": "", "instance": ""} for r in (theirs, missing)]
    assert str(told[0]).replace(own, never) == str(told[1])
    kept = service.client.get(f"/v1/answers/{own}", headers=_bearer("all"))
    assert kept.status_code == 200, kept.text


def test_another_tenants_id_in_a_body_is_as_good_as_none(service: Service) -> None:
    """Every body that names an answer, by the OpenAPI document: not found, unless the caller is `admin`."""
    document = service.client.get("/openapi.json", headers=_bearer("all")).json()
    own = _call_answer(service, "all")
    bodies = {"/v1/feedback": {"answer_id": own, "label": "correct"}}
    naming = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "answer_id" in _properties(document, operation)
    }
    assert naming == set(bodies), "say in this test what to send"
    for path, body in bodies.items():
        assert _is_problem(service.client.post(path, json=body, headers=_bearer("other")), 404, "not-found")
        assert service.client.post(path, json=body, headers=_bearer("all")).status_code == 202


def _properties(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    content = operation.get("requestBody", {}).get("content", {})
    names = [body["schema"].get("$ref", "").rsplit("/", 1)[-1] for body in content.values()]
    return {prop for name in names if name for prop in document["components"]["schemas"][name]["properties"]}


def _call_answer(service: Service, name: str) -> str:
    response = service.client.post("/v1/answer", json={"prompt": "q"}, headers=_bearer(name))
    assert response.json()["stored"], "these tests need a store"
    answer_id: str = response.json()["id"]
    return answer_id


@pytest.mark.parametrize("endpoint", [e for e in CLOSED if e.reads_body], ids=str)
def test_strangers_are_not_listened_to(service: Service, endpoint: Endpoint) -> None:
    """Without a key nothing of the body is looked at: too large, no JSON, compressed, it is 401 all the same."""
    for content, headers in ((b"x" * 2_000_000, {}), (b"{", {}), (b"{}", {"Content-Encoding": "gzip"})):
        response = service.client.request(endpoint.method, endpoint.sample_path, content=content, headers=headers)
        assert response.status_code == 401


def test_openapi_tells_which_endpoints_need_a_key(service: Service) -> None:
    """The document names both ways to send one for exactly those that need it, and a problem for each refusal."""
    document = service.client.get("/openapi.json", headers=_bearer("all")).json()
    assert {"HTTPBearer", "APIKeyHeader"} == set(document["components"]["securitySchemes"])
    closed = {(e.method.lower(), e.path) for e in CLOSED}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert ("security" in operation) == ((method, path) in closed), path
            assert ("401" in operation["responses"]) == ((method, path) in closed), path


@pytest.mark.parametrize(
    ("docs", "has_keys", "statuses"),
    [
        ("auto", False, {200}),
        ("auto", True, {401}),
        ("open", True, {200}),
        ("off", False, {404}),
        ("off", True, {404}),
    ],
)
def test_the_pages_about_the_service_close_once_there_are_keys(docs: str, has_keys: bool, statuses: set[int]) -> None:
    """/docs and /openapi.json: open without keys; with keys only to who has one, unless the operator says otherwise."""
    settings = _settings() if has_keys else Settings()
    server = settings.server.model_copy(update={"docs": docs})
    with serving({"q": ["Paris"]}, settings=settings.model_copy(update={"server": server})) as service:
        assert {service.client.get(path).status_code for path in ("/docs", "/openapi.json")} == statuses
        assert service.client.get("/redoc").status_code == 404
