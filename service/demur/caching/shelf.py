"""Where answers are put and found again, whatever the tier."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from anyio import to_thread

from demur.caching.codec import Garbled, Kept, Stale, decode, encode
from demur.caching.names import Names
from demur.caching.tier import Tier, TierUnavailable
from demur.errors import StoreUnavailable
from demur.observability.logging import logger
from demur.observability.metrics import Metrics
from demur.types import Answer, Question

# Larger ones are read and written off the event loop, which they would hold up for milliseconds. A thread costs the
# others more than they take: it has to wait for a core that the models use.
_QUICK_BYTES = 16 * 1024
_QUICK_TOKENS = 1024


class Shelf:
    """Answers in a tier, under the digest of their question. What cannot be read counts as not there."""

    def __init__(self, tier: Tier, names: Names, metrics: Metrics) -> None:
        self._tier = tier
        self._names = names
        self._metrics = metrics

    async def find(self, question: str) -> Kept | None:
        """What is remembered for the question; counted. Raises TierUnavailable."""
        try:
            [data] = await self._tier.get(self._names.result(question))
        except TierUnavailable:
            self.count("error")
            raise
        kept = await self.read(data) if data else None
        if kept:
            self.count("hit")
        elif not data:
            self.count("miss")
        return kept

    async def read(self, data: bytes) -> Kept | None:
        """The answer in `data`; None, and counted, where there is none in it."""
        try:
            return await to_thread.run_sync(decode, data) if len(data) > _QUICK_BYTES else decode(data)
        except Stale:
            self.count("stale")
        except Garbled:
            self.count("error")
            logger.warning("cache_garbled", tier=self._tier.name)
        return None

    async def write(self, answer: Answer, ttl_seconds: float) -> bytes | None:
        """The answer without its question, which is known to whoever finds it; None where it cannot be written."""
        kept = Kept(_unasked(answer), datetime.now(UTC).timestamp(), ttl_seconds)
        try:
            return encode(kept) if _is_quick(answer) else await to_thread.run_sync(encode, kept)
        except ValueError as error:
            self.count("error")
            logger.warning("cache_unwritable", reason=type(error).__name__)
            return None

    async def put(self, question: str, answer: Answer, tenant: str, ttl_seconds: float) -> bool:
        """Whether the answer is remembered now. Raises TierUnavailable."""
        data = await self.write(answer, ttl_seconds)
        if data is None:
            return False
        led_to = self._names.question_of(answer.id, tenant)
        await self._tier.put({self._names.result(question): data, led_to: question.encode()}, ttl_seconds)
        return True

    async def forget(self, answer_id: str, tenant: str) -> bool:
        """Whether the answer was remembered. Raises StoreUnavailable: then it may still be."""
        led_to = self._names.question_of(answer_id, tenant)
        try:
            [found] = await self._tier.get(led_to)
            if not found:
                return False
            question = found.decode("ascii", "replace")
            await self._tier.forget(self._names.result(question), self._names.done(question), led_to)
        except TierUnavailable as error:
            raise StoreUnavailable("the answer may be remembered still: the cache is away; try again") from error
        return True

    def count(self, result: str) -> None:
        self._metrics.cache_requests.labels(self._tier.name, result).inc()


def _is_quick(answer: Answer) -> bool:
    return sum(len(sample.tokens or sample.text) for sample in answer.samples) <= _QUICK_TOKENS


def _unasked(answer: Answer) -> Answer:
    return replace(answer, question=Question(messages=()))
