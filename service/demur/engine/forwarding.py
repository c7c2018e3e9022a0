"""What cannot be scored is handed on to the language model's server as it is, and counted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio

from demur.engine.answering import Charge
from demur.engine.engine import Engine
from demur.errors import DeadlineExceeded, UnsupportedByBackend
from demur.observability.metrics import Metrics
from demur.samplers.base import Forwarder


@dataclass(frozen=True, slots=True)
class Unscored:
    """A request in its caller's own words. `reason` is one of few; `n` completions are asked for."""

    body: Mapping[str, Any]
    reason: str
    n: int
    tenant: str
    cache_scope: str | None
    timeout_seconds: float


class Forwarding:
    """Hands requests on. Each holds a place like an answer at work; each completion is charged as a sample."""

    def __init__(self, engine: Engine, metrics: Metrics, charge: Charge | None = None) -> None:
        self._engine = engine
        self._metrics = metrics
        self._charge = charge

    @property
    def is_possible(self) -> bool:
        return self._engine.forwarder is not None

    async def complete(self, wanted: Unscored) -> dict[str, Any]:
        """The completion. Raises: as `Forwarder.forward`; RateLimited, Overloaded, Draining, DeadlineExceeded."""
        forwarder = await self._begin(wanted)
        try:
            with anyio.fail_after(wanted.timeout_seconds):
                async with self._engine.place(wanted.timeout_seconds, wanted.tenant):
                    completion = await forwarder.forward(wanted.body, wanted.cache_scope)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the answer was not there within {wanted.timeout_seconds:g} s") from error
        self._count_tokens(completion)
        return completion

    async def stream(self, wanted: Unscored) -> AsyncGenerator[dict[str, Any], None]:
        """Its chunks, for as long as the server goes on. Raises as `complete`, but for the deadline."""
        forwarder = await self._begin(wanted)
        async with (
            self._engine.place(wanted.timeout_seconds, wanted.tenant),
            aclosing(forwarder.forward_stream(wanted.body, wanted.cache_scope)) as chunks,
        ):
            async for chunk in chunks:
                self._count_tokens(chunk)
                yield chunk

    async def _begin(self, wanted: Unscored) -> Forwarder:
        forwarder = self._engine.forwarder
        if forwarder is None:
            raise UnsupportedByBackend("there is no server behind this service to hand the request on to")
        if self._charge is not None:
            await self._charge(wanted.tenant, wanted.n, "/n")
        self._metrics.unscored.labels(wanted.reason).inc()
        return forwarder

    def _count_tokens(self, told: Mapping[str, Any]) -> None:
        usage = told.get("usage")
        for kind in ("prompt", "completion"):
            n_tokens = usage.get(f"{kind}_tokens") if isinstance(usage, dict) else None
            if isinstance(n_tokens, int) and n_tokens > 0:
                self._metrics.tokens.labels(self._engine.model, kind).inc(n_tokens)
