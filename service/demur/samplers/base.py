"""The seam where answers come from. `tests/conformance/test_sampler.py` checks every sentence below."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from demur.types import Message, Sample, Sampling

OnText = Callable[[str], None]
"""Hears all of a text that has been written so far, again and again; must not block."""


class Sampler(Protocol):
    """Draws answers from a language model."""

    @property
    def model(self) -> str:
        """Name of the model, as shown to the caller."""

    def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: OnText | None = None
    ) -> AsyncGenerator[Sample, None]:
        """Yield the greedy answer (`is_greedy`) and `sampling.n` independent ones, each when it is finished; without
        the greedy one where not `sampling.with_greedy`, and no other where `n` is 0.

        Indices of the samples are 0 ... n-1, of the greedy answer 0; the order of arrival is free. A draw that
        fails is dropped; `BackendError` is raised only when none succeeded. The same seed gives the same answers.
        Closing or cancelling the iterator stops the work behind it. The event loop is never blocked.

        `on_text` hears the greedy answer while it is written, on the event loop: each time all of its text that will
        stay, less thinking and blanks around it. A sampler that hears of answers once they are finished never calls it.

        Raises: ContextLengthExceeded, ValidationFailed (messages that the chat template refuses), UnsupportedByBackend,
        BackendUnavailable, BackendError.
        """

    async def aclose(self) -> None:
        """Stop all work and free the model; a second call does nothing."""


@runtime_checkable
class Forwarder(Protocol):
    """A sampler before a server of chat completions, to which a request can be handed on as it is.

    The model's name is put in, and the prefix cache of `cache_scope`; all else is the server's to judge.
    """

    async def forward(self, body: Mapping[str, Any], cache_scope: str | None) -> dict[str, Any]:
        """The completion.

        Raises: RefusedByBackend, UnsupportedByBackend (no chat completions there), BackendUnavailable, BackendError.
        """

    def forward_stream(self, body: Mapping[str, Any], cache_scope: str | None) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks as they come; one that breaks off raises. Closing the iterator stops the work behind it.

        Raises as `forward`.
        """
