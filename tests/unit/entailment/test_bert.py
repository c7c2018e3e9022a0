"""BERT in few steps: what transformers computes from the same weights, and nothing where it would not be."""

from collections.abc import Mapping
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from demur.entailment.bert import QuickBert, is_quick_bert

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "num_labels": 3,
    "initializer_range": 0.2,
}


class _Subclass(BertForSequenceClassification):
    """May compute anything."""


def _model(**changes: object) -> BertForSequenceClassification:
    torch.manual_seed(3)
    model = BertForSequenceClassification(BertConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():  # as it is after training: no norm is the identity, no bias nothing
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


MODEL = _model()


def _features(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Rows of random tokens, filled up to the longest."""
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    places = torch.arange(shape[1]).expand(shape)
    kept = places < torch.tensor(lengths)[:, None]
    return {
        "input_ids": torch.randint(1, SIZES["vocab_size"], shape, generator=random) * kept,
        "attention_mask": kept.long(),
        "token_type_ids": (places > shape[1] // 2).long() * kept,
    }


def _expected(model: BertForSequenceClassification, features: Mapping[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return model(**features).logits


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**32))
def test_logits_are_those_of_transformers(lengths: list[int], seed: int) -> None:
    features = _features(lengths, seed)
    torch.testing.assert_close(
        QuickBert(MODEL, torch.float32)(features), _expected(MODEL, features), atol=2e-5, rtol=2e-5
    )


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**32))
def test_bfloat16_is_as_near_to_float32_as_that_of_transformers(lengths: list[int], seed: int) -> None:
    """Both round after every step or two: the unit of their last place is 1/128."""
    features = _features(lengths, seed)
    exact, half = _expected(MODEL, features), deepcopy(MODEL).to(torch.bfloat16)
    scale = exact.abs().max()
    theirs = (_expected(half, features).float() - exact).abs().max()
    ours = (QuickBert(MODEL, torch.bfloat16)(features).float() - exact).abs().max()
    assert ours <= 2 * theirs + scale / 16


def test_what_a_row_is_padded_with_does_not_matter() -> None:
    features, model = _features([7, 30]), QuickBert(MODEL, torch.float32)
    alone = {name: each[:1, :7] for name, each in features.items()}
    other = features | {"input_ids": features["input_ids"] + 5 * (features["attention_mask"] == 0)}
    torch.testing.assert_close(model(features)[:1], model(alone))
    torch.testing.assert_close(model(other), model(features))


def test_weights_are_shared_where_they_are_kept_as_they_are() -> None:
    model = _model()
    quick, features = QuickBert(model, torch.float32), _features([5])
    before = quick(features)
    with torch.no_grad():
        model.classifier.bias.add_(1)
    torch.testing.assert_close(quick(features), before + 1)


@pytest.mark.parametrize(
    "model",
    [
        _model(hidden_act="gelu_new"),
        _model(hidden_act="relu"),
        _model(is_decoder=True),
        _Subclass(BertConfig(**SIZES)),
        RobertaForSequenceClassification(RobertaConfig(**SIZES)),
        torch.nn.Linear(2, 2),
    ],
    ids=["another GELU", "ReLU", "a decoder", "a subclass", "RoBERTa", "no such thing"],
)
def test_another_model_is_left_to_transformers(model: torch.nn.Module) -> None:
    assert is_quick_bert(MODEL)
    assert not is_quick_bert(model)
    with pytest.raises(ValueError, match="not computed here"):
        QuickBert(model, torch.float32)  # type: ignore[arg-type]


def test_another_device_is_left_to_transformers() -> None:
    assert not is_quick_bert(_model().to("meta"))
