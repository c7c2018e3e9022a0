"""Samplers connected to test servers, over real HTTP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from demur.observability.metrics import Metrics
from demur.samplers.endpoints import Endpoints
from demur.samplers.openai_compatible import OpenAISampler
from demur.samplers.vllm import VLLMSampler
from tests.conformance.openai_server import MODEL, Behaviour, OpenAIServer, openai_server
from tests.conformance.probing import Connect
from tests.conformance.vllm_engines import Server, running_sampler, starting_server
from tests.loops import loop_scope


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


@pytest.fixture(scope=loop_scope)
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Tests that depend on it share an event loop, as vLLM's engine belongs to the one that draws first."""
    yield  # noqa: PT022 - pytest's plugin keeps the loop for as long as a fixture is to be continued in it


@pytest.fixture(scope="package")
def vllm_server() -> Iterator[Server]:
    """`vllm serve`, on its way: it starts while the engine in this process does."""
    with starting_server() as server:
        yield server


@pytest.fixture(scope="package")
def vllm_sampler(one_loop: None, vllm_server: Server) -> Iterator[VLLMSampler]:
    """vLLM in this process."""
    with running_sampler() as sampler:
        yield sampler


@pytest.fixture(scope="package")
def vllm_url(vllm_server: Server) -> str:
    """`vllm serve`."""
    return vllm_server.url()
