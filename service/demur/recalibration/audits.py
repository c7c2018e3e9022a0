"""What audits say: labelled answers for a fit, and counts for the test of a promise."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from demur.calibration.profile import ProfileKey
from demur.engine.calibrating import is_void
from demur.errors import NotCalibratable
from demur.evaluation.judged import Cost, JudgedAnswer
from demur.storage.base import MAX_PAGE, Store
from demur.storage.records import AnswerRecord, LabelledAnswer
from demur.types import Reason

MAX_AUDITS = 50_000  # the newest; no fit gains from more


@dataclass(frozen=True, slots=True)
class Audit:
    """An answer drawn at random before anything was known about it, with what auditors say."""

    record: AnswerRecord
    is_correct: bool


async def labelled_audits(store: Store, *, since: int = 0) -> list[Audit]:
    """Those created from that Unix time on, the newest first. Raises StoreUnavailable."""
    return [
        Audit(each.record, is_correct)
        async for each in _audits(store, since)
        if (is_correct := verdict(each)) is not None
    ]


def verdict(answer: LabelledAnswer) -> bool | None:
    """Whether all auditors find it correct; None where none has looked. Partly right is not right."""
    said = [each for each in answer.feedback if each.source == "audit"]
    return all(each.label == "correct" or each.score == 1.0 for each in said) if said else None


async def _audits(store: Store, since: int) -> AsyncIterator[LabelledAnswer]:
    after, n_seen = None, 0
    while n_seen < MAX_AUDITS:
        page = await store.list_audits(after=after, limit=MAX_PAGE)
        for each in page.items:
            if each.record.created < since:
                return
            yield each
        n_seen += len(page.items)
        if page.next is None:
            return
        after = page.next


@dataclass(frozen=True, slots=True)
class Sifted:
    """Audited answers from memory that were asked for in one way; `n_others` were asked for in other ways."""

    answers: Sequence[JudgedAnswer]
    n_others: int
    sha256: str


def sift(audits: Iterable[Audit], key_digest: str | None = None) -> Sifted:
    """Those with that profile key; without one, with the key that most have. Raises NotCalibratable.

    Answers with passages are left out: who looks things up does so where the first answer did not do, and audits of the
    two stages are not of the same questions, so that they bear no promise about both. Those of cascades count as asked
    for in another way: which of them have samples is no matter of chance.
    """
    from_memory = [a for a in audits if not a.record.n_passages and a.record.retrieval.attempt == 0]
    whole = [audit for audit in from_memory if audit.record.sampling.mode != "cascade"]
    by_key = Counter(audit.record.key for audit in whole if audit.record.key is not None)
    chosen = next((key for key, _ in by_key.most_common() if key_digest in (None, key.digest)), None)
    if chosen is None:
        raise NotCalibratable(
            "no answer with that profile key has a label of source `audit`; 100 are needed. DEMUR_AUDIT__RATE has "
            "answers drawn, GET /v1/audits hands them out, and POST /v1/feedback takes their labels"
        )
    mine = [audit for audit in whole if audit.record.key == chosen]
    said = "\n".join(f"{audit.record.id} {audit.is_correct}" for audit in mine)
    return Sifted(
        [_judged(audit, chosen) for audit in mine],
        len(from_memory) - len(mine),
        hashlib.sha256(said.encode()).hexdigest(),
    )


def _judged(audit: Audit, key: ProfileKey) -> JudgedAnswer:
    record = audit.record
    is_refusal = record.reason is Reason.NON_ANSWER
    return JudgedAnswer(
        id=record.id,
        stage="closed_book",
        answer=record.text.answer if record.text else "",
        grader="audit",
        is_correct=audit.is_correct and not is_refusal,
        is_refusal=is_refusal,
        is_voided=is_void(record.degraded, record.nli_model) or bool(record.sampling.passed_on),
        signals=record.signals,
        scores={} if record.uncertainty.agreement is None else {"agreement": record.uncertainty.agreement},
        cost=Cost(0, 0, 0.0),
        key=key,
        prompt_template=None,
    )
