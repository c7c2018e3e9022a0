"""What vLLM promises beyond the suite that all samplers share: in this process, and behind its own server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from demur.errors import BackendError, Overloaded
from demur.samplers.base import Sampler
from demur.samplers.local import LocalSampler
from demur.samplers.openai_compatible import OpenAISampler
from demur.samplers.vllm import VLLMSampler
from demur.types import Message, Sampling
from tests.conformance.samplers import FRANCE, PERU, draw, draw_sorted, openai_sampler
from tests.conformance.vllm_engines import MAX_NUM_SEQS, MODEL, here, sharing, there

pytestmark = [pytest.mark.anyio, pytest.mark.vllm, pytest.mark.timeout(600)]

# Far more than run at a time, so that most of them never start if the request is left.
CROWD = Sampling(n=400, max_tokens=24)
# Some prefixes are cached by blocks of 128 tokens.
LONG = [Message("user", "What is the capital of France? " * 40)]


@dataclass
class Engine:
    """A sampler, and a way to read its engine's own figures."""

    sampler: Sampler
    figure: Callable[[str], float]

    def is_idle(self) -> bool:
        return self.figure("vllm:num_requests_running") == self.figure("vllm:num_requests_waiting") == 0

    def n_finished(self) -> float:
        return self.figure("vllm:request_success_total")


@pytest.fixture
async def here_engine(vllm_sampler: VLLMSampler) -> AsyncIterator[Engine]:
    sampler = sharing(vllm_sampler)
    yield Engine(sampler, here)
    await sampler.aclose()


@pytest.fixture
async def there_engine(vllm_url: str, one_loop: None) -> AsyncIterator[Engine]:
    sampler = openai_sampler(vllm_url, model="facts")
    yield Engine(sampler, lambda name: there(vllm_url, name))
    await sampler.aclose()


@pytest.fixture(params=["here_engine", "there_engine"])
def engine(request: pytest.FixtureRequest, here_engine: Engine, there_engine: Engine) -> Engine:
    return {"here_engine": here_engine, "there_engine": there_engine}[request.param]


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it watches a process, which sets no event
            await asyncio.sleep(0.01)


# --- work ------------------------------------------------------------------------------------------------------------


async def test_cancelling_in_the_middle_frees_the_engine(engine: Engine) -> None:
    """By its own gauges: it was busy, and is idle with hardly an answer finished."""
    await draw(engine.sampler, FRANCE, Sampling(n=1))
    await soon(engine.is_idle)
    before = engine.n_finished()
    task = asyncio.ensure_future(draw(engine.sampler, FRANCE, CROWD))
    await soon(lambda: engine.figure("vllm:num_requests_running") > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await soon(engine.is_idle)
    assert engine.n_finished() - before < CROWD.n / 2
    assert len(await draw(engine.sampler, FRANCE, Sampling(n=2))) == 3


async def test_closing_the_iterator_frees_the_engine(here_engine: Engine) -> None:
    """After the first answer, although hundreds wait."""
    before = here_engine.n_finished()
    async with aclosing(here_engine.sampler.sample(FRANCE, CROWD)) as samples:
        async for _ in samples:
            break
    await soon(here_engine.is_idle)
    assert here_engine.n_finished() - before < CROWD.n / 2


async def test_closing_the_sampler_ends_what_runs(here_engine: Engine) -> None:
    """Its waiter gets an error or the answers drawn so far, and the engine is idle."""
    task = asyncio.ensure_future(draw(here_engine.sampler, FRANCE, CROWD))
    await soon(lambda: here("vllm:num_requests_running") > 0)
    await here_engine.sampler.aclose()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, BackendError) or len(result) < CROWD.n  # type: ignore[arg-type]
    await soon(here_engine.is_idle)


async def test_answers_arrive_as_they_finish(here_engine: Engine) -> None:
    """The first one while others wait for a place."""
    drawing = here_engine.sampler.sample(FRANCE, CROWD)
    n_waiting = [here("vllm:num_requests_waiting") async for _ in drawing]
    assert len(n_waiting) == CROWD.n + 1
    assert n_waiting[0] > 0


async def test_a_full_engine_says_so(vllm_sampler: VLLMSampler, here_engine: Engine) -> None:
    """Its own limit on what waits becomes our problem; once there is room, the next request is served."""
    limits = vllm_sampler.engine._engine.scheduler_config
    limits.max_num_queued_reqs = 0
    try:
        with pytest.raises(Overloaded, match="vLLM is busy"):
            await draw(here_engine.sampler, FRANCE, Sampling(n=3))
        limits.max_num_queued_reqs = 3
        assert len(await draw(here_engine.sampler, FRANCE, Sampling(n=5, max_tokens=4))) == 3
    finally:
        limits.max_num_queued_reqs = None
    assert len(await draw(here_engine.sampler, FRANCE, Sampling(n=5, max_tokens=4))) == 6


# --- numbers ---------------------------------------------------------------------------------------------------------


async def test_the_greedy_answer_is_that_of_the_local_sampler(engine: Engine) -> None:
    """The same tokens; logprobs within 1e-3 in float32."""
    local = LocalSampler.load(str(MODEL), n_threads=1, local_files_only=True)
    for messages in (FRANCE, PERU):
        sampling = Sampling(n=1, max_tokens=24)
        expected, drawn = [(await draw_sorted(s, messages, sampling))[0] for s in (local, engine.sampler)]
        assert drawn.text.strip() == expected.text.strip()
        assert drawn.n_prompt_tokens == expected.n_prompt_tokens
        assert drawn.token_logprobs == pytest.approx(expected.token_logprobs, abs=1e-3)
    await local.aclose()


async def test_more_samples_begin_with_the_same_ones(here_engine: Engine) -> None:
    """Each has a seed of its own, made of the request's seed and its index."""
    few = await draw_sorted(here_engine.sampler, FRANCE, Sampling(n=4, seed=9))
    many = await draw_sorted(here_engine.sampler, FRANCE, Sampling(n=12, seed=9))
    assert [s.tokens for s in few] == [s.tokens for s in many[:5]]


def test_neighbouring_seeds_share_no_sample() -> None:
    """vLLM's own `seed + index` would make all but one of them the same."""
    from demur.samplers.vllm_engine import _seed

    seeds = [_seed(seed, index) for seed in (0, 1, 2) for index in range(50)]
    assert len(set(seeds)) == 150
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)
    assert _seed(None, 3) is None


async def test_callers_of_different_scope_share_no_cached_prefix(engine: Engine) -> None:
    """The same prompt, asked again: it is remembered for the same scope, and for no other."""
    once = Sampling(n=1, max_tokens=1)
    figures = [engine.figure("vllm:prefix_cache_hits_total")]
    for scope in ("one", "one", "two", None):
        await draw(engine.sampler, LONG, replace(once, cache_scope=scope))
        await soon(engine.is_idle)
        figures.append(engine.figure("vllm:prefix_cache_hits_total"))
    first, again, other, nobody = (after - before for before, after in pairwise(figures))
    assert again > first
    assert again > other
    assert again > nobody


async def test_the_samples_of_a_request_share_its_prompt(here_engine: Engine) -> None:
    """Asked for the first time, a long prompt is read once: all draws but the first find it in the cache."""
    hits, asked = here("vllm:prefix_cache_hits_total"), here("vllm:prefix_cache_queries_total")
    prompt = [Message("user", f"How many? {'one two three ' * 80}")]
    samples = await draw(here_engine.sampler, prompt, Sampling(n=MAX_NUM_SEQS - 1, max_tokens=1))
    await soon(here_engine.is_idle)
    n_tokens = samples[0].n_prompt_tokens or 0
    assert n_tokens > 256
    assert here("vllm:prefix_cache_queries_total") - asked == n_tokens * MAX_NUM_SEQS
    blocks = n_tokens // 128 * 128
    assert here("vllm:prefix_cache_hits_total") - hits == blocks * (MAX_NUM_SEQS - 1)


# --- what it is told, and what it tells ------------------------------------------------------------------------------


async def test_the_probe_finds_that_the_server_can_do_everything(vllm_url: str) -> None:
    sampler = openai_sampler(vllm_url, model="facts")
    found = await sampler.probe()
    assert (found.has_n, found.has_logprobs, found.has_greedy) == (True, True, True)
    assert (found.logprob_source, sampler.api, sampler.refused_fields) == ("raw", "chat", frozenset())
    assert found.has_seed is not False
    await sampler.aclose()


async def test_a_model_that_the_server_does_not_have_is_named(vllm_url: str) -> None:
    sampler: OpenAISampler = openai_sampler(vllm_url, model="other")
    with pytest.raises(BackendError, match="does not know other"):
        await sampler.probe()
    await sampler.aclose()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"no_such_field": 1}, "DEMUR_VLLM__ARGS: .*no_such_field"),
        ({"logprobs_mode": "processed_logprobs"}, "leave logprobs_mode alone"),
        ({"max_model_len": 4096}, "cannot start with"),
    ],
)
def test_arguments_that_vllm_refuses_are_named(arguments: dict[str, object], says: str) -> None:
    """Before any engine starts."""
    with pytest.raises(BackendError, match=says):
        VLLMSampler.load(str(MODEL), arguments=arguments)


def test_the_context_is_the_smaller_of_the_models_and_the_settings() -> None:
    """A model that reads less than the setting allows is no error; an argument goes before both."""
    from demur.samplers.vllm_engine import _engine_args

    wanted = [(4096, {}), (256, {}), (4096, {"max_model_len": 512})]
    assert [_engine_args(str(MODEL), None, n, args).max_model_len for n, args in wanted] == [2048, 256, 512]
