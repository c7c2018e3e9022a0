"""How many forward passes our NLI models make."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from demur.entailment.cross_encoder import CrossEncoderModel, EncodedPair


class Passes:
    """Forward passes of all our models, and the rows in them."""

    n = rows = 0

    @classmethod
    def count(cls) -> None:
        prepare = CrossEncoderModel._features

        def counted(self: CrossEncoderModel, batch: Sequence[EncodedPair]) -> dict[str, torch.Tensor]:
            features = prepare(self, batch)
            cls.n += 1
            cls.rows += len(features["input_ids"])
            return features

        CrossEncoderModel._features = counted  # type: ignore[method-assign]
