"""Looking ahead: what a request leaves behind, and what it never does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from demur.engine.drawing import Draw
from demur.engine.judging import Judge
from demur.entailment.pair_memo import PairMemo
from demur.errors import BackendError
from demur.observability.metrics import Metrics
from demur.settings import ClusteringSettings
from demur.types import Pair, Sample, Verdict

pytestmark = pytest.mark.anyio


class Table:
    """Contradiction throughout; a call waits for `gate` where there is one."""

    model = "table"

    def __init__(self, gate: anyio.Event | None = None) -> None:
        self.calls: list[list[tuple[str, str]]] = []
        self._gate = gate

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.calls.append([(p.premise.answer, p.hypothesis.answer) for p in pairs])
        if self._gate:
            await self._gate.wait()
        return [Verdict(0.1, 0.1, 0.8) for _ in pairs]

    async def aclose(self) -> None: ...


def _judge(model: Table, *, overlaps: bool = True) -> Judge:
    return Judge(PairMemo(model, Metrics()), ClusteringSettings(), overlaps=overlaps)


def _draw(*texts: str) -> Draw:
    return Draw(tuple(Sample(text, i) for i, text in enumerate(texts)), None, len(texts), deadline_reached=False)


def _hear(judge: Judge, *texts: str) -> None:
    for text in texts:
        judge.hear(Sample(text))


async def test_one_batch_is_under_way_at_a_time_and_follows_what_landed_meanwhile() -> None:
    """While b is compared with a, c and d land: they are asked together, when the first verdict is there."""
    gate = anyio.Event()
    model = Table(gate)
    judge = _judge(model)
    async with judge.looking_ahead("q", n_samples=4):
        _hear(judge, "a", "b")
        await anyio.wait_all_tasks_blocked()
        _hear(judge, "c", "d")
        await anyio.wait_all_tasks_blocked()
        assert model.calls == [[("a", "b")]]
        gate.set()
        await anyio.wait_all_tasks_blocked()
        assert model.calls == [[("a", "b")], [("a", "c"), ("a", "d")], [("b", "c"), ("b", "d")], [("c", "d")]]
        found = await judge.meanings("q", _draw("a", "b", "c", "d"), seconds=30)
    assert found.clustering.semantic_ids == (0, 1, 2, 3)
    assert len(model.calls) == 4, "all was known"
    assert (judge.n_pairs, judge.n_pairs_speculative) == (6, 0)


async def test_a_batch_asked_ahead_is_small() -> None:
    """Twenty answers land at once: sixteen pairs, then three, so that the clustering never waits for many."""
    model = Table()
    judge = _judge(model)
    words = [chr(ord("a") + i) * 3 for i in range(20)]
    async with judge.looking_ahead("q", n_samples=4):
        _hear(judge, *words)
        await anyio.wait_all_tasks_blocked()
    assert [len(call) for call in model.calls[:2]] == [16, 3]
    assert max(len(call) for call in model.calls) == 16


async def test_nothing_is_asked_ahead_once_all_have_landed() -> None:
    """Samples that land at once are left to the clustering."""
    model = Table()
    judge = _judge(model)
    async with judge.looking_ahead("q", n_samples=4):
        _hear(judge, "a", "b", "c")
        await judge.meanings("q", _draw("a", "b", "c"), seconds=30)
        await anyio.wait_all_tasks_blocked()
    assert model.calls == [[("a", "b"), ("a", "c"), ("b", "c")]]
    assert judge.hidden_seconds == 0


async def test_the_greedy_answer_is_placed_ahead() -> None:
    """Once half of the samples have landed: its place among their meanings is usually its place in the end."""
    model = Table()
    judge = _judge(model)
    async with judge.looking_ahead("q", n_samples=4):
        judge.hear(Sample("g", is_greedy=True))
        _hear(judge, "a")
        await anyio.wait_all_tasks_blocked()
        assert model.calls == []
        _hear(judge, "b")
        await anyio.wait_all_tasks_blocked()
        assert model.calls == [[("a", "b")], [("g", "a"), ("g", "b")]]


async def test_without_overlap_nothing_is_asked_ahead() -> None:
    """And no time is hidden."""
    model = Table()
    judge = _judge(model, overlaps=False)
    async with judge.looking_ahead("q", n_samples=4):
        _hear(judge, "a", "b")
        await anyio.wait_all_tasks_blocked()
    assert (model.calls, judge.hidden_seconds, judge.n_pairs_speculative) == ([], 0, 0)


async def test_no_task_is_left_behind() -> None:
    """Not by a draw that fails, nor by a request that is cancelled, while a pair is with the model."""
    n_tasks = len(asyncio.all_tasks())
    failing, leaving = _judge(Table(anyio.Event())), _judge(Table(anyio.Event()))

    async def fail() -> None:
        async with failing.looking_ahead("q", n_samples=4):
            _hear(failing, "a", "b")
            await anyio.wait_all_tasks_blocked()
            raise BackendError("gone")

    with pytest.raises(BackendError, match="gone"):
        await fail()
    with anyio.CancelScope() as scope:
        async with leaving.looking_ahead("q", n_samples=4):
            _hear(leaving, "a", "b")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep_forever()
    assert len(asyncio.all_tasks()) == n_tasks


async def test_hidden_time_ends_with_the_last_sample() -> None:
    """A batch that outlasts the draw is hidden as far as the draw went: it cannot grow afterwards."""
    gate = anyio.Event()
    judge = _judge(Table(gate))
    async with judge.looking_ahead("q", n_samples=4):
        _hear(judge, "a", "b")
        await anyio.wait_all_tasks_blocked()
        assert judge.hidden_seconds == 0, "counted when it ends"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: judge.meanings("q", _draw("a", "b"), seconds=30))
            await anyio.wait_all_tasks_blocked()
            hidden = judge.hidden_seconds
            gate.set()
    assert judge.hidden_seconds == hidden > 0
