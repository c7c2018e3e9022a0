"""What feedback leaves in the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from demur.engine import reliability
from demur.engine.reliability import Reliability, bin_of, word_of
from demur.errors import StoreUnavailable
from demur.observability.metrics import Metrics
from demur.storage.base import Page
from demur.storage.records import AnswerRecord, Feedback, LabelledAnswer
from tests.records import feedback, record

AUDITED = [(0.95, "correct"), (0.95, "incorrect"), (0.25, "incorrect"), (0.25, "correct")]


def answered(answer_id: str, confidence: float, *, is_calibrated: bool = True) -> AnswerRecord:
    calibration = "cal" if is_calibrated else None
    changes = {"is_calibrated": is_calibrated, "calibration_id": calibration, "is_audit": True}
    return record(id=answer_id, confidence=confidence, **changes)


def said(answer_id: str, label: str | None, source: str = "audit", **changes: Any) -> Feedback:
    return feedback(answer_id, label=label, source=source, **changes)


def shown(metrics: Metrics, figure: str) -> float | None:
    return metrics.registry.get_sample_value(f"demur_calibration_{figure}", {"model": "m"})


def in_bin(metrics: Metrics, bin_: str, label: str, source: str = "audit", calibrated: str = "true") -> float | None:
    labels = {"model": "m", "bin": bin_, "label": label, "source": source, "calibrated": calibrated}
    return metrics.registry.get_sample_value("demur_confidence_bin_total", labels)


@pytest.mark.parametrize(
    ("confidence", "edge"), [(0.0, "0.1"), (0.1, "0.1"), (0.1001, "0.2"), (0.3, "0.3"), (0.7, "0.7"), (1.0, "1.0")]
)
def test_a_bin_is_open_below_and_closed_above(confidence: float, edge: str) -> None:
    """As in `expected_calibration_error`, so that the diagram and the figure tell the same."""
    assert bin_of(confidence) == edge


@pytest.mark.parametrize(
    ("score", "word"), [(0.0, "incorrect"), (0.01, "partial"), (0.99, "partial"), (1.0, "correct")]
)
def test_a_score_is_read_as_a_word(score: float, word: str) -> None:
    assert word_of(said("a", None, score=score)) == word


def test_audits_of_calibrated_answers_make_the_figures() -> None:
    """Two at .95 and two at .25, one right of each: ECE = (|1.9 - 1| + |.5 - 1|) / 4 = .35, Brier = .4825, AUROC .5."""
    metrics = Metrics()
    heard = Reliability(metrics, lambda: {"cal"})
    for index, (confidence, label) in enumerate(AUDITED):
        heard.hear(answered(f"a{index}", confidence), said(f"a{index}", label))
    assert shown(metrics, "labels") == 4
    assert shown(metrics, "ece_ratio") == pytest.approx(0.35)
    assert shown(metrics, "brier_ratio") == pytest.approx((0.05**2 + 0.95**2 + 0.25**2 + 0.75**2) / 4)
    assert shown(metrics, "auroc_ratio") == pytest.approx(0.5)
    assert in_bin(metrics, "1.0", "correct") == in_bin(metrics, "1.0", "incorrect") == 1


def test_other_feedback_is_counted_and_makes_no_figures() -> None:
    """Of people who chose what to label, and of answers that promised no probability."""
    metrics = Metrics()
    heard = Reliability(metrics, lambda: {"cal"})
    heard.hear(answered("a", 0.6), said("a", "correct", "human"))
    heard.hear(answered("b", 0.6, is_calibrated=False), said("b", "correct"))
    assert shown(metrics, "labels") is None
    assert in_bin(metrics, "0.6", "correct", "human") == in_bin(metrics, "0.6", "correct", calibrated="false") == 1


def test_right_in_part_is_not_right() -> None:
    """As in a fit, so that both speak of the same accuracy: (0.6 - 0)^2."""
    metrics = Metrics()
    Reliability(metrics, lambda: {"cal"}).hear(answered("a", 0.6), said("a", "partial"))
    assert shown(metrics, "brier_ratio") == pytest.approx(0.36)
    assert in_bin(metrics, "0.6", "partial") == 1


def test_a_later_word_takes_the_place_of_an_earlier_one() -> None:
    metrics = Metrics()
    heard = Reliability(metrics, lambda: {"cal"})
    heard.hear(answered("a", 0.9), said("a", "correct"))
    heard.hear(answered("a", 0.9), said("a", "incorrect"))
    assert (shown(metrics, "labels"), shown(metrics, "brier_ratio")) == (1, pytest.approx(0.81))
    assert shown(metrics, "auroc_ratio") is None, "one kind of label tells nothing apart"


def test_a_calibration_that_was_replaced_is_forgiven() -> None:
    """Its errors are not those of the one that speaks now; and come back with it, where that one is given up again."""
    metrics, in_force = Metrics(), {"cal"}
    heard = Reliability(metrics, lambda: in_force)
    heard.hear(answered("a", 0.9), said("a", "incorrect"))
    in_force.clear()
    in_force.add("new")
    heard.hear(replace(answered("b", 0.9), calibration_id="new"), said("b", "correct"))
    assert (shown(metrics, "labels"), shown(metrics, "brier_ratio")) == (1, pytest.approx(0.01))
    in_force.add("cal")
    heard.hear(answered("c", 0.9), said("c", "correct"))
    assert shown(metrics, "labels") == 3


def test_the_oldest_audits_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and the figures follow what the service does now."""
    monkeypatch.setattr(reliability, "MAX_AUDITS", 2)
    metrics = Metrics()
    heard = Reliability(metrics, lambda: {"cal"})
    for answer_id, label in (("a", "incorrect"), ("b", "correct"), ("c", "correct")):
        heard.hear(answered(answer_id, 1.0), said(answer_id, label))
    assert (shown(metrics, "labels"), shown(metrics, "brier_ratio")) == (2, 0)


class Kept:
    """A store's audits, newest first, in pages of two; or none at all."""

    def __init__(self, audits: list[LabelledAnswer], *, is_away: bool = False) -> None:
        self._audits, self._is_away = audits, is_away

    async def list_audits(self, *, after: str | None = None, limit: int = 100) -> Page[LabelledAnswer]:
        if self._is_away:
            raise StoreUnavailable("it is away")
        start = int(after or 0)
        end = start + 2
        return Page(tuple(self._audits[start:end]), str(end) if end < len(self._audits) else None)


def test_what_was_labelled_before_is_recalled() -> None:
    """A restart loses no figure, and counts nothing twice."""
    metrics = Metrics()
    audits = [LabelledAnswer(answered(f"a{i}", c), (said(f"a{i}", label),)) for i, (c, label) in enumerate(AUDITED)]
    anyio.run(Reliability(metrics, lambda: {"cal"}).recall, Kept(audits))
    assert (shown(metrics, "labels"), shown(metrics, "ece_ratio")) == (4, pytest.approx(0.35))
    assert in_bin(metrics, "1.0", "correct") is None


def test_without_its_store_the_service_starts_all_the_same() -> None:
    metrics = Metrics()
    anyio.run(Reliability(metrics, lambda: {"cal"}).recall, Kept([], is_away=True))
    assert shown(metrics, "labels") is None
