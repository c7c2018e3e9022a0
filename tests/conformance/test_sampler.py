"""What every sampler promises (`samplers/base.py`), and what those in process promise beyond it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import replace
from pathlib import Path

import pytest

import demur
from demur.errors import BackendError, ContextLengthExceeded
from demur.samplers.base import Sampler
from demur.samplers.local import LocalSampler
from demur.types import Message, Sampling
from tests.conformance.openai_server import Behaviour, openai_server
from tests.conformance.samplers import (
    FRANCE,
    PERU,
    Reference,
    assert_same,
    distribution,
    draw,
    draw_sorted,
    forward_passes,
    openai_sampler,
    prompt_of,
    scripted_sampler,
    until,
)
from tests.conformance.tiny_checkpoint import build_checkpoint
from tests.conformance.vllm_engines import sharing

pytestmark = pytest.mark.anyio

BUNDLED = Path(demur.__file__).parent / "bundled" / "facts"
LOCAL = ["tiny", "bundled"]
REMOTE = {
    "openai": Behaviour(),
    "openai, n ignored": Behaviour(n="ignored"),
    "openai, plain completions": Behaviour(chat=False, n="refused", refuses=("top_k", "min_p")),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`endless` never ends by itself, so that work is under way for as long as a test needs."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "tiny": build_checkpoint(root / "tiny"),
        "endless": build_checkpoint(root / "endless", ends=False),
        "bundled": BUNDLED,
    }


@pytest.fixture(scope="session")
def remote_urls() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(openai_server(behaviour)).url for kind, behaviour in REMOTE.items()}


@pytest.fixture
def load(
    folders: dict[str, Path], remote_urls: dict[str, str], request: pytest.FixtureRequest
) -> Callable[[str], Sampler]:
    def build(kind: str) -> Sampler:
        if kind == "vllm":
            return sharing(request.getfixturevalue("vllm_sampler"))
        if kind == "vllm serve":
            return openai_sampler(request.getfixturevalue("vllm_url"), model="facts")
        if kind == "scripted":
            return scripted_sampler()
        if kind in REMOTE:
            return openai_sampler(remote_urls[kind])
        return LocalSampler.load(str(folders[kind]), n_threads=1, local_files_only=True)

    return build


@pytest.fixture
async def sampler(
    request: pytest.FixtureRequest, load: Callable[[str], Sampler], one_loop: None
) -> AsyncIterator[Sampler]:
    built = load(request.param)
    yield built
    await built.aclose()


@pytest.fixture
def tolerance(request: pytest.FixtureRequest) -> float:
    """vLLM's logits change in their last bits with what else is in a batch, and in the cache."""
    return 1e-3 if "vllm" in request.node.callspec.params["sampler"] else 0.0


VLLM = [pytest.param(kind, marks=[pytest.mark.vllm, pytest.mark.timeout(600)]) for kind in ("vllm", "vllm serve")]
every_sampler = pytest.mark.parametrize("sampler", ["scripted", *REMOTE, *LOCAL, *VLLM], indirect=True)
every_open_model = pytest.mark.parametrize("sampler", [*LOCAL, VLLM[0]], indirect=True)
tiny_sampler = pytest.mark.parametrize("sampler", ["tiny"], indirect=True)
endless_sampler = pytest.mark.parametrize("sampler", ["endless"], indirect=True)


# --- every sampler ---------------------------------------------------------------------------------------------------


@every_sampler
async def test_one_greedy_answer_and_n_samples_arrive(sampler: Sampler) -> None:
    """Samples are numbered 0 ... n-1; the greedy answer is index 0 and marked."""
    samples = await draw(sampler, FRANCE, Sampling(n=7, max_tokens=24, seed=1))
    assert sorted(s.index for s in samples if not s.is_greedy) == list(range(7))
    assert [s.index for s in samples if s.is_greedy] == [0]


@every_sampler
async def test_the_greedy_answer_may_come_first(sampler: Sampler, tolerance: float) -> None:
    """Alone, as it comes with the samples; then they come without it."""
    sampling = Sampling(n=3, max_tokens=24, seed=1)
    whole = await draw(sampler, FRANCE, sampling)
    alone = await draw(sampler, FRANCE, replace(sampling, n=0))
    assert_same(alone, [sample for sample in whole if sample.is_greedy], tolerance=max(tolerance, 1e-4))
    rest = await draw_sorted(sampler, FRANCE, replace(sampling, with_greedy=False))
    assert [(sample.index, sample.is_greedy) for sample in rest] == [(i, False) for i in range(3)]


@every_sampler
async def test_the_model_has_a_name(sampler: Sampler) -> None:
    """A folder is called by its own name, so that no path of the machine is shown."""
    assert sampler.model
    assert "/" not in sampler.model


@every_sampler
async def test_logprobs_belong_to_tokens(sampler: Sampler) -> None:
    """Each drawn token has one logprob in (-inf, 0]; a sample without logprobs says that their source is unknown."""
    samples = await draw(sampler, FRANCE, Sampling(n=5, max_tokens=24, seed=1))
    for sample in samples:
        if sample.token_logprobs is None:
            assert sample.logprob_source == "unknown"
            continue
        assert sample.tokens is not None
        assert sample.logprob_source == "raw"
        assert len(sample.tokens) == len(sample.token_logprobs) == sample.n_completion_tokens
        assert all(math.isfinite(v) and v <= 0 for v in sample.token_logprobs)
    assert any(s.token_logprobs for s in samples)
    assert all(s.n_prompt_tokens and s.n_prompt_tokens > 5 for s in samples)


@every_sampler
async def test_the_same_seed_gives_the_same_answers(sampler: Sampler, tolerance: float) -> None:
    """Although requests come between."""
    sampling = Sampling(n=6, max_tokens=24, seed=11)
    first = await draw_sorted(sampler, FRANCE, sampling)
    await draw(sampler, PERU, Sampling(n=3, max_tokens=5))
    assert_same(await draw_sorted(sampler, FRANCE, sampling), first, tolerance=tolerance)


@every_sampler
async def test_requests_side_by_side_get_the_answers_that_they_get_alone(sampler: Sampler, tolerance: float) -> None:
    """What runs beside a request changes nothing in it."""
    requests = [(FRANCE, Sampling(n=5, max_tokens=16, seed=1)), (PERU, Sampling(n=3, max_tokens=16, seed=2))]
    alone = [await draw_sorted(sampler, *request) for request in requests]
    together = await asyncio.gather(*(draw_sorted(sampler, *request) for request in requests * 3))
    for answers, expected in zip(together, alone * 3, strict=True):
        assert_same(answers, expected, tolerance=tolerance)


@every_sampler
async def test_max_tokens_cuts_an_answer(sampler: Sampler) -> None:
    """The cut answer says "length"; one that ended by its only token says "stop"."""
    samples = await draw(sampler, FRANCE, Sampling(n=5, max_tokens=1, seed=3))
    greedy = next(s for s in samples if s.is_greedy)
    assert greedy.finish_reason == "length"
    assert all(s.n_completion_tokens == 1 for s in samples)
    assert all(s.is_truncated or len(s.text.split()) <= 1 for s in samples)


@every_sampler
async def test_a_stop_string_ends_the_answer_before_itself(sampler: Sampler) -> None:
    """Even where it is a part of a token, or spans two."""
    whole = (await draw_sorted(sampler, FRANCE, Sampling(n=1, max_tokens=24)))[0]
    stop = whole.text[1:3]
    cut = (await draw_sorted(sampler, FRANCE, Sampling(n=1, max_tokens=24, stop=("never this", stop))))[0]
    assert stop
    assert cut.text == whole.text[: whole.text.find(stop)]
    assert cut.finish_reason == "stop"
    assert (cut.n_completion_tokens or 0) <= (whole.n_completion_tokens or 0)
    assert cut.tokens == (whole.tokens or ())[: cut.n_completion_tokens]


@every_sampler
@pytest.mark.parametrize("stop", [(), ("ri", "never this")])
async def test_the_greedy_answer_is_heard_while_it_is_written(sampler: Sampler, stop: tuple[str, ...]) -> None:
    """More each time, nothing that is taken back, and the same answers as when nobody listens."""
    heard: list[str] = []
    sampling = Sampling(n=2, max_tokens=24, seed=1, stop=stop)
    samples = sorted([s async for s in sampler.sample(FRANCE, sampling, heard.append)], key=lambda s: not s.is_greedy)
    assert any(heard)
    for earlier, later in zip(heard, [*heard[1:], samples[0].text.strip()], strict=True):
        assert later.startswith(earlier)
    unheard = await draw_sorted(sampler, FRANCE, sampling)
    assert [s.text for s in sorted(samples[1:], key=lambda s: s.index)] == [s.text for s in unheard[1:]]
    assert samples[0].tokens == unheard[0].tokens


@every_sampler
async def test_a_prompt_that_leaves_no_room_is_refused(sampler: Sampler) -> None:
    """With the number that says how much is too much; the next request is served."""
    with pytest.raises(ContextLengthExceeded, match=r"at most \d+"):
        await draw(sampler, [Message("user", "word " * 20_000)], Sampling(n=2))
    assert len(await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4))) == 3


@every_sampler
async def test_the_event_loop_goes_on_while_answers_are_drawn(sampler: Sampler) -> None:
    """A task that wants to run every millisecond keeps running, and the model runs in another thread."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    heartbeat = asyncio.ensure_future(tick())
    with forward_passes() as passes:
        await draw(sampler, FRANCE, Sampling(n=32, max_tokens=64, seed=5))
    heartbeat.cancel()
    assert threading.get_ident() not in passes.threads
    assert ticks >= 5


@every_sampler
async def test_leaving_early_leaves_the_sampler_usable(sampler: Sampler) -> None:
    """Closing the iterator after one answer, as a client that has gone does."""
    async with aclosing(sampler.sample(FRANCE, Sampling(n=8, max_tokens=24))) as samples:
        async for _ in samples:
            break
    assert len(await draw(sampler, FRANCE, Sampling(n=2, max_tokens=24))) == 3


@every_sampler
async def test_a_closed_sampler_refuses(sampler: Sampler) -> None:
    """Closing twice is closing once."""
    await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4))
    await sampler.aclose()
    await sampler.aclose()
    with pytest.raises(BackendError, match=r"closed|shut down"):
        await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4))


# --- models in this process: numbers ----------------------------------------------------------------------------------


@pytest.fixture
def reference(sampler: Sampler, folders: dict[str, Path]) -> Reference:
    return Reference.load(folders["bundled"] if sampler.model == BUNDLED.name else folders[sampler.model])


@every_open_model
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.5), Sampling(temperature=1.7, top_p=0.6)])
async def test_logprobs_are_those_of_the_unmodified_model(
    sampler: Sampler, reference: Reference, sampling: Sampling, tolerance: float
) -> None:
    """Whatever the temperature and top-p: a forward pass over prompt and answer gives the same numbers.

    To 1e-3 on vLLM, whose float32 kernels are others.
    """
    for messages in (FRANCE, PERU):
        for sample in await draw(sampler, messages, replace(sampling, n=12, max_tokens=32, seed=4)):
            assert sample.token_logprobs == pytest.approx(
                reference.logprobs(messages, sample.tokens or ()), abs=tolerance or 1e-4
            )


@every_open_model
async def test_the_greedy_answer_takes_the_likeliest_token_each_time(sampler: Sampler, reference: Reference) -> None:
    """The same with or without samples at a high temperature beside it."""
    hot = await draw_sorted(sampler, FRANCE, Sampling(n=9, temperature=2.0, max_tokens=24))
    alone = await draw_sorted(sampler, FRANCE, Sampling(n=1, max_tokens=24))
    ids = reference.tokenizer.convert_tokens_to_ids(list(hot[0].tokens or ()))
    assert ids == reference.greedy_ids(FRANCE, len(ids))
    assert hot[0].tokens == alone[0].tokens


@tiny_sampler
async def test_another_seed_gives_other_answers(sampler: Sampler) -> None:
    """Neighbouring seeds share no sample, and samples of one request differ among themselves."""
    first, second = [
        [s.tokens for s in (await draw_sorted(sampler, FRANCE, Sampling(n=8, seed=seed, max_tokens=30)))[1:]]
        for seed in (1, 2)
    ]
    assert len(set(first)) >= 6
    assert not {t for t in first if t and len(t) > 2} & set(second)


@tiny_sampler
async def test_without_a_seed_answers_are_fresh(sampler: Sampler) -> None:
    """Asking twice is not asking once."""
    first = await draw_sorted(sampler, FRANCE, Sampling(n=8, max_tokens=30))
    second = await draw_sorted(sampler, FRANCE, Sampling(n=8, max_tokens=30))
    assert [s.tokens for s in first[1:]] != [s.tokens for s in second[1:]]
    assert first[0] == second[0]


@tiny_sampler
async def test_more_samples_begin_with_the_same_ones(sampler: Sampler) -> None:
    """The end of a row, and the number of rows, change no other row's draws."""
    few = await draw_sorted(sampler, FRANCE, Sampling(n=4, seed=9, max_tokens=30))
    many = await draw_sorted(sampler, FRANCE, Sampling(n=12, seed=9, max_tokens=30))
    assert [s.tokens for s in few] == [s.tokens for s in many[:5]]
    assert len({s.n_completion_tokens for s in many}) > 3


@tiny_sampler
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.6), Sampling(temperature=1.3, top_p=0.7)])
async def test_tokens_are_as_frequent_as_they_are_probable(
    sampler: Sampler, reference: Reference, sampling: Sampling
) -> None:
    """Chi-square over 6,000 first tokens: within five standard deviations, and nothing outside the nucleus."""
    n = 6000
    samples = await draw(sampler, FRANCE, replace(sampling, n=n, max_tokens=1, seed=123))
    drawn = Counter(
        reference.tokenizer.convert_tokens_to_ids([(s.tokens or ("",))[0] for s in samples if not s.is_greedy])
    )
    expected = distribution(reference.logits(reference.prompt_ids(FRANCE))[-1], sampling)
    assert set(drawn) <= set(expected)
    common = {token for token, p in expected.items() if n * p >= 5}
    rare = (sum(drawn[t] for t in set(expected) - common), n * sum(expected[t] for t in set(expected) - common))
    cells = [(drawn[t], n * expected[t]) for t in common] + ([rare] if rare[1] >= 5 else [])
    chi_square = sum((seen - mean) ** 2 / mean for seen, mean in cells)
    freedom = len(cells) - 1
    assert freedom > 10
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


@every_open_model
async def test_max_tokens_is_lowered_to_the_room_that_is_left(sampler: Sampler, reference: Reference) -> None:
    """A prompt of `limit - 1` tokens gets one token, whatever max_tokens says; one of `limit` is refused."""
    limit = reference.model.config.max_position_embeddings
    longest = prompt_of(reference, limit - 1)
    samples = await draw(sampler, longest, Sampling(n=2, max_tokens=256))
    assert {s.n_completion_tokens for s in samples} == {1}
    assert {s.n_prompt_tokens for s in samples} == {limit - 1}
    with pytest.raises(ContextLengthExceeded):
        await draw(sampler, prompt_of(reference, limit), Sampling(n=2))


# --- the local sampler: work ------------------------------------------------------------------------------------------


@tiny_sampler
async def test_answers_arrive_as_they_finish_and_leave_the_batch(sampler: Sampler) -> None:
    """The prompt is read once, by one row; short answers come first, and the batch shrinks behind them."""
    with forward_passes() as passes:
        samples = await draw(sampler, FRANCE, Sampling(n=10, seed=9, max_tokens=30))
    lengths = [s.n_completion_tokens or 0 for s in samples]
    assert lengths == sorted(lengths)
    assert passes.shapes[0] == (1, samples[0].n_prompt_tokens)
    assert [rows for rows, _ in passes.shapes[1:]] == [sum(m > k for m in lengths) for k in range(1, lengths[-1])]


@endless_sampler
async def test_a_cancelled_request_stops_the_model(sampler: Sampler) -> None:
    """Within a few forward passes of some nine hundred."""
    with forward_passes() as passes:
        task = asyncio.ensure_future(draw(sampler, FRANCE, Sampling(n=4, max_tokens=900)))
        await until(lambda: len(passes.shapes) > 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _idle(sampler)
    assert len(passes.shapes) < 200


@endless_sampler
async def test_a_request_that_is_cancelled_while_it_waits_never_starts(sampler: Sampler) -> None:
    """First in, first out: the second waits for the first, and its prompt is never read."""
    with forward_passes() as passes:
        first = asyncio.ensure_future(draw(sampler, FRANCE, Sampling(n=2, max_tokens=900)))
        await until(lambda: len(passes.shapes) > 2)
        second = asyncio.ensure_future(draw(sampler, PERU, Sampling(n=2, max_tokens=900)))
        await asyncio.sleep(0.01)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        n_before = passes.n_prompts
        await _idle(sampler)
    assert n_before == 1
    assert passes.n_prompts == 2  # the second one is that of `_idle`


async def _idle(sampler: Sampler) -> None:
    """Requests run in order, so once this one is answered no earlier work is left."""
    async with asyncio.timeout(30):
        await draw(sampler, [Message("user", "?")], Sampling(n=1, max_tokens=1))


@endless_sampler
async def test_closing_ends_the_running_and_the_waiting_requests(sampler: Sampler) -> None:
    """Both waiters get an error, and soon."""
    with forward_passes() as passes:
        tasks = [asyncio.ensure_future(draw(sampler, FRANCE, Sampling(n=2, max_tokens=900))) for _ in range(2)]
        await until(lambda: len(passes.shapes) > 2)
        await sampler.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [BackendError, BackendError]
    assert len(passes.shapes) < 200
