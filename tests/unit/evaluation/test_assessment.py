"""The figures of a report, and the report itself."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from demur.errors import DatasetUnreadable
from demur.evaluation.assessment import assess
from demur.evaluation.discrimination import auroc
from demur.evaluation.judged import read_judged, write_judged
from demur.evaluation.report import Origin, as_html, as_json, as_markdown
from tests.unit.evaluation.judged_answers import refused, simulated

ORIGIN = Origin("facts <1>", "0" * 64, "scripted", None, "exact", 2, "0.1.0")
VOID_TAGS = {"meta", "line", "rect", "circle", "polyline"}


class _Balanced(HTMLParser):
    """Every tag that is opened is closed, in order; nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links.extend(value or "" for name, value in attrs if name in {"src", "href"})
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag


def test_figures_are_of_the_half_that_was_not_fitted_on() -> None:
    """600 questions, 300 tested; the calibrated probability is better than agreement as it stands."""
    found = assess(simulated(600), "closed_book")
    assert (found.n_questions, found.n_tested, found.map_kept) == (600, 300, "platt")
    by_name = {p.name: p for p in found.probabilities}
    assert set(by_name) == {"calibrated", "agreement", "majority_share"}
    assert by_name["calibrated"].brier is not None
    assert by_name["agreement"].brier is not None
    assert by_name["calibrated"].brier.value < by_name["agreement"].brier.value
    assert sum(b.n for b in by_name["calibrated"].bins) == 300


def test_scores_are_those_of_the_metrics() -> None:
    """Agreement's AUROC on all answers, where too few are there to fit on; constant length is worth one half."""
    answers = simulated(90)
    found = assess(answers, "closed_book")
    scores = {score.name: score for score in found.scores}
    assert "90" not in (found.map_kept or "")
    assert found.why_uncalibrated is not None
    assert "are needed" in found.why_uncalibrated
    expected = auroc([a.scores["agreement"] for a in answers], [a.is_correct for a in answers])
    assert scores["agreement"].auroc is not None
    assert scores["agreement"].auroc.value == expected
    assert scores["answer_length"].auroc is not None
    assert scores["answer_length"].auroc.value == 0.5
    assert found.certified == ()


def test_the_joint_promise_answers_more_than_the_conditional_one() -> None:
    """Errors are counted against all questions, not only against those answered."""
    by_risk = {figures.risk: figures for figures in assess(simulated(600), "closed_book").certified}
    for figures in by_risk.values():
        assert figures.joint_coverage is not None
        assert figures.joint_coverage >= (figures.coverage or 0.0)
    assert (by_risk[0.05].joint_coverage or 0.0) > (by_risk[0.05].coverage or 0.0)


def test_refusals_take_no_part_but_in_coverage() -> None:
    """Half refused: half of the questions can be answered at most."""
    answers = [refused(a) if i % 2 else a for i, a in enumerate(simulated(1200))]
    found = assess(answers, "closed_book")
    assert found.refusal_rate == pytest.approx(0.5, abs=0.05)
    assert found.scores[0].n == found.n_tested - round(found.refusal_rate * found.n_tested)
    assert max(r.coverage or 0 for r in found.certified) <= 0.55


def test_nothing_to_judge_is_said() -> None:
    """All degraded, or none asked at that stage."""
    with pytest.raises(DatasetUnreadable, match="none of 5 questions"):
        assess([replace(a, is_voided=True) for a in simulated(5)], "closed_book")
    with pytest.raises(DatasetUnreadable, match="none of 0 questions"):
        assess(simulated(5), "with_context")


def test_judged_answers_come_back_as_they_were_saved(tmp_path: Path) -> None:
    """And a file that is none is refused, by line."""
    answers = [*simulated(3), *simulated(2, stage="with_context")]
    write_judged(answers, tmp_path / "judged.jsonl")
    assert read_judged(tmp_path / "judged.jsonl") == answers
    with (tmp_path / "judged.jsonl").open("a") as lines:
        lines.write('{"id": 1}\n')
    with pytest.raises(DatasetUnreadable, match="line 6"):
        read_judged(tmp_path / "judged.jsonl")
    with pytest.raises(DatasetUnreadable, match="cannot read"):
        read_judged(tmp_path / "none.jsonl")


def test_the_page_needs_nothing_else_and_is_well_formed() -> None:
    """No script, no link, every tag closed, names escaped, and the three plots of each stage."""
    assessments = [assess(simulated(300), "closed_book"), assess(simulated(300, stage="with_context"), "with_context")]
    page = as_html(ORIGIN, assessments)
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.links == []
    assert "<script" not in page
    assert "http" not in page
    assert "facts &lt;1&gt;" in page
    assert page.count("<svg") == 6


def test_json_and_markdown_hold_the_same_figures() -> None:
    """To the third digit; no NaN and no infinity."""
    assessment = assess(simulated(300), "closed_book")
    body = json.loads(json.dumps(as_json(ORIGIN, [assessment]), allow_nan=False))
    score = body["stages"][0]["scores"][0]
    assert "curve" not in score
    assert f"{score['auroc']['value']:.3f} ({score['auroc']['low']:.3f}" in as_markdown(ORIGIN, [assessment])
