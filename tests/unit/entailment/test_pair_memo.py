"""The memo in front of the model: each pair is asked once."""

import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from demur.entailment.batcher import Batcher
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.errors import EntailmentUnavailable, Overloaded
from demur.observability.metrics import Metrics
from demur.types import Pair, Statement
from tests.unit.entailment.classifiers import WordClassifier, pair

pytestmark = pytest.mark.anyio

A, B, C = pair("a", "x"), pair("b", "x"), pair("c", "x")


def _memo(classifier: WordClassifier, metrics: Metrics | None = None, **settings: int) -> PairMemo:
    metrics = metrics or Metrics()
    return PairMemo(Batcher(classifier, metrics, max_waiting_pairs=settings.pop("places", 100)), metrics, **settings)


async def test_a_pair_is_asked_once_in_a_call_and_over_calls() -> None:
    classifier = WordClassifier()
    memo = _memo(classifier)
    first = await memo.label_counted([A, B, A])
    second = await memo.label_counted([B, C])
    assert classifier.asked.count(A) == classifier.asked.count(B) == classifier.asked.count(C) == 1
    assert (first.n_model, first.n_cached, first.n_identical) == (2, 1, 0)
    assert (second.n_model, second.n_cached, second.n_identical) == (1, 1, 0)
    assert first.verdicts[0] == first.verdicts[2]
    await memo.aclose()


async def test_the_direction_and_the_question_belong_to_the_pair() -> None:
    """Nor do two texts whose concatenation is the same share a verdict."""
    classifier = WordClassifier()
    memo = _memo(classifier)
    alike = [Pair(Statement("bc", "a"), Statement("x")), Pair(Statement("c", "ab"), Statement("x"))]
    await memo.label([A, A.reversed, pair("a", "x", "q"), *alike])
    assert len(classifier.asked) == 5
    await memo.aclose()


async def test_identical_statements_need_no_model() -> None:
    classifier, metrics = WordClassifier(), Metrics()
    memo = _memo(classifier, metrics)
    same = Pair(Statement("Paris", "Where?"), Statement("Paris", "Where?"))
    labelled = await memo.label_counted([same, A])
    assert labelled.verdicts[0].entailment == 1.0
    assert (labelled.n_model, labelled.n_cached, labelled.n_identical) == (1, 0, 1)
    assert classifier.asked == [A]
    await memo.label([A])
    counts = [
        metrics.registry.get_sample_value("demur_nli_pairs_total", {"source": s})
        for s in ("model", "cache", "identical")
    ]
    assert counts == [1, 1, 1]
    await memo.aclose()


async def test_memory_is_bounded_and_forgets_the_least_recently_used() -> None:
    classifier = WordClassifier()
    memo = _memo(classifier, max_pairs=2)
    for one in (A, B, A, C, A, B):
        await memo.label([one])
    assert [p.premise.answer for p in classifier.asked] == ["a", "b", "c", "b"]
    await memo.aclose()


async def test_a_call_larger_than_the_memory_is_answered() -> None:
    memo = _memo(WordClassifier(), max_pairs=2)
    many = [pair(f"answer {i}", "x") for i in range(10)]
    assert len(await memo.label(many)) == 10
    await memo.aclose()


async def test_concurrent_calls_share_one_question() -> None:
    classifier = WordClassifier(seconds=0.02)
    memo = _memo(classifier)
    tallies = [PairTally(memo) for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        for tally in tallies:
            tasks.start_soon(tally.label, [A, B])
    assert sorted(p.premise.answer for p in classifier.asked) == ["a", "b"]
    assert [(t.n_model, t.n_cached) for t in tallies] == [(2, 0), *[(0, 2)] * 4]
    await memo.aclose()


async def test_overlapping_calls_ask_only_what_is_new() -> None:
    classifier = WordClassifier(seconds=0.02)
    memo = _memo(classifier)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(memo.label, [A, B])
        tasks.start_soon(memo.label, [B, C])
        tasks.start_soon(memo.label, [C, A])
    assert sorted(p.premise.answer for p in classifier.asked) == ["a", "b", "c"]
    await memo.aclose()


async def test_an_asker_that_leaves_does_not_take_the_other_with_it() -> None:
    """The other puts the question again."""
    memo = _memo(WordClassifier(seconds=0.05))
    answered: list[int] = []

    async def stay() -> None:
        answered.append(len(await memo.label([A, B])))

    with anyio.CancelScope() as leaving:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as stayers:
                    tasks.start_soon(memo.label, [A])
                    await anyio.sleep(0.01)
                    stayers.start_soon(stay)
                    await anyio.sleep(0.01)
                    leaving.cancel()
    assert answered == [2]
    await memo.aclose()


async def test_a_failure_reaches_every_asker_and_is_not_remembered() -> None:
    is_broken = threading.Event()
    is_broken.set()

    def maybe_fail(_: list[Pair]) -> None:
        if is_broken.is_set():
            raise RuntimeError("broken")

    classifier = WordClassifier(seconds=0.02, on_predict=maybe_fail)
    memo = _memo(classifier)
    n_failed = 0

    async def ask() -> None:
        nonlocal n_failed
        with pytest.raises(EntailmentUnavailable, match="broken"):
            await memo.label([A])
        n_failed += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert n_failed == 3
    assert len(classifier.asked) == 1
    is_broken.clear()
    assert (await memo.label_counted([A])).n_model == 1
    await memo.aclose()


async def test_finding_no_place_is_not_remembered() -> None:
    """Two pairs find no place; a later call for one of them asks it."""
    memo = _memo(WordClassifier(seconds=0.02), places=1)
    with pytest.raises(Overloaded):
        await memo.label([A, B])
    assert len(await memo.label([A])) == 1
    await memo.aclose()


async def test_tenants_do_not_learn_what_others_asked() -> None:
    """The same pair is asked for each of them, at once as later: nothing is quicker for what another has asked."""
    classifier = WordClassifier(seconds=0.02)
    memo = _memo(classifier)
    tallies = [PairTally(memo, tenant) for tenant in ("a", "b", "a")]
    async with anyio.create_task_group() as tasks:
        for tally in tallies:
            tasks.start_soon(tally.label, [A])
    await tallies[1].label([A])
    assert [(t.n_model, t.n_cached) for t in tallies] == [(1, 0), (1, 1), (0, 1)]
    assert classifier.asked == [A, A]
    await memo.aclose()


async def test_a_tally_counts_one_request_over_its_calls() -> None:
    memo = _memo(WordClassifier(max_words=4))
    tally, other = PairTally(memo), PairTally(memo)
    await tally.label([A, pair("one two three", "four five")])
    await tally.label([A, Pair(Statement("a"), Statement("a"))])
    await other.label([B])
    assert (tally.n_model, tally.n_cached, tally.n_identical, tally.n_truncated) == (2, 1, 1, 1)
    assert (other.n_model, other.n_cached) == (1, 0)
    assert tally.model == memo.model == "words"
    await memo.aclose()


async def test_what_was_asked_ahead_counts_when_it_is_used() -> None:
    """Asked of the model once; what nobody used is speculative."""
    classifier = WordClassifier()
    memo = _memo(classifier)
    tally = PairTally(memo)
    await tally.label_ahead([A, B])
    assert (tally.n_model, tally.n_cached, tally.n_speculative) == (0, 0, 2)
    verdicts = await tally.label([A, C])
    assert verdicts[0] == tally.known[A]
    assert (tally.n_model, tally.n_cached, tally.n_speculative) == (2, 0, 1)
    assert classifier.asked == [A, B, C]
    await memo.aclose()


async def test_what_another_request_had_asked_is_not_speculative() -> None:
    """It cost this one nothing."""
    memo = _memo(WordClassifier())
    tally = PairTally(memo)
    await memo.label([A, B])
    await tally.label_ahead([A, B])
    await tally.label([A])
    assert (tally.n_model, tally.n_cached, tally.n_speculative) == (0, 1, 0)
    await memo.aclose()


async def test_a_pair_under_way_is_waited_for_and_belongs_to_its_request() -> None:
    """Needed while it is being asked ahead: asked once, and counted as asked for this request."""
    released = threading.Event()
    classifier = WordClassifier(on_predict=lambda _: _wait(released))
    memo = _memo(classifier)
    tally = PairTally(memo)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tally.label_ahead, [A, B])
        await _until(lambda: len(classifier.batches) == 1)
        assert set(tally.asked_ahead) == {A, B}
        assert not tally.known
        tasks.start_soon(tally.label, [A])
        await anyio.lowlevel.checkpoint()
        released.set()
    assert classifier.asked == [A, B]
    assert (tally.n_model, tally.n_cached, tally.n_speculative) == (1, 0, 1)
    await memo.aclose()


async def test_what_failed_ahead_was_not_asked() -> None:
    """Nothing is known of it, and nothing is counted."""

    def fail(_: list[Pair]) -> None:
        raise RuntimeError("broken")

    memo = _memo(WordClassifier(on_predict=fail))
    tally = PairTally(memo)
    with pytest.raises(EntailmentUnavailable, match="broken"):
        await tally.label_ahead([A])
    assert (tally.n_model, tally.n_speculative, set(tally.asked_ahead)) == (0, 0, set())
    await memo.aclose()


async def test_asking_ahead_waits_until_the_model_is_calm() -> None:
    """While 33 pairs are with the model, `calm` waits; it ends when they have been answered."""
    released = threading.Event()
    classifier = WordClassifier(on_predict=lambda _: _wait(released))
    memo = _memo(classifier)
    is_calm = anyio.Event()

    async def wait() -> None:
        await memo.calm()
        is_calm.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(memo.label, [pair(f"answer {i}", "x") for i in range(33)])
        await _until(lambda: len(classifier.batches) == 1)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not is_calm.is_set()
        released.set()
        with anyio.fail_after(30):
            await is_calm.wait()
    await memo.aclose()


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        await anyio.sleep(0.001)
    pytest.fail("what the test waits for does not happen")


def _wait(event: threading.Event) -> None:
    assert event.wait(30)
