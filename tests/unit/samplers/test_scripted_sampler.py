"""The script is played as written, and the counters say what became of each draw."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from demur.errors import BackendError
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.types import Message, Sample, Sampling

pytestmark = pytest.mark.anyio

QUESTION = [Message("user", "Capital of France?")]


def counters(sampler: ScriptedSampler) -> tuple[int, int, int, int]:
    return sampler.n_started, sampler.n_finished, sampler.n_failed, sampler.n_cancelled


def scripted(*answers: ScriptedAnswer | str) -> ScriptedSampler:
    return ScriptedSampler({"Capital of France?": answers})


async def draw(sampler: ScriptedSampler, sampling: Sampling) -> list[Sample]:
    return [sample async for sample in sampler.sample(QUESTION, sampling)]


async def test_the_first_answer_is_greedy_and_the_others_repeat() -> None:
    """Five samples of three written ones: in turn, then again from the first."""
    samples = await draw(scripted("Paris", "Lyon", "Nice", "Paris."), Sampling(n=5))
    assert [(s.index, s.is_greedy, s.text) for s in samples] == [
        (0, True, "Paris"),
        (0, False, "Lyon"),
        (1, False, "Nice"),
        (2, False, "Paris."),
        (3, False, "Lyon"),
        (4, False, "Nice"),
    ]


async def test_a_single_answer_is_all_of_them() -> None:
    sampler = scripted("Paris")
    assert {s.text for s in await draw(sampler, Sampling(n=3))} == {"Paris"}
    assert counters(sampler) == (4, 4, 0, 0)


async def test_answers_may_be_computed() -> None:
    """From the question and the sampling."""
    sampler = ScriptedSampler(lambda question, sampling: [f"{question} {sampling.seed}"])
    assert (await draw(sampler, Sampling(n=1, seed=3)))[0].text == "Capital of France? 3"


async def test_answers_arrive_after_their_delay() -> None:
    """Delays run beside each other, from the moment of the request."""
    slow, quick = ScriptedAnswer("slow", delay_seconds=0.2), ScriptedAnswer("quick", delay_seconds=0.1)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    samples = await draw(scripted("now", slow, quick, slow), Sampling(n=3))
    assert [s.text for s in samples] == ["now", "quick", "slow", "slow"]
    assert loop.time() - begun > 0.19


async def test_a_failing_draw_is_dropped() -> None:
    sampler = scripted("Paris", ScriptedAnswer(error="the line broke"), "Lyon")
    assert [s.text for s in await draw(sampler, Sampling(n=4))] == ["Paris", "Lyon", "Lyon"]
    assert counters(sampler) == (5, 3, 2, 0)


async def test_the_request_fails_when_every_draw_fails() -> None:
    with pytest.raises(BackendError, match="the line broke"):
        await draw(scripted(ScriptedAnswer(error="the line broke")), Sampling(n=4))


async def test_an_unwritten_question_is_an_error() -> None:
    """A test with a misspelt question must not pass on an empty answer."""
    with pytest.raises(BackendError, match=r"no answer to 'Capital of France\?'"):
        await draw(ScriptedSampler({"Capital of Peru?": ["Lima"]}), Sampling(n=2))


async def test_draws_of_a_closed_iterator_are_cancelled() -> None:
    sampler = scripted("Paris", ScriptedAnswer("Lyon", delay_seconds=9))
    async with aclosing(sampler.sample(QUESTION, Sampling(n=3))) as samples:
        assert (await anext(samples)).text == "Paris"
        assert sampler.n_running == 3
    assert counters(sampler) == (4, 1, 0, 3)
    assert sampler.n_running == 0


async def test_draws_of_a_cancelled_task_are_cancelled() -> None:
    sampler = scripted(ScriptedAnswer("Paris", delay_seconds=9))
    task = asyncio.ensure_future(draw(sampler, Sampling(n=3)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counters(sampler) == (4, 0, 0, 4)


async def test_closing_ends_a_waiting_request() -> None:
    """The answers that have arrived are kept; without any, the request fails."""
    sampler = scripted("Paris", ScriptedAnswer("Lyon", delay_seconds=9))
    none_yet = ScriptedSampler({"Capital of France?": [ScriptedAnswer("Paris", delay_seconds=9)]})
    asyncio.get_running_loop().call_later(0.01, lambda: asyncio.ensure_future(sampler.aclose()))
    asyncio.get_running_loop().call_later(0.01, lambda: asyncio.ensure_future(none_yet.aclose()))
    assert [s.text for s in await draw(sampler, Sampling(n=2))] == ["Paris"]
    with pytest.raises(BackendError, match="closed"):
        await draw(none_yet, Sampling(n=2))


async def test_logprobs_are_cut_with_the_tokens() -> None:
    """A cut answer keeps the logprobs of what was drawn."""
    sampler = scripted(ScriptedAnswer("It is Paris", token_logprobs=(-1.0, -2.0, -3.0)))
    [sample, _] = await draw(sampler, Sampling(n=1, max_tokens=2))
    assert (sample.text, sample.tokens, sample.token_logprobs) == ("It is", ("It", " is"), (-1.0, -2.0))
    assert sample.finish_reason == "length"


def test_logprobs_must_fit_the_words() -> None:
    with pytest.raises(ValueError, match="3 tokens in 'It is Paris'"):
        ScriptedAnswer("It is Paris", token_logprobs=(-1.0,))


@pytest.mark.parametrize("text", ["", "  ", " Paris \n", "It is\tParis"])
async def test_text_is_replayed_to_the_letter(text: str) -> None:
    assert (await draw(scripted(text), Sampling(n=1)))[0].text == text
