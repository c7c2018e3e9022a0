"""How far confidence keeps its word, by the labels that come in: what the calibration dashboard shows."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from demur.errors import StoreFull, StoreUnavailable
from demur.evaluation.calibration_error import bin_places, brier_score, expected_calibration_error
from demur.evaluation.discrimination import auroc
from demur.observability.logging import logger
from demur.observability.metrics import N_BINS, Metrics
from demur.storage.base import MAX_PAGE, Store
from demur.storage.records import AnswerRecord, Feedback, FeedbackLabel

MAX_AUDITS = 1000


@dataclass(frozen=True, slots=True)
class _Audited:
    """`calibration`: id of the one behind `confidence`."""

    calibration: str
    confidence: float
    is_correct: bool


def word_of(feedback: Feedback) -> FeedbackLabel:
    """A label as it is; a score of 1 is correct, of 0 incorrect, and partial between them."""
    if feedback.label is not None:
        return feedback.label
    if feedback.score == 1.0:
        return "correct"
    return "partial" if feedback.score else "incorrect"


def bin_of(confidence: float) -> str:
    """Upper edge of the bin, (lower, upper]; 0 belongs to the first."""
    place = int(bin_places(np.array([confidence]), N_BINS)[0])
    return f"{(place + 1) / N_BINS:.1f}"


class Reliability:
    """Counts all feedback by confidence, and shows the errors of the last `MAX_AUDITS` audits of answers that were
    given under calibrations still in force.

    Audits alone, because they are drawn at random: what people choose to label is no picture of what was answered.
    What is right in part is not right, there as in a fit. A later word on an answer takes the place of an earlier one.
    """

    def __init__(self, metrics: Metrics, in_force: Callable[[], Collection[str]]) -> None:
        """`in_force`: ids of the calibrations that speak now."""
        self._metrics = metrics
        self._in_force = in_force
        self._audits: defaultdict[str, OrderedDict[str, _Audited]] = defaultdict(OrderedDict)

    def hear(self, record: AnswerRecord, feedback: Feedback) -> None:
        """Feedback that was kept, on that answer."""
        model, source, word = record.model, feedback.source, word_of(feedback)
        self._metrics.feedback.labels(model, record.decision.value, feedback.label or "score", source).inc()
        calibrated = str(record.is_calibrated).lower()
        self._metrics.confidence_bins.labels(model, bin_of(record.confidence), word, source, calibrated).inc()
        if self._remember(record, feedback):
            self._show(model)

    async def recall(self, store: Store) -> None:
        """The audits that the store has from before this process; without the store there are none."""
        try:
            await self._read(store)
        except (StoreUnavailable, StoreFull) as error:
            logger.warning("earlier audits are not shown", reason=str(error))
        for model in self._audits:
            self._show(model)

    async def _read(self, store: Store) -> None:
        """Newest first, so that the oldest come to stand at the front."""
        found: list[tuple[AnswerRecord, Feedback]] = []
        after: str | None = None
        while len(found) < MAX_AUDITS:
            page = await store.list_audits(after=after, limit=MAX_PAGE)
            found += [(each.record, word) for each in page.items for word in each.feedback]
            after = page.next
            if after is None:
                break
        for record, feedback in reversed(found):
            self._remember(record, feedback)

    def _remember(self, record: AnswerRecord, feedback: Feedback) -> bool:
        """Whether it counts among the audits."""
        audits, word = self._audits[record.model], word_of(feedback)
        if feedback.source != "audit" or record.calibration_id is None:
            return False
        audits.pop(record.id, None)
        audits[record.id] = _Audited(record.calibration_id, record.confidence, word == "correct")
        if len(audits) > MAX_AUDITS:
            audits.popitem(last=False)
        return True

    def _show(self, model: str) -> None:
        in_force = self._in_force()
        audits = [audited for audited in self._audits[model].values() if audited.calibration in in_force]
        self._metrics.calibration_labels.labels(model).set(len(audits))
        if not audits:
            return
        confidence, is_correct = [a.confidence for a in audits], [a.is_correct for a in audits]
        error = expected_calibration_error(confidence, is_correct, n_bins=N_BINS)
        self._metrics.calibration_ece.labels(model).set(error)
        self._metrics.calibration_brier.labels(model).set(brier_score(confidence, is_correct))
        discrimination = auroc(confidence, is_correct)
        if discrimination is not None:
            self._metrics.calibration_auroc.labels(model).set(discrimination)
