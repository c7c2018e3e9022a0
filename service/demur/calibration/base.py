"""The seam between signals and P(correct). `tests/conformance/test_calibrators.py` checks every sentence below."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from demur.types import SignalName

Method = Literal["platt", "isotonic", "fused"]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Nothing learnt from labels is certain, and a probability of 0 or 1 would cost an infinite loss when it is wrong.
P_MIN, P_MAX = 1e-6, 1 - 1e-6


class Calibrator(Protocol):
    """A map from signals to the probability that the answer is correct, fitted on labelled answers."""

    @property
    def method(self) -> Method:
        """How it was fitted."""

    @property
    def signals(self) -> tuple[SignalName, ...]:
        """Names of the signals it reads, in the order of the columns."""

    def p_correct(self, values: FloatArray) -> FloatArray:
        """P(correct) of each row, strictly between 0 and 1; `values[i, j]` is signal j of answer i, finite.

        More agreement never lowers it, if agreement is all it reads. A row's probability does not depend on the others.
        """


def logit(shares: FloatArray) -> FloatArray:
    """ln(p / (1 - p)), with p kept a little off 0 and 1."""
    inside = np.clip(shares, P_MIN, P_MAX)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def expit(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-z)), kept a little off 0 and 1."""
    half = 0.5 * (1.0 + np.tanh(0.5 * logits))  # tanh does not overflow
    return np.asarray(np.clip(half, P_MIN, P_MAX))


def one_column(values: FloatArray) -> FloatArray:
    """The only signal of each row."""
    if values.ndim != 2 or values.shape[1] != 1:
        raise ValueError(f"a map of one signal reads one column, got an array of shape {values.shape}")
    return values[:, 0]
