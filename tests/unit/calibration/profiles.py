"""A profile, whole, for tests to take and to break."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from demur.calibration.fused import FusedCalibrator
from demur.calibration.platt import PlattCalibrator
from demur.calibration.profile import Certificate, Figures, Profile, ProfileKey, Provenance, Stage

KEY = ProfileKey(
    model="scripted",
    model_revision=None,
    conversation="",
    n_samples=10,
    temperature=1.0,
    top_p=1.0,
    max_tokens=256,
    stop=(),
    answer_strategy="auto",
    has_greedy=True,
    nli_model="same-text",
    nli_revision=None,
    clustering_rule="strict",
    include_prompt=True,
    normaliser=1,
)
FIGURES = Figures(900, 0.7, 0.8, 0.15, 0.2, 0.03, 0.05)
CLOSED_BOOK = Certificate("closed_book", 0.7, 0.1, 0.1, 900, 400, 25)
TWO_STAGE = Certificate("two_stage", 0.8, 0.1, 0.05, 900, 600, 40, 0.6, "wiki-1", 0.5)
CASCADE = Certificate("cascade", 0.75, 0.1, 0.05, 900, 420, 30, skip_min=0.85, skip_rate=0.3)
PROFILE = Profile(
    id="cal_test",
    key=KEY,
    closed_book=Stage(PlattCalibrator(1.2, -0.4), FIGURES),
    provenance=Provenance("facts", "exact", 1200, 3, "0" * 64, 0, datetime(2026, 11, 20, 8, tzinfo=UTC), "0.1.0"),
    uncertified_answer_min=0.9,
    with_context=Stage(PlattCalibrator(1.0, 0.5), FIGURES, "template"),
    certificates=(CLOSED_BOOK, TWO_STAGE),
)
# Sure are T=0 answers whose least logprob l has 1 / (1 + exp(-(2 l + 2.2))) >= .85: l = -.05 gives .891.
CASCADING = replace(
    PROFILE,
    greedy=Stage(FusedCalibrator(("min_logprob",), (0.0,), (1.0,), (2.0,), 2.2, 1.0), FIGURES),
    certificates=(CLOSED_BOOK, TWO_STAGE, CASCADE),
)
