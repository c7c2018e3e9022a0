"""Samplers connected to test servers, over real HTTP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from demur.observability.metrics import Metrics
from demur.samplers.endpoints import Endpoints
from demur.samplers.openai_compatible import OpenAISampler
from tests.conformance.openai_server import MODEL, Behaviour, OpenAIServer, openai_server
from tests.conformance.probing import Connect


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], OpenAIServer]]:
    with ExitStack() as stack:
        yield lambda behaviour: stack.enter_context(openai_server(behaviour))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def connect(metrics: Metrics) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        def build(
            *servers: OpenAIServer, api: Any = "auto", use_n: Any = "auto", logprobs: Any = "auto", **options: Any
        ) -> OpenAISampler:
            endpoints = Endpoints([server.url for server in servers], metrics, **options)
            sampler = OpenAISampler(endpoints, model=MODEL, api=api, use_n=use_n, logprobs=logprobs)
            stack.push_async_callback(sampler.aclose)
            return sampler

        yield build
