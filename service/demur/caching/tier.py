"""The seam to a place where things are remembered. `tests/conformance/test_tier.py` checks every sentence below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

TierName = Literal["local", "shared"]


class TierUnavailable(Exception):
    """It cannot be reached, or refuses: do without it. Never shown to a caller."""


class Lease(Protocol):
    """The right to do a piece of work, until it expires."""

    async def renew(self) -> bool:
        """Start its time anew; False where it has expired, and may be another's by now. Raises TierUnavailable."""

    async def release(self) -> None:
        """Let the next one have it; nothing happens where it is another's by now. Raises TierUnavailable."""


class Tier(Protocol):
    """Remembers bytes under names for a time. It may forget any of them earlier, to stay within its bounds."""

    @property
    def name(self) -> TierName:
        """`local`: this process; `shared`: all replicas. A label in metrics."""

    async def get(self, *names: str) -> list[bytes | None]:
        """One value per name, in order; None for what is not there, or has expired. Raises TierUnavailable."""

    async def put(self, values: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Remember each value, in place of an earlier one. Raises TierUnavailable."""

    async def forget(self, *names: str) -> None:
        """Names that are not there are no error. Raises TierUnavailable."""

    async def aclose(self) -> None:
        """Free what it holds; a second call does nothing."""


class SharedTier(Tier, Protocol):
    """One that all replicas have, and can agree through."""

    async def acquire(self, name: str, token: bytes, ttl_seconds: float) -> Lease | None:
        """A lease that nobody else gets before it is released or expires; None where another has it.

        `get` shows the holder's token under the name. Raises TierUnavailable.
        """
