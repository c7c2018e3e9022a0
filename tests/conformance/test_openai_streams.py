"""The greedy answer heard over HTTP, and requests handed on as they are: what servers do to streams."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from demur.errors import BackendError, BackendUnavailable, RefusedByBackend, UnsupportedByBackend
from demur.types import Sampling
from tests.conformance.openai_server import Behaviour
from tests.conformance.probing import Connect, probed, sampled
from tests.conformance.samplers import FRANCE, draw_sorted, until

pytestmark = pytest.mark.anyio
TOOLS = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "tools": [{"type": "function", "function": {"name": "look_up"}}],
    "anything": {"at": "all"},
}


async def hear(sampler: Any, heard: list[str]) -> list[Any]:
    return [sample async for sample in sampler.sample(FRANCE, Sampling(n=3, max_tokens=8, seed=1), heard.append)]


async def test_a_heard_answer_is_read_like_any_other(serve: Any, connect: Connect) -> None:
    """The same text, tokens, logprobs and counts, in either wire form, with thinking or without."""
    for behaviour in (Behaviour(), Behaviour(chat=False), Behaviour(thinks="in_content"), Behaviour(thinks="apart")):
        sampler = connect(serve(behaviour))
        heard: list[str] = []
        samples = await hear(sampler, heard)
        plain = await draw_sorted(sampler, FRANCE, Sampling(n=1, max_tokens=8))
        assert next(s for s in samples if s.is_greedy) == plain[0]
        assert {text for text in heard if text}
        assert not any("Which city" in text for text in heard)


async def test_a_server_that_does_not_stream_is_asked_without(serve: Any, connect: Connect) -> None:
    """Nothing is heard, nothing is missing, and it is not asked to stream again."""
    server = serve(Behaviour(streams="refused"))
    sampler, heard = connect(server), []
    assert len(await hear(sampler, heard)) == 4
    assert heard == []
    assert "stream" in sampler.refused_fields


@pytest.mark.parametrize("how", ["dropped", "unfinished", "told", "garbled"])
async def test_a_stream_that_breaks_off_is_no_answer(serve: Any, connect: Connect, how: Any) -> None:
    """What was heard of it is not taken for the whole: the greedy answer is missing, the samples are there."""
    server = serve(Behaviour())
    sampler = await probed(connect(server, n_retries=0), server, Behaviour(streams=how))
    samples = await hear(sampler, [])
    assert len(sampled(samples)) == len(samples) == 3


async def test_what_is_handed_on_is_the_callers_own(serve: Any, connect: Connect) -> None:
    """Every field as it was, but for the model; the reply as it is, tool calls included."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server)
    completion = await sampler.forward(TOOLS | {"model": "mine"}, "key-1")
    assert completion["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    sent = server.bodies[-1]
    assert len(sent.pop("cache_salt")) == 64
    assert sent == TOOLS | {"model": sampler.model}


async def test_a_stream_that_is_handed_on_comes_chunk_by_chunk(serve: Any, connect: Connect) -> None:
    sampler = connect(serve(Behaviour()))
    chunks = [chunk async for chunk in sampler.forward_stream(TOOLS, None)]
    calls = [choice["delta"].get("tool_calls") for chunk in chunks for choice in chunk["choices"]]
    assert any(calls)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_leaving_a_stream_closes_its_connection(serve: Any, connect: Connect) -> None:
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(streams="hang"))
    async with aclosing(sampler.forward_stream(TOOLS, None)) as chunks:
        assert await anext(chunks)
        assert server.n_hanging == 1
    await until(lambda: server.n_disconnected == 1)


async def test_a_cancelled_stream_closes_its_connection(serve: Any, connect: Connect) -> None:
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(streams="hang"))
    task = asyncio.ensure_future(hear(sampler, []))
    await until(lambda: server.n_hanging == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.n_disconnected == 1)


@pytest.mark.parametrize("how", ["dropped", "unfinished", "told", "garbled"])
async def test_a_handed_on_stream_that_breaks_off_says_so(serve: Any, connect: Connect, how: Any) -> None:
    """After what came of it; a server that has begun is not left for another one."""
    server, other = serve(Behaviour()), serve(Behaviour())
    sampler = await probed(connect(server, other, n_retries=0), server, Behaviour(streams=how))
    chunks: list[Any] = []

    async def take_all() -> None:
        async for chunk in sampler.forward_stream(TOOLS, None):
            chunks.append(chunk)  # noqa: PERF401 - it raises on the way

    with pytest.raises(BackendError):
        await take_all()
    assert chunks


async def test_a_refusal_is_told_in_the_servers_words(serve: Any, connect: Connect) -> None:
    """Its status, message and code; whatever was asked, nothing is left out of it."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(refuses=("anything",)))
    with pytest.raises(RefusedByBackend, match="anything") as raised:
        await sampler.forward(TOOLS, None)
    assert raised.value.status == 422
    with pytest.raises(RefusedByBackend, match="anything"):
        await anext(sampler.forward_stream(TOOLS, None))


@pytest.mark.parametrize(
    ("then", "error"),
    [
        (Behaviour(fault="busy", retry_after="600"), BackendUnavailable),
        (Behaviour(fault="html"), BackendError),
        (Behaviour(fault="half_json"), BackendError),
        (Behaviour(fault="forbidden"), BackendError),
        (Behaviour(fault="drop"), BackendError),
    ],
)
async def test_a_server_that_fails_is_no_fault_of_the_caller(
    serve: Any, connect: Connect, then: Behaviour, error: type[Exception]
) -> None:
    server = serve(Behaviour())
    sampler = await probed(connect(server, n_retries=0), server, then)
    with pytest.raises(error):
        await sampler.forward(TOOLS, None)
    with pytest.raises(error):
        await anext(sampler.forward_stream(TOOLS, None))


async def test_a_server_without_chat_takes_nothing_that_is_handed_on(serve: Any, connect: Connect) -> None:
    with pytest.raises(UnsupportedByBackend, match="no chat"):
        await connect(serve(Behaviour(chat=False))).forward(TOOLS, None)


async def test_further_fields_go_with_every_draw(serve: Any, connect: Connect) -> None:
    """They replace nothing that the service asks for itself; one that is refused is named to the caller."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server)
    passed_on = '{"temperature": 7, "reasoning_effort": "low", "top_k": 40}'
    await draw_sorted(sampler, FRANCE, Sampling(n=2, max_tokens=4, passed_on=passed_on))
    assert [(b["reasoning_effort"], b["top_k"]) for b in server.bodies] == [("low", 40)] * 2
    assert {b["temperature"] for b in server.bodies} == {0.0, 1.0}
    server.behaviour = Behaviour(refuses=("reasoning_effort",))
    with pytest.raises(UnsupportedByBackend, match="reasoning_effort"):
        await draw_sorted(sampler, FRANCE, Sampling(n=2, max_tokens=4, passed_on=passed_on))
