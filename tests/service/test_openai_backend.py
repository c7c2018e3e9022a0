"""The service on an OpenAI-compatible server, from setting to response."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from pydantic import ValidationError

from demur.settings import SamplerSettings
from tests.conformance.openai_server import MODEL, Behaviour, OpenAIServer, openai_server
from tests.service.running import serve_process
from tests.service.test_command_line import demur

QUESTION = "What is the capital of France?"


@contextmanager
def service(*servers: OpenAIServer, **env: str) -> Iterator[httpx2.Client]:
    """`demur serve` in a process of its own, with exact match in place of an NLI model: no torch is needed."""
    with (
        serve_process(**settings(*servers), **env) as process,
        httpx2.Client(base_url=process.url, timeout=30) as client,
    ):
        yield client


def settings(*servers: OpenAIServer) -> dict[str, str]:
    return {
        "DEMUR_SAMPLER__BACKEND": "openai",
        "DEMUR_SAMPLER__BASE_URLS": ",".join(server.url for server in servers),
        "DEMUR_SAMPLER__MODEL": MODEL,
        "DEMUR_SAMPLER__API_KEY": "sk-secret",
        "DEMUR_NLI__BACKEND": "exact",
    }


def ask(client: httpx2.Client, prompt: str = QUESTION, **fields: object) -> httpx2.Response:
    return client.post("/v1/answer", json={"prompt": prompt, "sampling": {"seed": 1, "max_tokens": 8}, **fields})


def test_a_good_server_gives_every_number() -> None:
    """From two replicas; with the key, and with the backend in the metrics."""
    with openai_server() as one, openai_server() as two, service(one, two) as client:
        answer = ask(client).json()
        assert answer["model"] == MODEL
        assert answer["sampling"]["completed"] == 10
        assert answer["token_confidence"]["kind"] == "greedy"
        assert answer["token_confidence"]["source"] == "raw"
        assert answer["uncertainty"]["semantic_entropy_weighted"] is not None
        assert answer["usage"]["prompt_tokens"] > 0
        assert "no_logprobs" not in answer["degraded"]
        backend = one.url.split("/")[2]
        assert f'demur_backend_requests_total{{backend="{backend}",outcome="ok"}}' in client.get("/metrics").text
        assert set(one.keys + two.keys) == {"Bearer sk-secret"}


def test_a_server_without_logprobs_degrades_and_strict_refuses() -> None:
    """null and a reason, never a number."""
    with openai_server(Behaviour(n="ignored", logprobs="omitted")) as server, service(server) as client:
        answer = ask(client).json()
        assert answer["token_confidence"] is None
        assert answer["uncertainty"]["semantic_entropy_weighted"] is None
        assert answer["uncertainty"]["predictive_entropy"] is None
        assert "no_logprobs" in answer["degraded"]
        refused = ask(client, strict=True)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unsupported-by-backend")


def test_errors_of_the_server_are_problems() -> None:
    """Too long, busy (with its own Retry-After) and broken."""
    with openai_server() as server, service(server, DEMUR_SAMPLER__TIMEOUT_S="5") as client:
        too_long = ask(client, "word " * 6000)
        assert (too_long.status_code, too_long.json()["type"]) == (422, "/problems/context-length-exceeded")
        server.behaviour = Behaviour(fault="busy", retry_after="77")
        busy = ask(client)
        assert (busy.status_code, busy.json()["type"]) == (503, "/problems/backend-unavailable")
        assert busy.headers["Retry-After"] == "77"
        server.behaviour = Behaviour(fault="html")
        broken = ask(client)
        assert (broken.status_code, broken.json()["type"]) == (502, "/problems/backend-error")


def test_the_service_starts_before_the_server_it_needs() -> None:
    """The first question that finds it there is answered."""
    with openai_server(Behaviour(fault="busy", retry_after="600")) as server, service(server) as client:
        assert ask(client).status_code == 503
        server.behaviour = Behaviour()
        assert ask(client).status_code == 200


@pytest.mark.parametrize(("fault", "says"), [("forbidden", "DEMUR_SAMPLER__API_KEY"), ("html", "no completion")])
def test_a_wrong_setting_keeps_the_service_from_starting(fault: str, says: str) -> None:
    """With one line that says which."""
    with openai_server(Behaviour(fault=fault)) as server:  # type: ignore[arg-type]
        done = demur("serve", "--port", "0", **settings(server))
    assert done.returncode == 1
    assert says in done.stderr.rsplit("demur:", 1)[1].replace("\n", " ")


def test_doctor_tells_what_the_server_can_do() -> None:
    """And what will be null."""
    with openai_server(Behaviour(n="ignored", logprobs="omitted", refuses=("top_k",))) as server:
        done = demur("doctor", **settings(server))
    assert done.returncode == 0, done.stdout
    shown = " ".join(done.stdout.replace("│", " ").split())
    for told in ("one call per sample", "seed: honoured", "logprobs: none", "refused fields: top_k", "will be null"):
        assert told in shown


def test_the_key_is_masked() -> None:
    """In both forms of `config show`."""
    with openai_server() as server:
        shown = (
            demur("config", "show", **settings(server)).stdout,
            demur("config", "show", "--json", **settings(server)),
        )
    assert not any("sk-secret" in str(text) for text in shown)
    assert json.loads(shown[1].stdout)["sampler"]["api_key"] == "**********"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"base_urls": "http://localhost:8000/v1"}, {"model": "m"}, {"model": "m", "base_urls": "localhost:8000"},
     {"model": "m", "base_urls": " , "}],
    ids=str,
)  # fmt: skip
def test_the_backend_needs_a_url_and_a_model(wrong: dict[str, str]) -> None:
    """Refused when the settings are read, not when the first question comes."""
    with pytest.raises(ValidationError):
        SamplerSettings(backend="openai", **wrong)  # type: ignore[arg-type]


def test_urls_are_separated_by_commas() -> None:
    """Blanks do not matter."""
    urls = SamplerSettings(backend="openai", model="m", base_urls="http://a:1/v1, http://b:2/v1").base_urls  # type: ignore[arg-type]
    assert [str(url) for url in urls] == ["http://a:1/v1", "http://b:2/v1"]
