"""Streamed completions, through the official client: sync and async."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.service.chat.asking import MODEL, ask, content, options, stream, user
from tests.service.running import Service, wait_for


def test_a_stream_ends_with_its_verdict(client: OpenAI) -> None:
    """One id, a role, pieces that spell the answer, its end. Whoever takes every chunk's first choice finds one."""
    chunks = stream(client, "split")
    assert {chunk.id for chunk in chunks} == {chunks[-1].uncertainty["id"]}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (content(chunks), len(chunks)) == ("It is Paris", 5)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert chunks[-1].uncertainty["uncertainty"]["num_clusters"] == 2


def test_usage_comes_last_where_it_was_asked_for(client: OpenAI) -> None:
    """In a chunk without choices, as OpenAI does it; the verdict is in that one then."""
    *others, last = stream(client, "split", stream_options={"include_usage": True})
    assert (last.choices, last.usage.uncertainty_samples) == ([], 10)
    assert last.uncertainty["decision"] == "retrieve"
    assert not any(chunk.usage or getattr(chunk, "uncertainty", None) for chunk in others)
    assert others[-1].choices[0].finish_reason == "stop"


def test_the_answer_is_streamed_before_the_samples_are_there(service: Service, client: OpenAI) -> None:
    """Its pieces come while samples that take a minute are drawn; leaving ends the drawing."""
    with ask(client, "slow", stream=True) as chunks:
        heard = ""
        for chunk in chunks:
            heard += chunk.choices[0].delta.content or ""
            if heard == "It is Paris":
                break
        assert service.sampler.n_running == 10
    wait_for(lambda: service.sampler.n_running == 0, "the samples to be cancelled")


def test_what_is_streamed_is_what_was_judged(client: OpenAI) -> None:
    """The T=0 answer, although the samples agree on another: the verdict says so."""
    chunks = stream(client, "greedy is alone")
    assert content(chunks) == "Nice"
    assert chunks[-1].uncertainty["uncertainty"]["agreement"] == 0


@pytest.mark.parametrize(
    ("question", "fields", "expected"),
    [
        ("greedy is alone", {"buffer": True}, "Paris"),
        ("with logprobs", {"strict": True, "n": 2, "policy": {"answer_min": 0.5}}, "It is Paris"),
        ("greedy is alone", {"answer_strategy": "mode"}, "Paris"),
        ("split", {"on_abstain": "replace", "retrieval": {"available": False}}, "I don't know."),
    ],
)
def test_what_depends_on_the_verdict_waits_for_it(
    client: OpenAI, question: str, fields: dict[str, Any], expected: str
) -> None:
    """The chosen answer is streamed then, with the verdict in the headers."""
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(question), stream=True, **options(**fields)
    )
    chunks = list(raw.parse())
    assert content(chunks) == expected
    assert raw.headers["X-Demur-Decision"] == chunks[-1].uncertainty["decision"]


def test_several_choices_are_streamed_one_after_another(client: OpenAI) -> None:
    chunks = stream(client, "8 of 10", n=10)
    assert [content(chunks, index) for index in range(10)] == ["Paris"] * 9 + ["Lyon"]
    ended = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ended == list(range(10))


def test_a_remembered_answer_is_streamed_too(client: OpenAI) -> None:
    """Word by word, with the id it had."""
    first, again = (stream(client, "with logprobs", logprobs=True) for _ in range(2))
    assert content(again) == content(first) == "It is Paris"
    assert (again[-1].uncertainty["cache"]["status"], again[0].id) == ("hit", first[0].id)
    assert len(first[-1].choices[0].logprobs.content) == 3


def test_a_stream_on_the_wire(service: Service) -> None:
    """Events without names, and the end that clients wait for."""
    body = {"model": MODEL, "messages": user("sure"), "stream": True}
    reply = service.client.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, end = reply.text.strip().split("\n\n")
    assert end == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events)


def test_what_fails_before_the_first_word_has_a_status(client: OpenAI) -> None:
    """As without `stream`."""
    for is_stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="no answer today") as raised:
            ask(client, "fails", stream=is_stream)
        assert (raised.value.status_code, raised.value.code) == (502, "backend-error")


def test_what_fails_later_is_told_in_the_stream(client: OpenAI) -> None:
    """Ten samples that need a minute, in half a second: the pieces were right, and then there is an error."""
    with ask(client, "slow", stream=True, **options(timeout_s=0.5, on_deadline="error")) as chunks:
        heard = next(chunks).choices[0].delta.content
        with pytest.raises(openai.APIError, match="within") as raised:
            heard += "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert raised.value.body["code"] == "deadline-exceeded"  # type: ignore[index]


def test_the_async_client(service: Service) -> None:
    """Many at once, streamed and not."""

    async def run() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:

            async def streamed(question: str) -> str:
                chunks = await client.chat.completions.create(model=MODEL, messages=user(question), stream=True)
                return content([chunk async for chunk in chunks])

            async def whole(question: str) -> str | None:
                found = await client.chat.completions.create(model=MODEL, messages=user(question))
                return found.choices[0].message.content

            return await asyncio.gather(*(f(q) for f in (streamed, whole) for q in ("split", "sure", "other") * 5))

    assert asyncio.run(run()) == ["It is Paris", "Paris", "Lima"] * 10
