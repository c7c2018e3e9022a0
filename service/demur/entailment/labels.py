"""Which output of an NLI model means what, read from the names of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demur.types import Verdict

_NOT_ENTAILMENT = {"not_entailment", "non_entailment"}


@dataclass(frozen=True, slots=True)
class LabelOrder:
    """Which output of the model means what; a two-way model has no `contradiction`."""

    entailment: int
    neutral: int
    contradiction: int | None

    @classmethod
    def from_config(cls, id2label: dict[int, str]) -> LabelOrder:
        """Reads the order by name, because checkpoints disagree on it and a wrong one inverts every verdict."""
        index = {name.strip().lower().replace("-", "_").replace(" ", "_"): int(i) for i, name in id2label.items()}
        if index.keys() == {"entailment", "neutral", "contradiction"}:
            return cls(index["entailment"], index["neutral"], index["contradiction"])
        rest = index.keys() - {"entailment"}
        if len(index) == 2 and "entailment" in index and rest <= _NOT_ENTAILMENT:
            return cls(index["entailment"], index[rest.pop()], None)
        raise ValueError(
            f"the NLI model's labels are {list(id2label.values())}, but they must name entailment, neutral and "
            "contradiction (or entailment and not_entailment); set id2label in its config.json as it was trained"
        )

    def verdict(self, probabilities: Sequence[float], *, is_truncated: bool) -> Verdict:
        return Verdict(
            entailment=probabilities[self.entailment],
            neutral=probabilities[self.neutral],
            contradiction=0.0 if self.contradiction is None else probabilities[self.contradiction],
            is_truncated=is_truncated,
        )
