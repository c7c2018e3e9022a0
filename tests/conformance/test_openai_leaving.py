"""Leaving a server behind, and how much is asked of it at once. Real HTTP over loopback throughout."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from demur.errors import BackendError
from demur.types import Sampling
from tests.conformance.openai_server import Behaviour
from tests.conformance.probing import Connect, probed
from tests.conformance.samplers import FRANCE, draw, until

pytestmark = pytest.mark.anyio


async def test_a_cancelled_request_closes_its_connections(serve: Any, connect: Connect) -> None:
    """The server sees every one of its calls disconnected."""
    server = serve(Behaviour(n="ignored"))
    sampler = await probed(connect(server), server, Behaviour(fault="hang"))
    task = asyncio.ensure_future(draw(sampler, FRANCE, Sampling(n=4, max_tokens=8)))
    await until(lambda: server.n_hanging == 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.n_disconnected == 5)


async def test_leaving_after_the_first_answer_closes_the_other_connections(serve: Any, connect: Connect) -> None:
    """As the engine does when it has seen enough."""
    server = serve(Behaviour(n="ignored"))
    sampler = await probed(connect(server), server, Behaviour(n="ignored", fault="hang", n_faults=3))
    async with aclosing(sampler.sample(FRANCE, Sampling(n=4, max_tokens=8))) as samples:
        async for _ in samples:
            await until(lambda: server.n_hanging == 3)
            break
    await until(lambda: server.n_disconnected == 3)


async def test_closing_ends_what_is_under_way(serve: Any, connect: Connect) -> None:
    """The waiter is told, and the server sees the disconnect."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(fault="hang"))
    task = asyncio.ensure_future(draw(sampler, FRANCE, Sampling(n=4, max_tokens=8)))
    await until(lambda: server.n_hanging == 2)
    await sampler.aclose()
    with pytest.raises(BackendError, match="closed"):
        await task
    await until(lambda: server.n_disconnected == 2)


async def test_no_more_calls_run_at_once_than_allowed(serve: Any, connect: Connect) -> None:
    """Across questions; the others wait their turn."""
    server = serve(Behaviour(n="ignored"))
    sampler = await probed(connect(server, concurrency=3), server, Behaviour(fault="hang"))
    task = asyncio.ensure_future(draw(sampler, FRANCE, Sampling(n=8, max_tokens=8)))
    await until(lambda: server.n_hanging == 3)
    await asyncio.sleep(0.1)
    assert server.n_hanging == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_key_goes_to_the_server_and_the_environments_does_not(
    serve: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would otherwise send OPENAI_API_KEY to whatever listens at the base URL."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    with_key, without = serve(Behaviour()), serve(Behaviour())
    await connect(with_key, api_key="secret").probe()
    await connect(without).probe()
    assert set(with_key.keys) == {"Bearer secret"}
    assert not any("environment" in key for key in without.keys)


async def test_a_slow_server_answers_within_the_timeout(serve: Any, connect: Connect) -> None:
    """The bound is on waiting, not on being slow."""
    server = serve(Behaviour())
    sampler = await probed(connect(server, timeout_seconds=2), server, replace(server.behaviour, delay_seconds=0.5))
    assert len(await draw(sampler, FRANCE, Sampling(n=2, max_tokens=8))) == 3
