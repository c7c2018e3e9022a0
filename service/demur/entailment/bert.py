"""BERT's forward pass in few steps, from the weights that transformers loaded.

A small model that reads a few short pairs on a CPU spends much of its time beside the arithmetic: on Python, on masks
that mask nothing, and in bfloat16 on laying out the same weights anew for each product. Here each layer is eight calls,
and its bfloat16 weights are laid out once. What is computed is Devlin et al. 2019, section 3, as transformers does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertForSequenceClassification

Linear = Callable[[Tensor], Tensor]


class QuickBert:
    """Logits of a BERT classifier on a CPU, shape (pairs, relations), in `dtype`."""

    def __init__(self, model: BertForSequenceClassification, dtype: torch.dtype) -> None:
        """Shares the weights of `model` where they have that `dtype`. Raises: ValueError where it is another model."""
        if not is_quick_bert(model):
            raise ValueError(f"{type(model).__name__} is not computed here")
        bert: Any = model.bert
        embeddings, pooler, classifier = bert.embeddings, bert.pooler.dense, model.classifier
        self._words, self._positions, self._types = (
            _of(each.weight, dtype)
            for each in (
                embeddings.word_embeddings,
                embeddings.position_embeddings,
                embeddings.token_type_embeddings,
            )
        )
        self._norm = _Norm.of(embeddings.LayerNorm, dtype)
        self._layers = [_Layer.of(layer, dtype) for layer in bert.encoder.layer]
        self._pool = _linear(pooler.weight, pooler.bias, dtype)
        self._classify = _linear(classifier.weight, classifier.bias, dtype)
        self._n_heads: int = model.config.num_attention_heads

    def __call__(self, features: Mapping[str, Tensor]) -> Tensor:
        """`features`: token ids, types and an attention mask, each of shape (pairs, tokens)."""
        ids = features["input_ids"]
        n, width = ids.shape
        places = self._positions[:width] + F.embedding(features["token_type_ids"], self._types)
        hidden = self._norm(F.embedding(ids, self._words) + places).view(n * width, -1)
        mask = _mask(features["attention_mask"], hidden.dtype)
        for layer in self._layers:
            hidden = layer(hidden, (n, width, self._n_heads), mask)
        return self._classify(torch.tanh(self._pool(hidden.view(n, width, -1)[:, 0])))


def is_quick_bert(model: Any) -> bool:
    """Whether `model` is what is computed here, no more and no less, on a CPU."""
    if type(model) is not BertForSequenceClassification or model.device.type != "cpu":
        return False
    config = model.config
    positions = getattr(config, "position_embedding_type", "absolute")
    return config.hidden_act == "gelu" and positions == "absolute" and not config.is_decoder


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    @classmethod
    def of(cls, norm: Any, dtype: torch.dtype) -> _Norm:
        return cls(_of(norm.weight, dtype), _of(norm.bias, dtype), norm.eps)

    def __call__(self, hidden: Tensor) -> Tensor:
        return F.layer_norm(hidden, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Attention, then two linear maps for each token; each is added to what it read, and normalised."""

    attend: Linear  # to queries, keys and values at once
    attended: Linear
    attended_norm: _Norm
    widen: Linear
    narrow: Linear
    narrowed_norm: _Norm

    @classmethod
    def of(cls, layer: Any, dtype: torch.dtype) -> _Layer:
        own, out = layer.attention.self, layer.attention.output
        parts = (own.query, own.key, own.value)
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        return cls(
            attend=_linear(weight, bias, dtype),
            attended=_linear(out.dense.weight, out.dense.bias, dtype),
            attended_norm=_Norm.of(out.LayerNorm, dtype),
            widen=_linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias, dtype, gelu=True),
            narrow=_linear(layer.output.dense.weight, layer.output.dense.bias, dtype),
            narrowed_norm=_Norm.of(layer.output.LayerNorm, dtype),
        )

    def __call__(self, hidden: Tensor, shape: tuple[int, int, int], mask: Tensor | None) -> Tensor:
        """`hidden`: (pairs x tokens, features); `shape`: pairs, tokens, heads."""
        n, width, n_heads = shape
        heads = self.attend(hidden).view(n, width, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = heads.unbind(0)
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        hidden = self.attended_norm(hidden + self.attended(found.transpose(1, 2).reshape(hidden.shape)))
        return self.narrowed_norm(hidden + self.narrow(self.widen(hidden)))


def _mask(attention: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Added to the scores: -inf for padding. None where there is none."""
    if bool(attention.all()):
        return None
    padding = attention[:, None, None, :] == 0
    return torch.zeros(padding.shape, dtype=dtype).masked_fill_(padding, float("-inf"))


def _linear(weight: Tensor, bias: Tensor, dtype: torch.dtype, *, gelu: bool = False) -> Linear:
    """x W' + b, and GELU of it. Float32 products gain nothing by laying out their weights before."""
    weight, bias = _of(weight, dtype), _of(bias, dtype)
    if dtype == torch.bfloat16 and torch.backends.mkldnn.is_available():
        kernels: Any = torch.ops.mkldnn  # what torch's compiler makes of a linear layer on a CPU
        packed, then = kernels._reorder_linear_weight(weight), "gelu" if gelu else "none"
        return lambda hidden: kernels._linear_pointwise(hidden, packed, bias, then, [], "none")
    if gelu:
        return lambda hidden: F.gelu(F.linear(hidden, weight, bias))
    return lambda hidden: F.linear(hidden, weight, bias)


def _of(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.detach().to(dtype).contiguous()
