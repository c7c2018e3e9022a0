"""The loss, the schedule of the learning rate and the batches of the NLI recipe."""

from math import log
from random import Random

import numpy as np
import pytest
import torch

from training.nli_model.calibration import Answers, General, nearest_good
from training.nli_model.encoder import LABELS
from training.nli_model.pairs import Label
from training.nli_model.train import PEAK_LEARNING_RATE, WARM_UP_CHUNKS, learning_rate, loss_of

LOGITS = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))


def test_the_head_has_the_labels_in_the_order_of_the_classes() -> None:
    """The exported id2label names the classes as the training labels number them."""
    assert [Label[name.upper()].value for name in LABELS] == [0, 1, 2]


@pytest.mark.parametrize(
    ("label", "probability"),
    [
        (Label.CONTRADICTION, 0.2),
        (Label.ENTAILMENT, 0.5),
        (Label.NEUTRAL, 0.3),
        (Label.NOT_ENTAILMENT, 0.5),
    ],
)
def test_the_loss_is_minus_the_log_of_what_the_label_allows(label: Label, probability: float) -> None:
    """ "Not entailment" allows contradiction and neutral together: 0.2 + 0.3."""
    assert loss_of(LOGITS, torch.tensor([label])).item() == pytest.approx(-log(probability), abs=1e-6)


def test_the_learning_rate_rises_to_its_peak_stays_and_falls_to_zero() -> None:
    """Linear both ways: of twenty chunks the last ten fall."""
    assert learning_rate(0.0, 20) == 0.0
    assert learning_rate(WARM_UP_CHUNKS / 2, 20) == pytest.approx(PEAK_LEARNING_RATE / 2)
    assert learning_rate(WARM_UP_CHUNKS, 20) == learning_rate(10.0, 20) == PEAK_LEARNING_RATE
    assert learning_rate(15.0, 20) == pytest.approx(PEAK_LEARNING_RATE / 2)
    assert learning_rate(20.0, 20) == 0.0


def test_the_first_half_does_not_depend_on_the_number_of_chunks() -> None:
    """A run may be resumed with another number while the rate has not begun to fall: the weights are the same."""
    assert [learning_rate(x / 4, 20) for x in range(41)] == [learning_rate(x / 4, 36) for x in range(41)]


def test_one_seed_draws_one_mix() -> None:
    """The rule-made pairs depend on the generator's seed and nothing else."""
    from training.nli_model.quantities import date_pairs, number_pairs

    for make in (date_pairs, number_pairs):
        assert list(make(Random(3), 20)) == list(make(Random(3), 20))
        assert list(make(Random(3), 20)) != list(make(Random(4), 20))


def test_the_offset_moves_entailment_alone() -> None:
    """Entailment leads by 0.2 in the pair that is the same and by 1 in the other: lowering it parts the first pair
    first, then both; and with it the general pair that is entailed."""
    close, clear = np.array([[0.0, 0.2, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    answers = Answers(np.vstack([close, clear]), np.vstack([clear, clear]), np.array([True, False]))
    assert [answers.balanced_accuracy(offset) for offset in (0.0, -0.5, -1.5)] == [0.5, 0.0, 0.5]
    general = General(np.vstack([close, close[:, ::-1] + [[1, 0, 0]]]), np.array([Label.ENTAILMENT, 0]))
    assert [general.accuracy(offset) for offset in (0.0, -0.5)] == [1.0, 0.5]


def test_an_offset_is_chosen_only_where_it_is_surely_better() -> None:
    """It turns one of ten wrongly joined answers: not enough evidence, but of a thousand a hundred are."""
    general = General(np.tile([[0.0, 3.0, 0.0]], (100, 1)), np.full(100, Label.ENTAILMENT))
    entailment = [2.0] * 5 + [-2.0] * 5 + [2.0] * 4 + [0.42] + [-2.0] * 5

    def chosen(repeats: int) -> float:
        logits = np.array([[0.0, x, 0.0] for x in entailment * repeats])
        return nearest_good(Answers(logits, logits, np.array(([True] * 10 + [False] * 10) * repeats)), general)

    assert chosen(1) == 0.0
    assert chosen(100) == pytest.approx(-0.45)
