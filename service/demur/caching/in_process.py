"""A tier in this process, bounded by entries and by bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from cachetools import TLRUCache

from demur.caching.tier import TierName


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    expires_at: float


class InProcessTier:
    """Forgets what has expired, then what was used least recently. `timer` counts seconds."""

    name: TierName = "local"

    def __init__(self, *, max_entries: int, max_bytes: int, timer: Callable[[], float] = monotonic) -> None:
        self._timer = timer
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._values: TLRUCache[str, _Kept] = TLRUCache(max_bytes, _expiry, timer, getsizeof=_size)
        self._leases: TLRUCache[str, _Kept] = TLRUCache(max_entries, _expiry, timer)

    async def get(self, *names: str) -> list[bytes | None]:
        found = [self._values.get(name) or self._leases.get(name) for name in names]
        return [kept.value if kept else None for kept in found]

    async def put(self, values: Mapping[str, bytes], ttl_seconds: float) -> None:
        for name, value in values.items():
            self._values.pop(name, None)
            kept = _Kept(value, self._timer() + ttl_seconds)
            if _size(kept) <= self._max_bytes:
                self._values[name] = kept
        while len(self._values) > self._max_entries:
            self._values.popitem()

    async def forget(self, *names: str) -> None:
        for name in names:
            self._values.pop(name, None)

    async def acquire(self, name: str, token: bytes, ttl_seconds: float) -> InProcessLease | None:
        if name in self._leases:
            return None
        lease = InProcessLease(self, name, token, ttl_seconds)
        self._lease(lease)
        return lease

    async def aclose(self) -> None:
        self._values.clear()
        self._leases.clear()

    def _lease(self, lease: InProcessLease) -> None:
        self._leases[lease.name] = _Kept(lease.token, self._timer() + lease.ttl_seconds)

    def _is_held(self, lease: InProcessLease) -> bool:
        kept = self._leases.get(lease.name)
        return kept is not None and kept.value == lease.token


@dataclass(frozen=True, slots=True)
class InProcessLease:
    tier: InProcessTier
    name: str
    token: bytes
    ttl_seconds: float

    async def renew(self) -> bool:
        is_held = self.tier._is_held(self)
        if is_held:
            self.tier._lease(self)
        return is_held

    async def release(self) -> None:
        if self.tier._is_held(self):
            del self.tier._leases[self.name]


def _expiry(_name: str, kept: _Kept, _now: float) -> float:
    return kept.expires_at


def _size(kept: _Kept) -> int:
    """The value, and what Python needs around it: a name, two entries, an object."""
    return len(kept.value) + 400
