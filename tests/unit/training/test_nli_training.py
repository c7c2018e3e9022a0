"""The loss, the schedule of the learning rate and the batches of the NLI recipe."""

from math import log
from random import Random

import pytest
import torch

from training.nli_model.encoder import LABELS
from training.nli_model.pairs import Label
from training.nli_model.train import PEAK_LEARNING_RATE, WARM_UP_SHARE, learning_rate, loss_of

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


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    """Linear both ways."""
    assert learning_rate(0.0) == 0.0
    assert learning_rate(WARM_UP_SHARE) == pytest.approx(PEAK_LEARNING_RATE)
    assert learning_rate((1 + WARM_UP_SHARE) / 2) == pytest.approx(PEAK_LEARNING_RATE / 2)
    assert learning_rate(1.0) == 0.0


def test_one_seed_draws_one_mix() -> None:
    """The rule-made pairs depend on the generator's seed and nothing else."""
    from training.nli_model.quantities import date_pairs, number_pairs

    for make in (date_pairs, number_pairs):
        assert list(make(Random(3), 20)) == list(make(Random(3), 20))
        assert list(make(Random(3), 20)) != list(make(Random(4), 20))
