"""Many prompts at once: bounded, in any order of arrival, and never raising midway."""

from __future__ import annotations

import asyncio
import gc
import io
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

import demur_client
from demur_client import AsyncDemur, Demur
from demur_client._mapping import Bar, map_in_threads
from tests.client.twins import Twin
from tests.service.running import Service


def test_each_prompt_has_its_result(twin: Twin) -> None:
    found = dict(twin.do(lambda c: c.map(["q", "unsure", "r"], concurrency=2, quality="fast")))
    assert sorted(found) == [0, 1, 2]
    assert [bool(found[i]) for i in range(3)] == [True, False, True]


def test_an_error_is_a_result_and_the_others_go_on(twin: Twin) -> None:
    found = dict(twin.do(lambda c: c.map(["q", " ", "r"])))
    assert isinstance(found[1], demur_client.ValidationFailedError)
    assert found[0].answer == found[2].answer == "Paris"


def test_only_so_many_prompts_are_taken_ahead(service: Service) -> None:
    taken: list[int] = []

    def prompts() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield "q"

    with Demur(base_url=service.url) as client, closing(client.map(prompts(), concurrency=3)) as results:
        next(results)
        assert len(taken) == 3


def test_leaving_early_cancels_what_is_under_way(service: Service) -> None:
    async def leave() -> int:
        async with AsyncDemur(base_url=service.url) as client:
            async for _ in client.map(["q"] * 50, concurrency=4):
                break
            await asyncio.sleep(0)
            return len([task for task in asyncio.all_tasks() if not task.done()])

    assert asyncio.run(leave()) >= 1  # the loop's own task; a leak would warn, which fails the test


def test_a_bug_is_not_taken_for_a_result() -> None:
    def broken(prompt: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(broken, ["q"], concurrency=1, progress=False))


@pytest.mark.parametrize("concurrency", [0, -1])
def test_concurrency_is_at_least_one(twin: Twin, concurrency: int) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        twin.do(lambda c: c.map(["q"], concurrency=concurrency))


@pytest.mark.parametrize("n", [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_memory_stays_flat_however_many_are_asked(twin: Twin, n: int) -> None:
    """What is still held after the last prompts is no more than after the first hundred, give or take a result."""
    held: list[int] = []

    def note(index: int) -> None:
        if index in (100, n - 1):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    prompts = ("q" for _ in range(n))
    tracemalloc.start()
    try:
        twin.do(lambda c: _each(c.map(prompts, concurrency=8, quality="fast", include=[]), note))
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 2_000_000


def _each(results: Any, note: Callable[[int], None]) -> Any:
    """Look at every result and keep none; a coroutine for an asynchronous iterator."""
    if not hasattr(results, "__aiter__"):
        for count, _ in enumerate(results):
            note(count)
        return None

    async def each() -> None:
        count = 0
        async for _ in results:
            note(count)
            count += 1

    return each()


def test_the_bar_says_how_far_it_is() -> None:
    stream = io.StringIO()
    with Bar(["a", "b"], True, stream) as bar:
        bar.advance()
        bar.advance()
    assert "1/2" in stream.getvalue()
    assert "━" * Bar.WIDTH in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_no_bar_where_nobody_looks() -> None:
    stream = io.StringIO()
    with Bar(["a"], "auto", stream) as bar:
        bar.advance()
    assert stream.getvalue() == ""
