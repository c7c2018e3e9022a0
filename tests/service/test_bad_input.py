"""Bad input gets a clear 4xx that names the field, and leaves the service healthy."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.service.running import Service, serving

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving({"q": ["Paris"]}) as running:
        yield running


@pytest.fixture(autouse=True)
def still_healthy(service: Service) -> Iterator[None]:
    """After each refusal the next good request is answered."""
    yield
    assert service.ask("q").status_code == 200


# body, pointer of the field that is wrong, words that the detail must hold
FIELDS: list[tuple[dict[str, object], str, str]] = [
    ({"prompt": "q", "tempratue": 1}, "/tempratue", "not permitted"),
    ({"prompt": "q", "sampling": {"temperature": 0}}, "/sampling/temperature", "measures nothing"),
    ({"prompt": "q", "sampling": {"temperature": 2.1}}, "/sampling/temperature", "at most 2"),
    ({"prompt": "q", "sampling": {"temperature": "hot"}}, "/sampling/temperature", "number"),
    ({"prompt": "q", "sampling": {"n": 1000}}, "/sampling/n", "32"),
    ({"prompt": "q", "sampling": {"n": 1}}, "/sampling/n", "greater than or equal to 2"),
    ({"prompt": "q", "sampling": {"n": 10**30}}, "/sampling/n", "32"),
    ({"prompt": "q", "sampling": {"max_tokens": 0}}, "/sampling/max_tokens", "greater than or equal to 1"),
    ({"prompt": "q", "sampling": {"max_tokens": 100_000}}, "/sampling/max_tokens", "1024"),
    ({"prompt": "q", "sampling": {"top_p": 0}}, "/sampling/top_p", "greater than 0"),
    ({"prompt": "q", "sampling": {"seed": -1}}, "/sampling/seed", "greater than or equal to 0"),
    ({"prompt": "q", "sampling": {"stop": ["a", "b", "c", "d", "e"]}}, "/sampling/stop", "4"),
    ({"prompt": "q", "sampling": {"stop": [""]}}, "/sampling/stop/0", "1 character"),
    ({"prompt": ""}, "/prompt", "blank"),
    ({"prompt": " \n\t "}, "/prompt", "blank"),
    ({"prompt": None}, "", "exactly one"),
    ({}, "", "exactly one"),
    ({"prompt": "q", "messages": [{"role": "user", "content": "q"}]}, "", "exactly one"),
    ({"messages": []}, "/messages", "at least 1"),
    ({"messages": [{"role": "user", "content": " "}]}, "/messages", "not blank"),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, "/messages", "user"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "/messages/0/role", "'system'"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "/messages/0/content", "string"),
    ({"prompt": "q" * 32_001}, "/prompt", "32000"),
    ({"messages": [{"role": "user", "content": "q" * 32_001}]}, "/messages", "32000"),
    ({"prompt": "q", "context": [{"text": ""}]}, "/context/0/text", "1 character"),
    ({"prompt": "q", "context": [{"text": "x" * 8001}]}, "/context/0/text", "8000"),
    ({"prompt": "q", "context": [{"text": "x"}] * 33}, "/context", "32"),
    ({"prompt": "q", "quality": "best"}, "/quality", "'fast'"),
    ({"prompt": "q", "policy": {"answer_min": 1.1}}, "/policy/answer_min", "less than or equal to 1"),
    ({"prompt": "q", "retrieval": {"attempt": 9}}, "/retrieval/attempt", "8"),
    ({"prompt": "q", "include": ["everything"]}, "/include/0", "'samples'"),
    ({"prompt": "q", "timeout_s": 0}, "/timeout_s", "0.1"),
    ({"prompt": "q", "timeout_s": 301}, "/timeout_s", "300"),
    ({"prompt": "q", "metadata": {"k": "v" * 513}}, "/metadata/k", "512"),
    ({"prompt": "q", "metadata": {str(i): "v" for i in range(17)}}, "/metadata", "16"),
    ({"prompt": 7}, "/prompt", "string"),
]


@pytest.mark.parametrize(("body", "pointer", "words"), FIELDS)
def test_a_wrong_field_is_named(service: Service, body: dict[str, object], pointer: str, words: str) -> None:
    """422 validation-failed, with a JSON pointer to the field and what it needs."""
    response = service.client.post("/v1/answer", json=body)
    problem = response.json()
    assert response.status_code == 422, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/validation-failed"
    assert problem["request_id"] == response.headers["x-request-id"]
    named = {e["pointer"]: e["detail"] for e in problem["errors"]}
    assert pointer in named
    assert words in named[pointer]


def test_not_more_errors_are_told_than_anybody_reads(service: Service) -> None:
    """5,000 wrong fields: the first hundred and how many more, so that the reply is no larger than the request."""
    response = service.client.post("/v1/answer", json={"prompt": "q", **{f"k{i}": i for i in range(5_000)}})
    errors = response.json()["errors"]
    assert (response.status_code, len(errors)) == (422, 101)
    assert errors[-1] == {"pointer": "", "detail": "and 4900 more"}


BODIES = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b'{"prompt": "q",}', "not JSON"),
    (b'{"prompt": "q", "sampling": {"temperature": NaN}}', "NaN"),
    (b'{"prompt": "q", "timeout_s": Infinity}', "Infinity"),
    (b'{"prompt": "q", "timeout_s": -Infinity}', "-Infinity"),
    (b'{"prompt": "\\ud800"}', "surrogate"),
    (b'{"\\udfff": "q"}', "surrogate"),
    (b'{"prompt": "\xff\xfe"}', "UTF-8"),
    (b'{"prompt": "caf\xe9"}', "UTF-8"),
    (b"[" * 100_000, "deeply"),
    (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "deeply"),
    (b'{"prompt": ' + b"9" * 10_000 + b"}", "not JSON"),
]


@pytest.mark.parametrize(("body", "words"), BODIES)
def test_what_is_not_json_is_refused(service: Service, body: bytes, words: str) -> None:
    """400 malformed-json, saying what is wrong."""
    response = service.client.post("/v1/answer", content=body, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-json")
    assert words in response.json()["detail"]


@pytest.mark.parametrize("body", [b"null", b"[]", b'"q"', b"7"])
def test_json_that_is_no_object_is_refused(service: Service, body: bytes) -> None:
    """Valid JSON of the wrong shape: 422, pointing at the document."""
    response = service.client.post("/v1/answer", content=body, headers=JSON)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "")


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_refused_unread(service: Service, announced: bool) -> None:
    """5 MB: 413, whether the client announces the length or streams chunks."""
    body = json.dumps({"prompt": "q" * 5_000_000}).encode()
    chunks = (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    response = service.client.post("/v1/answer", content=body if announced else chunks, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (413, "/problems/body-too-large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_must_be_declared_as_json(service: Service, content_type: str) -> None:
    """415, naming what was sent."""
    response = service.client.post("/v1/answer", content=b'{"prompt": "q"}', headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["type"]) == (415, "/problems/unsupported-media-type")


def test_wrong_paths_methods_and_models(service: Service) -> None:
    """404, 405 with `Allow`, and 404 for a model that is not served."""
    assert service.client.get("/nowhere").json()["type"] == "/problems/not-found"
    wrong = service.client.get("/v1/answer")
    assert (wrong.status_code, wrong.headers["allow"], wrong.json()["type"]) == (
        405,
        "POST",
        "/problems/method-not-allowed",
    )
    missing = service.ask("q", model="gpt-9")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/model-not-found")
    assert "scripted" in missing.json()["detail"]


def test_a_backend_failure_is_not_the_callers_fault(service: Service) -> None:
    """The sampler has no answer: 502 backend-error."""
    assert service.ask("unknown").json()["type"] == "/problems/backend-error"


def test_hostile_request_ids_are_replaced(service: Service) -> None:
    """A good id is echoed; one that could forge a log line is not."""
    good = service.client.get("/livez", headers={"X-Request-ID": "abc-1"})
    bad = service.client.get("/livez", headers={"X-Request-ID": "a b;\tc"})
    assert good.headers["x-request-id"] == "abc-1"
    assert bad.headers["x-request-id"].startswith("req_")


def test_a_bug_is_a_problem_without_details() -> None:
    """An unexpected exception: 500 internal, with the request id and no word of what broke."""

    def broken(question: str, sampling: object) -> list[str]:
        raise RuntimeError("secret detail")

    with serving(broken) as service:
        response = service.ask("q")
        assert (response.status_code, response.json()["type"]) == (500, "/problems/internal")
        assert "secret" not in response.text
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert service.client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"sampling": {"seed": True}}, "/sampling/seed"),
        ({"context": [{"text": "Lima", "score": True}]}, "/context/0/score"),
        ({"timeout_s": True}, "/timeout_s"),
    ],
)
def test_true_is_no_number(service: Service, fields: dict[str, object], pointer: str) -> None:
    refused = service.ask("q", **fields)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
