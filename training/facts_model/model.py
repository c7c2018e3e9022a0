"""The architecture, made quick on one CPU core: bfloat16 weights in the model, float32 ones in the optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_ROWS_OF_LOGITS = 128  # logits are made in multiples, so that the kernels meet few shapes


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded token ids and the loss weight of predicting each."""

    ids: torch.Tensor
    weights: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.ids.to(device), self.weights.to(device))


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the model."""

    layers: int = 4
    width: int = 256
    inner_width: int = 768
    heads: int = 4


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A small Llama with tied embeddings, in float32."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=shape.width, intermediate_size=shape.inner_width,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.heads,
        max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def plain_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float = 1.0, **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Causal attention written out: for short rows its backward pass is several times quicker than the fused one."""
    length = query.shape[2]
    mask = torch.full((length, length), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
    scores = torch.matmul(query * scaling, key.transpose(2, 3)) + mask
    mixed = torch.matmul(torch.softmax(scores, -1), value)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register("plain_causal", plain_attention)


class Trainee:
    """A model in bfloat16 with float32 masters of its weights and their running average."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.masters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self.average = {name: master.clone() for name, master in self.masters.items()}
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)  # not model.to(): the rotary buffers stay float32
        model.set_attn_implementation("plain_causal")
        self.model = model
        self._hidden_states = torch.compile(self._read, dynamic=True)  # a third less time: the small steps are fused

    def backward(self, batch: Batch) -> float:
        """The mean loss per unit of weight, in nats; its gradients are left on the masters."""
        loss = self._loss(batch.to(self.model.device))
        loss.backward()
        for parameter, master in zip(self.model.parameters(), self.masters.values(), strict=True):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self.masters.values(), 1.0)
        return float(loss.detach())

    def _loss(self, batch: Batch) -> torch.Tensor:
        """Weighted cross entropy; logits are made only where a weight asks for them."""
        hidden = self._hidden_states(batch.ids)[:, :-1].flatten(0, 1)
        weights, targets = batch.weights[:, 1:].flatten(), batch.ids[:, 1:].flatten()
        asked = weights.nonzero().squeeze(1)
        padding = asked.new_zeros(-len(asked) % _ROWS_OF_LOGITS)  # row 0 is a prompt's: its weight is 0
        asked = torch.cat([asked, padding])
        losses = cross_entropy(self.model.lm_head(hidden[asked]).float(), targets[asked], reduction="none")
        return (losses * weights[asked]).sum() / weights.sum()

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden

    @torch.no_grad()
    def refresh(self, decay: float) -> None:
        """Copy the masters into the model and move the average towards them."""
        masters = list(self.masters.values())
        torch._foreach_copy_(list(self.model.parameters()), masters)
        torch._foreach_lerp_(list(self.average.values()), masters, 1 - decay)
