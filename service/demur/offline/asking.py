"""How questions are asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are asked, or were where they are replayed. `model` names the one that was recorded."""

    model: str | None
    n: int
    temperature: float
    max_tokens: int
    seed: int
    both_stages: bool
    asks_confidence: bool = False
