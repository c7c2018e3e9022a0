"""The seam that answers "does A entail B?". `tests/conformance/test_entailment.py` checks every sentence below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from demur.types import Pair, Verdict


class EntailmentModel(Protocol):
    """Labels pairs of statements as entailment, neutral or contradiction."""

    @property
    def model(self) -> str:
        """Name of the model, as shown to the caller."""

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """One verdict per pair, in order; [] for no pairs.

        Where texts are too long, the question is cut before the answer is (`Verdict.is_truncated` says so). A verdict
        depends on its pair alone, not on its neighbours in the batch (up to rounding). The event loop is never blocked.

        Raises: EntailmentUnavailable.
        """

    async def aclose(self) -> None:
        """Fail what is waiting and free the model; a second call does nothing."""


@runtime_checkable
class CanHang(Protocol):
    """What a model in this process tells beside: a thread that hangs in it cannot be ended from outside."""

    @property
    def is_stuck(self) -> bool:
        """Whether it hangs now, and every call fails at once."""
