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

    async def get(self, *names: str) -> list[bytes | None]:
        found = map(self._values.get, names)
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

    async def aclose(self) -> None:
        self._values.clear()


def _expiry(_name: str, kept: _Kept, _now: float) -> float:
    return kept.expires_at


def _size(kept: _Kept) -> int:
    """The value, and what Python needs around it: a name, two entries, an object."""
    return len(kept.value) + 400
