"""Which token comes next, and what the model's own distribution says of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from demur.types import Sampling


def next_tokens(logits: Tensor, uniforms: Sequence[float | None], sampling: Sampling) -> tuple[list[int], list[float]]:
    """One token id per row of `logits`, and its raw logprob in nats.

    A row with a uniform number in [0, 1) is sampled by inverting the distribution function at that number, after
    temperature and top-p; a row with None is greedy. The logprob is that of the unmodified logits at T=1 in both
    cases, and NaN where the logits of the row are not a distribution.
    """
    logits = logits.float()
    logprobs = logits.log_softmax(dim=-1)
    chosen = logits.argmax(dim=-1)
    sampled = [row for row, u in enumerate(uniforms) if u is not None]
    if sampled:
        points = torch.tensor([u for u in uniforms if u is not None], dtype=torch.float64, device=logits.device)
        chosen[sampled] = _invert(_probabilities(logits[sampled], sampling.temperature), points, sampling.top_p)
    return chosen.tolist(), logprobs.gather(-1, chosen[:, None]).squeeze(-1).tolist()


def _probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Largest logit at 0 and in float64, so that the smallest temperature divides without overflow."""
    if temperature == 1.0:
        return logits.softmax(dim=-1).double()
    return ((logits - logits.amax(dim=-1, keepdim=True)).double() / temperature).softmax(dim=-1)


def _invert(probabilities: Tensor, points: Tensor, top_p: float) -> Tensor:
    """Per row, the token at which the cumulative probability passes the point; never one of probability 0."""
    if top_p == 1.0:
        return _search(probabilities.cumsum(dim=-1), points)
    ranked, order = probabilities.topk(_n_candidates(probabilities, top_p))
    nucleus = torch.where(ranked.cumsum(dim=-1) - ranked < top_p, ranked, 0.0)
    return order.gather(-1, _search(nucleus.cumsum(dim=-1), points)[:, None]).squeeze(-1)


def _n_candidates(probabilities: Tensor, top_p: float) -> int:
    """Tokens that can be in a nucleus: all below (1 - top_p)/V together are less than what a nucleus leaves out.

    It spares most of a sort that would cost as much as the model.
    """
    possible = probabilities >= (1.0 - top_p) / probabilities.shape[-1]
    return max(1, int(possible.sum(dim=-1).max()))


def _search(cumulative: Tensor, points: Tensor) -> Tensor:
    """A point is at most 1 - 2**-53, so that its share of the total rounds to less than the total."""
    found = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True).squeeze(-1)
    return found.clamp(max=cumulative.shape[-1] - 1)  # NaN rows find no place; their logprob tells
