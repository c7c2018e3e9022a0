"""Samplers connected to test servers, over real HTTP on loopback; stores, each on what it keeps its records in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from demur.observability.metrics import Metrics
from demur.samplers.endpoints import Endpoints
from demur.samplers.openai_compatible import OpenAISampler
from demur.samplers.vllm import VLLMSampler
from demur.storage.base import Store
from demur.storage.redis import RedisStore
from demur.storage.sqlite import SqliteStore
from tests.conformance.openai_server import MODEL, Behaviour, OpenAIServer, openai_server
from tests.conformance.probing import Connect
from tests.conformance.vllm_engines import Server, running_sampler, starting_server
from tests.loops import loop_scope
from tests.redis_server import FORMS, START_SECONDS


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


@pytest.fixture(scope="package", params=["sqlite", "redis", "cluster", "sentinel"])
def location(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | Path]:
    """A SQLite file's folder, or the URL of a running Redis (over TLS: test_store_faults)."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield folder
    else:
        with FORMS[request.param](folder) as redis:
            yield redis.url


_PREFIXES = iter(range(10**6))


async def _open(location: str | Path, prefix: str) -> Store:
    if isinstance(location, Path):
        return await SqliteStore.open(location / f"{prefix}.sqlite3")
    return RedisStore(location, prefix=prefix, timeout_seconds=START_SECONDS)


@pytest.fixture
async def stores(location: str | Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two that share their records, as two replicas do; nothing is in them."""
    prefix = f"test{next(_PREFIXES)}"
    both = await _open(location, prefix), await _open(location, prefix)
    yield both
    for store in both:
        await store.aclose()


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]
