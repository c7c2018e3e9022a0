"""The seam where answers come from. `tests/conformance/test_sampler.py` checks every sentence below."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from demur.types import Message, Sample, Sampling


class Sampler(Protocol):
    """Draws answers from a language model."""

    @property
    def model(self) -> str:
        """Name of the model, as shown to the caller."""

    def sample(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Sample, None]:
        """Yield the greedy answer (`is_greedy`) and `sampling.n` independent ones, each when it is finished.

        Indices of the samples are 0 ... n-1, of the greedy answer 0; the order of arrival is free. A draw that
        fails is dropped; `BackendError` is raised only when none succeeded. The same seed gives the same answers.
        Closing or cancelling the iterator stops the work behind it. The event loop is never blocked.

        Raises: ContextLengthExceeded, ValidationFailed (messages that the chat template refuses), UnsupportedByBackend,
        BackendUnavailable, BackendError.
        """

    async def aclose(self) -> None:
        """Stop all work and free the model; a second call does nothing."""
