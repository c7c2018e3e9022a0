"""Entailment of an answer by passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.entailment.batcher import Batcher
from demur.entailment.groundedness import MAX_WINDOW_BYTES, MAX_WINDOWS, groundedness, windows
from demur.observability.metrics import Metrics
from demur.types import Passage, Verdict
from tests.unit.entailment.classifiers import WordClassifier, WordPair

pytestmark = pytest.mark.anyio

SUPPORT, DENIAL, SILENCE = Verdict(0.9, 0.06, 0.04), Verdict(0.05, 0.15, 0.8), Verdict(0.1, 0.7, 0.2)


class Reader(WordClassifier):
    """Supports, denies or says nothing, by a word in the premise."""

    def predict(self, batch: list[WordPair]) -> list[Verdict]:
        self.batches.append(list(batch))
        return [self._read(encoded.pair.premise.answer) for encoded in batch]

    def _read(self, premise: str) -> Verdict:
        return SUPPORT if "supports" in premise else DENIAL if "denies" in premise else SILENCE


async def _grounded(*texts: str, answer: str = "Paris", reader: Reader | None = None):
    batcher = Batcher(reader or Reader(), Metrics())
    try:
        passages = [Passage(text) for text in texts]
        return await groundedness(batcher, question="Capital of France?", answer=answer, passages=passages)
    finally:
        await batcher.aclose()


async def test_without_context_there_is_no_score() -> None:
    for texts in [(), ("", " \n ")]:
        found = await _grounded(*texts)
        assert (found.score, found.contradicts, found.n_pairs, found.is_partial) == (None, False, 0, False)


async def test_the_best_window_counts() -> None:
    found = await _grounded("This denies it.", "This supports it.", "Nothing here.")
    assert found.score == SUPPORT.entailment
    assert not found.contradicts
    assert found.n_pairs == 3


async def test_each_passage_has_the_verdict_of_its_best_window() -> None:
    """A passage of two windows, one of them silent; one without words; one that denies."""
    long = "Nothing here. " * 60 + "This supports it."
    found = await _grounded(long, " ", "This denies it.")
    assert found.n_pairs == 3
    assert found.by_passage == (SUPPORT, None, DENIAL)


async def test_a_denial_contradicts_where_nothing_supports() -> None:
    found = await _grounded("This denies it.", "Nothing here.")
    assert found.score == SILENCE.entailment
    assert found.contradicts


async def test_silence_is_no_contradiction() -> None:
    assert not (await _grounded("Nothing here.")).contradicts


async def test_the_answer_is_asked_with_its_question_and_the_window_without() -> None:
    reader = Reader()
    await _grounded("Nothing here.", reader=reader)
    (asked,) = reader.asked
    assert (asked.premise.question, asked.premise.answer) == ("", "Nothing here.")
    assert (asked.hypothesis.question, asked.hypothesis.answer) == ("Capital of France?", "Paris")


async def test_support_at_the_very_end_of_a_long_passage_is_found() -> None:
    reader = Reader()
    found = await _grounded("An idle sentence. " * 500 + "This supports it.", reader=reader)
    assert found.score == SUPPORT.entailment
    assert 1 < found.n_pairs <= MAX_WINDOWS
    assert not found.is_partial


async def test_cost_is_bounded_and_the_most_related_windows_are_read() -> None:
    """Beyond 64 windows, those that share words with question and answer come first, and the result says so."""
    filler = "An idle sentence of no use whatever to anybody at all. " * 2000
    found = await _grounded(filler + "This supports Paris as the capital of France. " + filler)
    assert found.n_pairs == MAX_WINDOWS
    assert found.score == SUPPORT.entailment
    assert found.is_partial


async def test_an_answer_too_long_for_the_model_makes_it_partial() -> None:
    class Short(Reader):
        def _read(self, premise: str) -> Verdict:
            return Verdict(0.2, 0.7, 0.1, is_truncated=True)

    assert (await _grounded("Nothing here.", reader=Short())).is_partial


def test_a_short_passage_is_one_window() -> None:
    assert windows("Paris is a city. It lies on the Seine.") == ["Paris is a city. It lies on the Seine."]


def test_windows_overlap_by_one_sentence() -> None:
    assert windows("Ab cd. Ef gh. Ij kl. Mn op.", max_bytes=13) == ["Ab cd. Ef gh.", "Ef gh. Ij kl.", "Ij kl. Mn op."]


def test_chinese_is_divided_at_its_own_full_stop() -> None:
    assert windows("巴黎是首都。它在法国。", max_bytes=18) == ["巴黎是首都。", "它在法国。"]


@given(st.text(alphabet=st.sampled_from("ab é。漢.! \n"), max_size=400), st.integers(8, 64))
def test_windows_fit_and_leave_nothing_out(text: str, max_bytes: int) -> None:
    """Every window fits, and every character that is not space is in some window, in order."""
    found = windows(text, max_bytes)
    assert all(0 < len(window.encode()) <= max_bytes for window in found)
    rest = iter("".join("".join(found).split()))
    assert all(character in rest for character in "".join(text.split()))


def test_a_megabyte_without_a_full_stop_is_split_in_linear_time() -> None:
    """Quadratic packing would take minutes, and the test's time limit would end it."""
    found = windows("word " * 200_000)
    assert len(found) == -(-200_000 // ((MAX_WINDOW_BYTES + 1) // 5))
