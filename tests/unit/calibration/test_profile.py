"""Profiles: what they say to whom, and how they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.calibration.base import expit, logit
from demur.calibration.fused import FusedCalibrator
from demur.calibration.isotonic import IsotonicCalibrator
from demur.calibration.profile import MAX_BYTES, Certificate, Stage, read_profile, read_profiles, write_profile
from demur.calibration.selection import AnyCalibrator
from demur.calibration.trials import Rule
from demur.errors import ProfileUnreadable
from demur.types import Guarantee, Policy, Retrieval
from tests.unit.calibration.profiles import CASCADE, CASCADING, CLOSED_BOOK, FIGURES, KEY, PROFILE, TWO_STAGE

WIKI = Retrieval(id="wiki-1")
FUSED = FusedCalibrator(("agreement", "mean_logprob"), (0.1, -2.0), (1.5, 0.7), (0.9, 0.3), 0.2, 1.0)
STEPS = IsotonicCalibrator((0.1, 0.5), (0.2, 0.8))


@pytest.mark.parametrize("calibrator", [PROFILE.closed_book.calibrator, FUSED, STEPS], ids=lambda c: c.method)
def test_a_profile_comes_back_as_it_was_written(calibrator: AnyCalibrator, tmp_path: Path) -> None:
    """To the last bit of every number: thresholds are compared with what the map gives."""
    profile = replace(PROFILE, closed_book=Stage(calibrator, FIGURES))
    write_profile(profile, tmp_path / "p.json")
    assert read_profile(tmp_path / "p.json") == profile
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_the_map_reads_the_signals_by_name() -> None:
    """1.2 logit(s) - .4; None where one is missing, and never a guess."""
    expected = float(expit(1.2 * logit(np.array([0.6])) - 0.4)[0])
    assert PROFILE.closed_book.p_correct({"agreement": 0.6, "min_logprob": -3.0}) == pytest.approx(expected)
    assert Stage(FUSED, FIGURES).p_correct({"agreement": 0.6}) is None


@pytest.mark.parametrize(
    ("retrieval", "has_context", "certificate"),
    [
        (Retrieval(available=False), False, CLOSED_BOOK),
        (Retrieval(), False, CLOSED_BOOK),
        (Retrieval(id="other"), False, CLOSED_BOOK),
        (Retrieval(id="wiki-1", max_attempts=2), False, CLOSED_BOOK),
        (WIKI, False, TWO_STAGE),
        (replace(WIKI, attempt=1), True, TWO_STAGE),
        (replace(WIKI, attempt=1), False, None),
        (WIKI, True, None),
        (Retrieval(available=False), True, None),
        (Retrieval(id="other", attempt=1), True, None),
        (replace(WIKI, attempt=2, max_attempts=2), True, None),
    ],
)
def test_a_certificate_covers_those_it_was_tested_for(
    retrieval: Retrieval, has_context: bool, certificate: Certificate | None
) -> None:
    """Two-stage: this retriever, once. Closed book: the first attempt from memory, whatever follows for the rest."""
    assert PROFILE.certificate(retrieval, has_context=has_context) == certificate


@pytest.mark.parametrize(
    ("retrieval", "has_context", "certificate"),
    [
        (Retrieval(), False, CASCADE),
        (Retrieval(id="other"), False, CASCADE),
        (WIKI, False, TWO_STAGE),
        (Retrieval(), True, None),
        (Retrieval(attempt=1), False, None),
    ],
)
def test_a_cascade_takes_the_place_of_the_closed_book(
    retrieval: Retrieval, has_context: bool, certificate: Certificate | None
) -> None:
    """For those who ask for one; where there is none, the closed book's own holds for them, too."""
    found = CASCADING.certificate(retrieval, has_context=has_context, cascades=True)
    assert found == certificate
    assert CASCADING.certificate(Retrieval(), has_context=False) == CLOSED_BOOK
    assert PROFILE.certificate(Retrieval(), has_context=False, cascades=True) == CLOSED_BOOK


def test_a_cascade_has_two_bounds() -> None:
    """Of the tokens first, then of the samples; the policy shown is that of the samples."""
    assert CASCADE.rule == Rule(0.85, 0.75)
    assert CASCADING.policy(CASCADE).answer_min == 0.75


def test_a_cascade_needs_its_map() -> None:
    with pytest.raises(ValueError, match="needs a map of the greedy answer's tokens"):
        replace(CASCADING, greedy=None)
    with pytest.raises(ValueError, match="has a bound for doing without samples"):
        replace(CASCADE, scope="closed_book")
    with pytest.raises(ValueError, match="has a bound for doing without samples"):
        replace(CASCADE, skip_min=None)


def test_thresholds_are_those_of_the_certificate() -> None:
    """Where it has none, the threshold that promises nothing."""
    assert PROFILE.policy(TWO_STAGE) == Policy(answer_min=0.8, answer_min_after_retrieval=0.6)
    assert PROFILE.policy(CLOSED_BOOK) == Policy(answer_min=0.7, answer_min_after_retrieval=0.9)
    assert PROFILE.policy(None) == Policy(answer_min=0.9, answer_min_after_retrieval=0.9)
    looking_up = replace(PROFILE, uncertified_answer_min_after_retrieval=0.5)
    assert looking_up.policy(None) == Policy(answer_min=0.9, answer_min_after_retrieval=0.5)
    assert looking_up.policy(CLOSED_BOOK) == Policy(answer_min=0.7, answer_min_after_retrieval=0.5)


def test_a_guarantee_says_what_it_rests_on() -> None:
    """Population, alpha, delta and the counts."""
    assert PROFILE.guarantee(TWO_STAGE) == Guarantee("two_stage", "facts", 0.1, 0.05, 900, 600, 40)


def _broken(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for path, value in changes.items():
            *parents, last = path.split("__")
            part = body
            for name in parents:
                part = part[int(name)] if name.isdigit() else part[name]
            part[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_broken(version=2), "version"),
        (_broken(surprise=1), "surprise"),
        (_broken(closed_book__calibrator__slope=-1), "runs against correctness"),
        (_broken(closed_book__calibrator__slope="NaN"), "closed_book.calibrator.platt.slope"),
        (_broken(closed_book__calibrator__method="magic"), "method"),
        (_broken(closed_book__calibrator__signals=["mood"]), "signals"),
        (_broken(certificates__0__errors=500), "errors <= n_accepted"),
        (_broken(certificates__1__retrieval_id=None), "names a retriever"),
        (_broken(certificates__1__scope="closed_book"), "names a retriever"),
        (_broken(certificates__0__alpha=1.0), "alpha"),
        (_broken(with_context=None), "needs a map for answers from passages"),
        (_broken(uncertified_answer_min=1.5), "uncertified_answer_min"),
    ],
)
def test_a_broken_profile_is_refused_by_field(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    """The file and the field are named."""
    path = tmp_path / "broken.json"
    write_profile(PROFILE, path)
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(ProfileUnreadable, match=r"broken\.json") as caught:
        read_profile(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"[]", b"{", b" " * (MAX_BYTES + 1)])
def test_what_is_no_profile_is_refused(content: bytes, tmp_path: Path) -> None:
    """Empty, binary, truncated or huge."""
    (tmp_path / "odd.json").write_bytes(content)
    with pytest.raises(ProfileUnreadable, match=r"odd\.json"):
        read_profile(tmp_path / "odd.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Reading and writing."""
    with pytest.raises(ProfileUnreadable, match=r"nowhere\.json"):
        read_profile(tmp_path / "nowhere.json")
    with pytest.raises(ProfileUnreadable, match="cannot write"):
        write_profile(PROFILE, tmp_path / "no folder" / "p.json")


def test_profiles_are_found_by_their_key(tmp_path: Path) -> None:
    """All of a folder; two for the same key are refused, because one would silently win."""
    other = replace(PROFILE, id="cal_five", key=replace(KEY, n_samples=5))
    write_profile(PROFILE, tmp_path / "a.json")
    write_profile(other, tmp_path / "b.json")
    assert read_profiles(tmp_path) == {PROFILE.key: PROFILE, other.key: other}
    assert read_profiles(tmp_path / "none") == {}
    write_profile(PROFILE, tmp_path / "c.json")
    with pytest.raises(ProfileUnreadable, match=r"c\.json and another profile \(cal_test\)"):
        read_profiles(tmp_path)


def test_one_certificate_of_a_scope() -> None:
    """Two would leave open which one was meant."""
    with pytest.raises(ValueError, match="at most one"):
        replace(PROFILE, certificates=(CLOSED_BOOK, CLOSED_BOOK))
