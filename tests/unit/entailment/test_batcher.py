"""The micro-batcher, with a model that is slow, fails, hangs, or is held until the test lets it go."""

import asyncio
import math
import threading
from collections.abc import Callable, Sequence

import anyio
import blockbuster
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.entailment.batcher import Batcher
from demur.errors import EntailmentUnavailable, Overloaded
from demur.model_thread import ModelThread
from demur.observability.metrics import Metrics
from demur.types import Pair, Verdict
from tests.unit.entailment.classifiers import WordClassifier, WordPair, pair

pytestmark = pytest.mark.anyio


class Gate:
    """Holds the model in `predict` until it is opened."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self, _: object) -> None:
        self._entered.set()
        assert self._opened.wait(timeout=30)

    def open(self) -> None:
        self._opened.set()

    async def reached(self) -> None:
        await anyio.to_thread.run_sync(self._entered.wait, 30)


def _pairs(name: str, n: int, n_words: int = 8) -> list[Pair]:
    """`n` different pairs of `n_words` words each."""
    return [pair(f"{name}{i}", "word " * (n_words - 1)) for i in range(n)]


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        await anyio.sleep(0.001)
    pytest.fail("what the test waits for does not happen")


async def _fails(batcher: Batcher[WordPair], pairs: Sequence[Pair], errors: list[str]) -> None:
    with pytest.raises(EntailmentUnavailable) as raised:
        await batcher.label(pairs)
    errors.append(str(raised.value))


async def test_pairs_of_concurrent_requests_share_a_batch() -> None:
    """While the model is busy with one request, two others arrive: they go together."""
    gate = Gate()
    classifier = WordClassifier(on_predict=gate)
    batcher = Batcher(classifier, Metrics())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("first", 1))
        await gate.reached()
        tasks.start_soon(batcher.label, _pairs("second", 3))
        tasks.start_soon(batcher.label, _pairs("third", 2, n_words=20))
        await _until(lambda: batcher.n_waiting == 5)
        gate.open()
    assert [len(batch) for batch in classifier.batches] == [1, 5]
    await batcher.aclose()


async def test_one_thread_uses_the_model() -> None:
    classifier = WordClassifier()
    batcher = Batcher(classifier, Metrics())
    async with anyio.create_task_group() as tasks:
        for i in range(20):
            tasks.start_soon(batcher.label, _pairs(f"r{i}-", 3))
    assert len(classifier.threads) == 1
    assert threading.get_ident() not in classifier.threads
    await batcher.aclose()


@settings(deadline=None, max_examples=60)
@given(
    requests=st.lists(st.lists(st.integers(2, 300), min_size=1, max_size=8), min_size=1, max_size=6),
    max_batch_tokens=st.integers(1, 1200),
)
def test_no_batch_exceeds_its_tokens_and_every_pair_is_asked_once(
    requests: list[list[int]], max_batch_tokens: int
) -> None:
    """Padding counts; a pair longer than the bound goes alone; padding at most doubles a pair of over 64 tokens."""
    classifier = WordClassifier()
    asked = [[pair(f"r{r}-{i}", "w " * (n - 1)) for i, n in enumerate(lengths)] for r, lengths in enumerate(requests)]

    async def label_all() -> None:
        batcher = Batcher(classifier, Metrics(), max_batch_tokens=max_batch_tokens)
        async with anyio.create_task_group() as tasks:
            for pairs in asked:
                tasks.start_soon(batcher.label, pairs)
        await batcher.aclose()

    anyio.run(label_all)
    for batch in classifier.batches:
        lengths = [encoded.n_tokens for encoded in batch]
        assert len(batch) == 1 or len(batch) * max(lengths) <= max_batch_tokens
        assert max(lengths) <= max(64, 2 * min(lengths))
    assert sorted(map(repr, classifier.asked)) == sorted(repr(single) for pairs in asked for single in pairs)


async def test_a_huge_request_delays_a_small_one_by_one_batch() -> None:
    gate = Gate()
    classifier = WordClassifier(on_predict=gate)
    batcher = Batcher(classifier, Metrics(), max_batch_tokens=80)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("huge", 100))
        await gate.reached()
        tasks.start_soon(batcher.label, _pairs("small", 3))
        await _until(lambda: batcher.n_waiting == 93)
        gate.open()
    owners = [[encoded.pair.premise.answer.rstrip("0123456789") for encoded in batch] for batch in classifier.batches]
    assert owners[0] == ["huge"] * 10
    assert next(i for i, names in enumerate(owners) if names.count("small")) <= 2
    assert sum("small" in names for names in owners) == 1
    assert len(owners) == 11
    await batcher.aclose()


async def test_pairs_of_a_cancelled_caller_never_reach_the_model() -> None:
    gate = Gate()
    classifier = WordClassifier(on_predict=gate)
    batcher = Batcher(classifier, Metrics())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("first", 1))
        await gate.reached()
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as leavers:
                leavers.start_soon(batcher.label, _pairs("cancelled", 4))
                await _until(lambda: batcher.n_waiting == 4)
                leaving.cancel()
        assert batcher.n_waiting == 0
        tasks.start_soon(batcher.label, _pairs("stays", 2))
        await _until(lambda: batcher.n_waiting == 2)
        gate.open()
    assert {p.premise.answer for p in classifier.asked} == {"first0", "stays0", "stays1"}
    await batcher.aclose()


async def test_a_caller_cancelled_while_its_batch_runs_harms_nobody() -> None:
    gate = Gate()
    classifier = WordClassifier(on_predict=gate)
    batcher = Batcher(classifier, Metrics())
    with anyio.move_on_after(0.02):
        await batcher.label(_pairs("leaves", 2))
    gate.open()
    assert len(await batcher.label(_pairs("stays", 2))) == 2
    await batcher.aclose()


async def test_a_failed_batch_fails_its_callers_and_no_others() -> None:
    def refuse_poison(pairs: list[Pair]) -> None:
        if any(p.premise.answer.startswith("poison") for p in pairs):
            raise RuntimeError("out of memory")

    batcher = Batcher(WordClassifier(seconds=0.01, on_predict=refuse_poison), Metrics(), max_batch_tokens=8)
    errors: list[str] = []
    answered: list[list[Verdict]] = []

    async def ask(pairs: list[Pair]) -> None:
        answered.append(await batcher.label(pairs))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, _pairs("before", 2))
        tasks.start_soon(_fails, batcher, [*_pairs("fine", 1), *_pairs("poison", 1), *_pairs("late", 5)], errors)
        tasks.start_soon(ask, _pairs("after", 2))
    assert [len(verdicts) for verdicts in answered] == [2, 2]
    assert errors == ["the NLI model words failed: out of memory"]
    assert batcher.n_waiting == 0
    assert len(await batcher.label(_pairs("later", 3))) == 3
    await batcher.aclose()


async def test_too_few_verdicts_are_a_failure() -> None:
    class Forgetful(WordClassifier):
        def predict(self, batch: Sequence[WordPair]) -> list[Verdict]:
            return super().predict(batch)[1:]

    batcher = Batcher(Forgetful(), Metrics())
    with pytest.raises(EntailmentUnavailable, match="gave 2 of 3 verdicts"):
        await batcher.label(_pairs("a", 3))
    await batcher.aclose()


async def test_texts_that_cannot_be_tokenised_fail_their_call_only() -> None:
    def refuse(pairs: Sequence[Pair]) -> None:
        if pairs[0].premise.answer == "bad0":
            raise TypeError("not a text")

    batcher = Batcher(WordClassifier(on_encode=refuse), Metrics())
    with pytest.raises(EntailmentUnavailable, match="not a text"):
        await batcher.label(_pairs("bad", 1))
    assert len(await batcher.label(_pairs("good", 1))) == 1
    assert batcher.n_waiting == 0
    await batcher.aclose()


async def test_a_hung_model_fails_its_callers_and_is_refused_until_it_comes_back() -> None:
    gate = Gate()
    classifier = WordClassifier(on_predict=gate)
    metrics = Metrics()
    batcher = Batcher(classifier, metrics, timeout_seconds=1)
    errors: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_fails, batcher, _pairs("hangs", 2), errors)
        await gate.reached()
        tasks.start_soon(_fails, batcher, _pairs("in-line", 2), errors)
    assert batcher.is_stuck
    assert errors == ["the NLI model words did not answer within 1 s"] * 2
    with anyio.fail_after(10):
        await _fails(batcher, _pairs("refused", 1), errors)
    gate.open()
    await _until(lambda: not batcher.is_stuck)
    assert len(await batcher.label(_pairs("healed", 2))) == 2
    assert metrics.registry.get_sample_value("demur_nli_pairs_total", {"source": "model"}) == 2, "late verdicts count"
    assert {p.premise.answer for p in classifier.asked} == {"hangs0", "hangs1", "healed0", "healed1"}
    await batcher.aclose()


async def test_a_full_queue_refuses_before_any_work_is_done() -> None:
    gate = Gate()
    classifier = WordClassifier(on_predict=gate)
    batcher = Batcher(classifier, Metrics(), max_waiting_pairs=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("runs", 2))
        await gate.reached()
        tasks.start_soon(batcher.label, _pairs("waits", 4))
        await _until(lambda: batcher.n_waiting == 4)
        with pytest.raises(Overloaded) as refused:
            await batcher.label(_pairs("refused", 2))
        assert refused.value.retry_after_seconds
        tasks.start_soon(batcher.label, _pairs("fits", 1))
        await _until(lambda: batcher.n_waiting == 5)
        gate.open()
    assert len(classifier.asked) == 7
    await batcher.aclose()


async def test_pairs_being_tokenised_take_places_too() -> None:
    gate = Gate()
    batcher = Batcher(WordClassifier(on_encode=gate), Metrics(), max_waiting_pairs=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("a", 4, n_words=1000))
        await gate.reached()
        with pytest.raises(Overloaded):
            await batcher.label(_pairs("b", 2))
        gate.open()
    await batcher.aclose()


async def test_only_long_texts_are_tokenised_off_the_event_loop() -> None:
    threads: list[int] = []
    batcher = Batcher(WordClassifier(on_encode=lambda _: threads.append(threading.get_ident())), Metrics())
    await batcher.label(_pairs("short", 3))
    await batcher.label(_pairs("long", 3, n_words=1000))
    await batcher.aclose()
    short, long = threads
    assert short == threading.get_ident() != long


async def test_tokenising_goes_on_while_the_model_runs() -> None:
    gate = Gate()
    tokenised: list[str] = []
    classifier = WordClassifier(on_predict=gate, on_encode=lambda pairs: tokenised.append(pairs[0].premise.answer))
    batcher = Batcher(classifier, Metrics())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("runs", 1))
        await gate.reached()
        tasks.start_soon(batcher.label, _pairs("next", 1))
        await _until(lambda: "next0" in tokenised)
        assert not [p for p in classifier.asked if p.premise.answer == "next0"], "the model has not come to it yet"
        gate.open()
    await batcher.aclose()


async def test_closing_fails_the_batch_under_way_and_those_in_line() -> None:
    gate = Gate()
    batcher = Batcher(WordClassifier(on_predict=gate), Metrics())
    errors: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_fails, batcher, _pairs("runs", 1), errors)
        await gate.reached()
        tasks.start_soon(_fails, batcher, _pairs("waits", 2), errors)
        await _until(lambda: batcher.n_waiting == 2)
        tasks.start_soon(batcher.aclose)
        await _until(lambda: len(errors) == 2)
        gate.open()
    assert batcher.n_waiting == 0
    await batcher.aclose()


async def test_a_model_that_waits_for_its_thread_is_not_taken_for_stuck() -> None:
    """Another model may compute there for long."""
    gate, thread = Gate(), ModelThread("models")
    batcher = Batcher(WordClassifier(), Metrics(), timeout_seconds=0.02, thread=thread)
    thread.submit(lambda: gate(None))
    await gate.reached()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.label, _pairs("waits", 1))
        await anyio.sleep(0.1)
        assert not batcher.is_stuck
        gate.open()
    await batcher.aclose()
    assert thread.run(lambda: 7) == 7, "a thread that was given stays its owner's"
    thread.close()


async def test_closing_leaves_no_thread_and_no_task_behind() -> None:
    threads, tasks = set(threading.enumerate()), len(asyncio.all_tasks())
    batcher = Batcher(WordClassifier(), Metrics())
    await batcher.label(_pairs("a", 2))
    assert len(asyncio.all_tasks()) == tasks
    (worker,) = (each for each in set(threading.enumerate()) - threads if each.name == "demur-nli")
    await batcher.aclose()
    worker.join(5)
    assert not worker.is_alive()
    assert len(set(threading.enumerate()) - threads) <= 2  # anyio keeps its worker threads for later calls


async def test_metrics_tell_pairs_batches_and_waits() -> None:
    metrics = Metrics()
    batcher = Batcher(WordClassifier(), metrics, max_batch_tokens=40)
    await batcher.label(_pairs("a", 12))
    await batcher.aclose()

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    assert value("demur_nli_pairs_total", source="model") == 12
    assert value("demur_nli_batch_pairs_count") == math.ceil(12 / 5)
    assert value("demur_nli_batch_pairs_sum") == 12
    assert value("demur_nli_batch_tokens_sum") == 12 * 8
    assert value("demur_nli_batch_duration_seconds_count") == 3
    assert value("demur_nli_queue_duration_seconds_count") == 12
    assert value("demur_nli_queue_pairs") == 0


async def test_nothing_blocking_is_called_on_the_event_loop() -> None:
    batcher = Batcher(WordClassifier(seconds=0.01), Metrics())
    with blockbuster.blockbuster_ctx("demur"):
        assert len(await batcher.label(_pairs("a", 4))) == 4
        await batcher.aclose()
