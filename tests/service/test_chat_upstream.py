"""The OpenAI door before a server of chat completions: what is handed on to it, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from demur.access.keys import new_key
from tests.conformance.openai_server import MODEL, Behaviour, OpenAIServer, openai_server
from tests.service.running import serve_process, wait_for
from tests.service.test_openai_backend import settings

QUESTION = "What is the capital of France?"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
SEED = 22  # most samples say "Paris", and the T=0 answer begins with "It"
SECRET, KEY = new_key("mine", "answer,metrics")
OTHER_SECRET, OTHER_KEY = new_key("other", "answer")


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


@pytest.fixture(scope="module")
def url(server: OpenAIServer) -> Iterator[str]:
    """`demur serve` with keys, in a process of its own."""
    keys = {"DEMUR_AUTH__API_KEYS": f"{KEY.line};{OTHER_KEY.line}", "DEMUR_AUTH__RATE_LIMIT": "off"}
    rates = {"DEMUR_AUTH__RATE_LIMIT_SAMPLES": "off", "DEMUR_SAMPLER__RETRIES": "0", "DEMUR_SAMPLER__TIMEOUT_S": "20"}
    with serve_process(**settings(server), **keys, **rates) as process:
        yield process.url


@pytest.fixture
def client(url: str, server: OpenAIServer) -> Iterator[OpenAI]:
    """The server behind is good, and has forgotten what it saw."""
    server.behaviour = Behaviour()
    server.bodies.clear()
    with OpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as connected:
        yield connected


def ask(client: OpenAI, content: Any = QUESTION, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, **fields})


def raw(client: OpenAI, content: Any = QUESTION, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.with_raw_response.create(**{"model": MODEL, "messages": messages, **fields})


def unscored(client: OpenAI, reason: str) -> float:
    text = httpx2.get(str(client.base_url).replace("/v1/", "/metrics"), headers=_bearer(client)).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == "demur_unscored_total" and s.labels["reason"] == reason)


def _bearer(client: OpenAI) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.api_key}"}


IMAGE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
]
UNSCORABLE: list[tuple[str, Any, dict[str, Any]]] = [
    ("tools", QUESTION, {"tools": [TOOL]}),
    ("images", IMAGE, {}),
    ("audio", [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}], {}),
    ("files", [{"type": "file", "file": {"file_id": "f"}}], {}),
    ("response_format", QUESTION, {"response_format": {"type": "json_object"}}),
    ("response_format", QUESTION, {"extra_body": {"guided_choice": ["Paris", "Lyon"]}}),
    ("logprobs", QUESTION, {"logprobs": True, "top_logprobs": 2}),
    ("beam_search", QUESTION, {"n": 2, "extra_body": {"use_beam_search": True}}),
    ("n", QUESTION, {"n": 40}),
    ("stop", QUESTION, {"stop": ["x" * 65]}),
    ("too_long", "word " * 3_900, {"max_tokens": 5, "extra_body": {"pad": "x"}}),
    ("disabled", QUESTION, {"extra_body": {"uncertainty": {"enabled": False}}}),
]


@pytest.mark.parametrize(("reason", "content", "fields"), UNSCORABLE, ids=[case[0] for case in UNSCORABLE])
def test_what_cannot_be_scored_is_handed_on_and_says_so(
    server: OpenAIServer, client: OpenAI, reason: str, content: Any, fields: dict[str, Any]
) -> None:
    """The server gets the caller's own words once; the reply has no verdict and the reason, in body, header, metric."""
    if reason == "too_long":
        content = "w" * 33_000
    before = unscored(client, reason)
    reply = raw(client, content, **fields)
    found = reply.parse()
    assert found.choices
    assert (found.uncertainty, found.uncertainty_skipped) == (None, reason)
    assert reply.headers["X-Demur-Skipped"] == reason
    assert "X-Demur-Decision" not in reply.headers
    assert unscored(client, reason) == before + 1
    (sent,) = [body for body in server.bodies if body["messages"][-1]["content"] == content]
    expected = {**fields, **fields.get("extra_body", {})}
    expected = {name: value for name, value in expected.items() if name not in ("extra_body", "uncertainty")}
    assert {name: sent[name] for name in expected} == expected
    assert "uncertainty" not in sent


def test_tool_calls_come_back_whole_and_in_streams(client: OpenAI) -> None:
    """The round trip that an agent makes: call, result, answer."""
    call = ask(client, tools=[TOOL]).choices[0].message.tool_calls[0]
    assert call.function.name == "look_up"
    reply = raw(client, tools=[TOOL], stream=True)
    chunks = list(reply.parse())
    assert reply.headers["X-Demur-Skipped"] == "tools"
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [d.tool_calls[0].function.name for d in deltas if d.tool_calls] == ["look_up"]
    assert all(chunk.uncertainty is None and chunk.uncertainty_skipped == "tools" for chunk in chunks)
    turns = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "Paris"},
    ]
    assert ask(client, messages=turns).uncertainty_skipped == "tools"


def test_what_can_be_scored_is(server: OpenAIServer, client: OpenAI) -> None:
    """One greedy draw, and the samples; further fields go with both, and the numbers that they may bend are null."""
    plain = ask(client, max_tokens=8, seed=1)
    assert plain.uncertainty["token_confidence"]["source"] == "raw"
    assert plain.uncertainty["uncertainty"]["semantic_entropy_weighted"] is not None
    server.bodies.clear()
    bent = ask(
        client, max_tokens=8, seed=1, frequency_penalty=0.5, extra_body={"chat_template_kwargs": {"think": False}}
    )
    assert (bent.uncertainty["ignored"], "modified_sampling" in bent.uncertainty["degraded"]) == ([], True)
    assert bent.uncertainty["uncertainty"]["semantic_entropy_weighted"] is None
    assert [(b["frequency_penalty"], b["chat_template_kwargs"]) for b in server.bodies] == [(0.5, {"think": False})] * 2


def test_a_field_that_the_server_refuses_is_named(server: OpenAIServer, client: OpenAI) -> None:
    """Scored or handed on: 400, as the caller can mend it."""
    server.behaviour = Behaviour(refuses=("verbosity",))
    with pytest.raises(openai.BadRequestError, match="verbosity"):
        ask(client, verbosity="low", max_tokens=7)
    with pytest.raises(openai.UnprocessableEntityError, match="verbosity"):
        ask(client, verbosity="low", tools=[TOOL])


def test_a_stream_is_live_from_the_server_on(server: OpenAIServer, client: OpenAI) -> None:
    """Pieces smaller than the answer; thinking is left out; the verdict tells the probabilities of what was said."""
    server.behaviour = Behaviour(thinks="in_content")
    chunks = list(ask(client, "What is the capital of Spain?", stream=True, max_tokens=16, seed=1))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == "It is Paris"
    verdict = chunks[-1].uncertainty
    assert (verdict["token_confidence"]["kind"], verdict["uncertainty"]["num_clusters"] >= 1) == ("greedy", True)
    assert sum(body.get("stream", False) for body in server.bodies) == 1


def test_a_server_that_does_not_stream_is_streamed_from_all_the_same(url: str, server: OpenAIServer) -> None:
    """In one go, once the T=0 answer is there. (In a process of its own: the refusal is remembered.)"""
    with (
        openai_server(Behaviour(streams="refused")) as mute,
        serve_process(**settings(mute)) as process,
        OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0) as client,
    ):
        chunks = list(ask(client, stream=True, max_tokens=16, seed=1))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (text, chunks[-1].uncertainty["sampling"]["completed"]) == ("It is Paris", 10)


@pytest.mark.parametrize("how", ["dropped", "unfinished", "told", "garbled"])
@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL]}], ids=["scored", "handed on"])
def test_a_stream_that_breaks_off_upstream_ends_in_an_error(
    server: OpenAIServer, client: OpenAI, how: Any, fields: dict[str, Any]
) -> None:
    """What was said was said; it never passes for a whole answer. The next question is answered.

    (With this seed the samples agree on another answer than the one that broke off.)
    """
    server.behaviour = Behaviour(streams=how)
    with ask(client, f"What is the capital of {how}?", stream=True, max_tokens=16, seed=SEED, **fields) as chunks:
        assert next(chunks).choices
        with pytest.raises(openai.APIError) as raised:
            list(chunks)
    assert raised.value.body["code"] == "backend-error"  # type: ignore[index]
    server.behaviour = Behaviour()
    assert ask(client).choices


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL]}], ids=["scored", "handed on"])
def test_leaving_a_stream_ends_it_upstream(server: OpenAIServer, client: OpenAI, fields: dict[str, Any]) -> None:
    n_before = server.n_disconnected
    server.behaviour = Behaviour(streams="hang")
    with ask(client, "What is the capital of nowhere?", stream=True, max_tokens=16, **fields) as chunks:
        assert next(chunks).choices
    wait_for(lambda: server.n_disconnected == n_before + 1, "the server to see it")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("busy", 503, "backend-unavailable"),
        ("html", 502, "backend-error"),
        ("error", 502, "backend-error"),
        ("drop", 502, "backend-error"),
        ("forbidden", 502, "backend-error"),
    ],
)
def test_a_server_that_fails_is_no_fault_of_the_caller(
    server: OpenAIServer, client: OpenAI, fault: Any, status: int, code: str, is_stream: bool
) -> None:
    """Its key is ours: what it says of it is not told."""
    server.behaviour = Behaviour(fault=fault, retry_after="7")
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, tools=[TOOL], stream=is_stream)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert "sk-" not in raised.value.message
    assert fault != "busy" or raised.value.response.headers["Retry-After"] == "7"


def test_a_prompt_that_is_too_long_is_the_clients_own_error(client: OpenAI) -> None:
    """400 on both ways, with what the server says."""
    with pytest.raises(openai.BadRequestError, match="at most 4096") as raised:
        ask(client, "word " * 4_100, max_tokens=16)
    assert raised.value.code == "context-length-exceeded"
    with pytest.raises(openai.BadRequestError, match="context length"):
        ask(client, "word " * 4_100, tools=[TOOL])


def test_what_is_handed_on_is_charged_and_kept_apart(server: OpenAIServer, client: OpenAI, url: str) -> None:
    """Each key has a part of the server's prefix cache of its own; none can name another's."""
    ask(client, tools=[TOOL])
    with OpenAI(base_url=f"{url}/v1", api_key=OTHER_SECRET, max_retries=0) as other:
        ask(other, tools=[TOOL], extra_body={"cache_salt": server.bodies[-1]["cache_salt"]})
    first, second = (body["cache_salt"] for body in server.bodies)
    assert len({first, second}) == 2
    limited = {"DEMUR_AUTH__API_KEYS": KEY.line, "DEMUR_AUTH__RATE_LIMIT_SAMPLES": "3/60s"}
    with (
        serve_process(**settings(server), **limited) as process,
        OpenAI(base_url=f"{process.url}/v1", api_key=SECRET, max_retries=0) as poor,
    ):
        ask(poor, tools=[TOOL], n=3)
        with pytest.raises(openai.RateLimitError):
            ask(poor, tools=[TOOL])
