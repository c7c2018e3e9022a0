"""Verdicts of the NLI model, shared by all replicas: numbers under digests, never a text."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping

from anyio.abc import TaskGroup

from demur.caching.names import Names
from demur.caching.tier import Tier, TierUnavailable
from demur.observability.metrics import Metrics
from demur.types import Verdict

PairKey = tuple[bytes, bytes]

_FORMAT = struct.Struct("<c3d?")
_VERSION = b"1"
_MAX_WRITES = 64


class SharedPairs:
    """Behind the memory of the process. Reads take no longer than the tier allows; nobody waits for a write.

    `model` stands for the NLI model and its settings. Tenants never share.
    """

    def __init__(
        self, tier: Tier, names: Names, metrics: Metrics, tasks: TaskGroup, *, model: str, ttl_seconds: float
    ) -> None:
        self._tier = tier
        self._names = names
        self._metrics = metrics
        self._tasks = tasks
        self._model = model
        self._ttl_seconds = ttl_seconds
        self._n_writes = 0

    async def find(self, tenant: str, keys: Collection[PairKey]) -> dict[PairKey, Verdict]:
        """Those that are known; none where the tier is away."""
        try:
            values = await self._tier.get(*(self._name(tenant, key) for key in keys))
        except TierUnavailable:
            self._count("error", len(keys))
            return {}
        read = {key: _verdict(value) for key, value in zip(keys, values, strict=True) if value is not None}
        found = {key: verdict for key, verdict in read.items() if verdict is not None}
        self._count("hit", len(found))
        self._count("error", len(read) - len(found))
        self._count("miss", len(keys) - len(read))
        return found

    def keep(self, tenant: str, verdicts: Mapping[PairKey, Verdict]) -> None:
        """Put them away in the background; more than a few writes at once are dropped."""
        if verdicts and self._n_writes < _MAX_WRITES:
            self._n_writes += 1
            self._tasks.start_soon(self._write, tenant, dict(verdicts))

    async def _write(self, tenant: str, verdicts: Mapping[PairKey, Verdict]) -> None:
        values = {self._name(tenant, key): _bytes(verdict) for key, verdict in verdicts.items()}
        try:
            await self._tier.put(values, self._ttl_seconds)
        except TierUnavailable:
            self._count("error", len(verdicts))
        finally:
            self._n_writes -= 1

    def _name(self, tenant: str, key: PairKey) -> str:
        return self._names.pairs(tenant, self._model) + (key[0] + key[1]).hex()

    def _count(self, result: str, n: int) -> None:
        self._metrics.nli_shared_pairs.labels(result).inc(n)


def _bytes(verdict: Verdict) -> bytes:
    return _FORMAT.pack(_VERSION, verdict.entailment, verdict.neutral, verdict.contradiction, verdict.is_truncated)


def _verdict(value: bytes) -> Verdict | None:
    """None for what is no verdict."""
    if len(value) != _FORMAT.size or value[:1] != _VERSION:
        return None
    verdict = Verdict(*_FORMAT.unpack(value)[1:])
    shares = (verdict.entailment, verdict.neutral, verdict.contradiction)
    is_distribution = all(0.0 <= share <= 1.0 for share in shares) and math.isclose(sum(shares), 1.0, abs_tol=1e-3)
    return verdict if is_distribution else None
