"""What `EntailmentModel` promises, asked of every implementation through its public face."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.resources import files
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import torch

from demur.entailment.base import EntailmentModel
from demur.entailment.batcher import Batcher
from demur.entailment.cross_encoder import CrossEncoderModel
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.entailment.remote import RemoteModel
from demur.errors import EntailmentUnavailable
from demur.observability.metrics import Metrics
from demur.types import Pair, Statement, Verdict
from tests.conformance.tei_server import Tei, serving_tei
from tests.unit.entailment.classifiers import LABELS, WordClassifier, pair, save_tiny_bert

pytestmark = pytest.mark.anyio

BUNDLED = Path(str(files("demur"))) / "bundled" / "nli"

QUESTION = "What is the capital of France?"
PAIRS = [
    pair("Paris", "It is Paris.", QUESTION),
    pair("It is Paris.", "Lyon", QUESTION),
    pair("Lyon", "The capital of France is Paris, a city on the Seine, and has been for a thousand years.", QUESTION),
    pair("", "Paris"),
    pair("Paris " * 12, "7"),
    pair("Größe: 3 € 😀", "[SEP] [CLS] </s>", "日本の首都は?"),
]
LONG_QUESTION = "Here is a very long passage that says nothing of interest at all. " * 400 + QUESTION


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tei() -> Iterator[Tei]:
    with serving_tei() as running:
        yield running


def _words(_: pytest.FixtureRequest) -> EntailmentModel:
    return Batcher(WordClassifier(seconds=0.02), Metrics())


def _memo_of_words(_: pytest.FixtureRequest) -> EntailmentModel:
    return PairMemo(Batcher(WordClassifier(seconds=0.02), Metrics()), Metrics())


def _tiny(request: pytest.FixtureRequest) -> EntailmentModel:
    return Batcher(
        CrossEncoderModel.load(request.getfixturevalue("tiny_bert"), dtype="float32", n_threads=1), Metrics()
    )


def _memo_of_tiny(request: pytest.FixtureRequest) -> EntailmentModel:
    return PairMemo(_tiny(request), Metrics())


def _remote(request: pytest.FixtureRequest) -> EntailmentModel:
    return RemoteModel.connect(request.getfixturevalue("tei").url, Metrics())


def _memo_of_remote(request: pytest.FixtureRequest) -> EntailmentModel:
    return PairMemo(_remote(request), Metrics())


def _bundled(_: pytest.FixtureRequest) -> EntailmentModel:
    return Batcher(CrossEncoderModel.load(BUNDLED, dtype="float32", n_threads=1), Metrics())


IMPLEMENTATIONS: list[Callable[[pytest.FixtureRequest], EntailmentModel]] = [
    _words,
    _memo_of_words,
    _tiny,
    _memo_of_tiny,
    _remote,
    _memo_of_remote,
]
PARAMETERS = [*IMPLEMENTATIONS, pytest.param(_bundled, marks=pytest.mark.model)]


@pytest.fixture(params=PARAMETERS, ids=lambda build: build.__name__.strip("_"))
async def model(request: pytest.FixtureRequest) -> AsyncIterator[EntailmentModel]:
    built = request.param(request)
    yield built
    await built.aclose()


def _close(left: Verdict, right: Verdict) -> bool:
    return [left.entailment, left.neutral, left.contradiction] == pytest.approx(
        [right.entailment, right.neutral, right.contradiction], abs=1e-4
    )


async def _heartbeats_during(work: Callable[[], Awaitable[object]]) -> int:
    """How often the event loop came round while `work` ran."""
    n_beats = 0
    async with anyio.create_task_group() as tasks:

        async def beat() -> None:
            nonlocal n_beats
            while True:
                await anyio.lowlevel.checkpoint()
                n_beats += 1

        tasks.start_soon(beat)
        await work()
        tasks.cancel_scope.cancel()
    return n_beats


async def test_it_has_a_name_without_a_path_in_it(model: EntailmentModel) -> None:
    assert model.model
    assert "/" not in model.model


async def test_no_pairs_have_no_verdicts(model: EntailmentModel) -> None:
    assert await model.label([]) == []


async def test_probabilities_are_a_distribution(model: EntailmentModel) -> None:
    for verdict in await model.label(PAIRS):
        assert verdict.entailment + verdict.neutral + verdict.contradiction == pytest.approx(1.0, abs=1e-9)
        assert min(verdict.entailment, verdict.neutral, verdict.contradiction) >= 0.0


async def test_verdicts_come_in_the_order_of_the_pairs(model: EntailmentModel) -> None:
    forward = await model.label(PAIRS)
    backward = await model.label(PAIRS[::-1])
    assert all(map(_close, forward, backward[::-1]))
    assert len({round(verdict.entailment, 6) for verdict in forward}) > 1


async def test_a_verdict_depends_on_its_pair_alone(model: EntailmentModel) -> None:
    """Neither the neighbours in the batch nor their padding move a verdict by more than 1e-4."""
    together = await model.label(PAIRS)
    alone = [(await model.label([single]))[0] for single in PAIRS]
    assert all(map(_close, together, alone))


@pytest.mark.model
async def test_in_bfloat16_neighbours_change_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """They move probabilities by a little more there, but what is close is judged in float32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    model = Batcher(CrossEncoderModel.load(BUNDLED, n_threads=1), Metrics())
    together = await model.label(PAIRS)
    alone = [(await model.label([single]))[0] for single in PAIRS]
    await model.aclose()
    assert [verdict.label for verdict in together] == [verdict.label for verdict in alone]
    assert [v.entailment for v in together] == pytest.approx([v.entailment for v in alone], abs=0.03)


async def test_concurrent_calls_get_their_own_verdicts(model: EntailmentModel) -> None:
    expected = dict(zip(PAIRS, await model.label(PAIRS), strict=True))
    orders = list(itertools.permutations(PAIRS, 3))[:24]
    answers: dict[int, list[Verdict]] = {}

    async def ask(i: int) -> None:
        answers[i] = await model.label(orders[i])

    async with anyio.create_task_group() as tasks:
        for i in range(len(orders)):
            tasks.start_soon(ask, i)
    for i, order in enumerate(orders):
        assert all(_close(expected[single], verdict) for single, verdict in zip(order, answers[i], strict=True))


async def test_answers_survive_a_question_that_is_too_long(model: EntailmentModel) -> None:
    """A prompt that fills the window must not make all answers look alike."""
    same, other = await model.label([pair("in Paris", "Paris", LONG_QUESTION), pair("in Paris", "Lyon", LONG_QUESTION)])
    assert same.is_truncated
    assert other.is_truncated
    assert abs(same.entailment - other.entailment) > 1e-6


async def test_what_fits_is_not_called_truncated(model: EntailmentModel) -> None:
    assert not any(verdict.is_truncated for verdict in await model.label(PAIRS))


async def test_the_event_loop_is_never_blocked(model: EntailmentModel) -> None:
    pairs = [pair(f"answer number {i}", "Paris", QUESTION) for i in range(100)]
    assert await _heartbeats_during(lambda: model.label(pairs)) >= 5


async def test_closing_fails_the_waiting_and_later_calls(model: EntailmentModel) -> None:
    outcomes: list[str] = []

    async def ask(i: int) -> None:
        try:
            await model.label([pair(f"answer {i}", "Paris", QUESTION)])
            outcomes.append("answered")
        except EntailmentUnavailable as error:
            outcomes.append(error.code)

    async with anyio.create_task_group() as tasks:
        for i in range(5):
            tasks.start_soon(ask, i)
        await anyio.lowlevel.checkpoint()
        await model.aclose()
    assert outcomes == ["nli-unavailable"] * 5
    with pytest.raises(EntailmentUnavailable):
        await model.label(PAIRS)
    await model.aclose()


async def test_the_order_of_the_labels_in_a_checkpoint_changes_no_verdict(tmp_path: Path) -> None:
    """cross-encoder/nli-*, MoritzLaurer/* and microsoft/*-mnli each have another order."""
    verdicts = []
    for order in itertools.permutations(LABELS):
        folder = save_tiny_bert(tmp_path / "-".join(order), order)
        batcher = Batcher(CrossEncoderModel.load(folder, n_threads=1), Metrics())
        verdicts.append(await batcher.label(PAIRS))
        await batcher.aclose()
    assert all(_close(a, b) for other in verdicts[1:] for a, b in zip(verdicts[0], other, strict=True))
    assert not all(_close(v, Verdict(v.neutral, v.entailment, v.contradiction)) for v in verdicts[0])


async def test_a_tally_is_the_memo_with_counts() -> None:
    memo = PairMemo(Batcher(WordClassifier(), Metrics()), Metrics())
    tally: EntailmentModel = PairTally(memo)
    assert await tally.label(PAIRS) == await memo.label(PAIRS)
    await tally.aclose()
    assert await memo.label([Pair(Statement("a"), Statement("b"))])
    await memo.aclose()
