"""A record of every answer, where the store can keep it."""

from __future__ import annotations

import random
from collections.abc import Mapping

from demur.calibration.profile import ProfileKey
from demur.errors import DemurError, StoreFull, StoreUnavailable
from demur.observability.logging import logger
from demur.observability.metrics import Metrics
from demur.storage.base import Store
from demur.storage.records import AnswerRecord
from demur.types import Answer


class StoreJournal:
    """Records answers in a store; one that cannot be recorded is given all the same."""

    def __init__(
        self, store: Store, metrics: Metrics, *, profile: Mapping[str, str], audit_rate: float, keep_text: bool
    ) -> None:
        """`profile` is what all answers of this service have in common; `audit_rate` in [0, 1]."""
        self._store = store
        self._metrics = metrics
        self._profile = profile
        self._audit_rate = audit_rate
        self._keep_text = keep_text
        self._random = random.SystemRandom()
        self._is_failing = False

    def draws_audit(self) -> bool:
        """Toss for one request, before anything is known about its answer."""
        return self._random.random() < self._audit_rate

    async def record(self, answer: Answer, key: ProfileKey, *, is_audit: bool) -> bool:
        """Whether the record is durable. Waits for the store as long as it allows, and not at all while it is away."""
        record = AnswerRecord.of(answer, self._profile, key, is_audit=is_audit, keep_text=self._keep_text)
        try:
            await self._store.add_answer(record)
        except (StoreUnavailable, StoreFull) as error:
            self._note(error)
            return False
        self._note(None)
        return True

    def _note(self, error: DemurError | None) -> None:
        """One line in the log when the store fails and one when it is back, however many answers come in between."""
        self._metrics.store_writes.labels("answer", error.code if error else "ok").inc()
        if error is not None and not self._is_failing:
            logger.warning("answers are not stored", reason=str(error))
        if error is None and self._is_failing:
            logger.info("answers are stored again")
        self._is_failing = error is not None
