"""Which audits count for which promise, when one is suspended, and that what was swept cannot tip the test."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demur.calibration.monitoring import log_evidence, log_needed
from demur.calibration.profile import Certificate, Profile
from demur.engine.calibrating import Calibration, Revisions
from demur.engine.prompting import PromptTemplate
from demur.errors import NotCalibratable
from demur.recalibration.audits import Audit, labelled_audits, sift, verdict
from demur.recalibration.book import ProfileBook, kept
from demur.recalibration.retesting import Retesting, Window, contradicted, windows
from demur.settings import ClusteringSettings
from demur.storage.records import LabelledAnswer
from demur.storage.sqlite import SqliteStore
from demur.types import Action, Degradation, Reason, Retrieval, Sampling
from tests.records import feedback, record
from tests.unit.calibration.profiles import KEY, PROFILE

pytestmark = pytest.mark.anyio

DAY = 86_400
NOW = datetime.now(UTC).replace(microsecond=0)
CERTIFICATE = Certificate("closed_book", 0.7, 0.1, 0.1, 900, 400, 25)


def _profile(*, days_old: float = 1) -> Profile:
    fitted = NOW - timedelta(days=days_old)
    return replace(PROFILE, provenance=replace(PROFILE.provenance, fitted_at=fitted))


def _audit(days_ago: float, *, is_correct: bool = True, **changes: Any) -> Audit:
    created = int((NOW - timedelta(days=days_ago)).timestamp())
    fields = {"calibration_id": "cal_test", "certificate": "closed_book", "is_audit": True, "n_passages": 0, "key": KEY}
    fields |= {"retrieval": Retrieval()}
    return Audit(record(created, **{**fields, **changes}), is_correct)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await SqliteStore.open(tmp_path / "s")
    yield found
    await found.aclose()


async def _book(store: SqliteStore, profile: Profile) -> ProfileBook:
    calibrated = Calibration({}, ClusteringSettings(), PromptTemplate(), Revisions())
    book = ProfileBook(store, calibrated, {profile.key: profile})
    await book.refresh()
    return book


async def _keep(store: SqliteStore, audits: list[Audit]) -> None:
    for audit in audits:
        await store.add_answer(audit.record)
        label = "correct" if audit.is_correct else "incorrect"
        await store.add_feedback(feedback(audit.record.id, source="audit", label=label))


def test_only_answers_given_under_the_promise_count() -> None:
    """Not those of another calibration, of another scope, without a promise, withheld, or older than the fit."""
    audits = [
        _audit(0.5, is_correct=False),
        _audit(0.5),
        _audit(0.5, calibration_id="cal_other"),
        _audit(0.5, certificate="two_stage"),
        _audit(0.5, certificate="cascade"),
        _audit(0.5, certificate=None),
        _audit(0.5, decision=Action.RETRIEVE, is_correct=False),
        _audit(2),
    ]
    assert windows(audits, _profile(), "closed_book", seconds=10 * DAY) == [Window(0, 2, 1)]
    assert windows(audits, _profile(), "cascade", seconds=10 * DAY) == [Window(0, 1, 0)]


def test_time_since_the_fit_is_cut_into_windows() -> None:
    """Of five days each; empty ones are left out and keep their number."""
    audits = [_audit(11), _audit(10.5, is_correct=False), _audit(0.5)]
    assert windows(audits, _profile(days_old=12), "closed_book", seconds=5 * DAY) == [Window(0, 2, 1), Window(2, 1, 0)]


def test_later_windows_need_more_evidence() -> None:
    """The same counts contradict in the first window and not in the tenth."""
    errors = next(k for k in range(60) if log_evidence(k, 60, 0.1) >= log_needed(0, 0.1))
    assert contradicted([Window(0, 60, errors)], CERTIFICATE) == Window(0, 60, errors)
    assert contradicted([Window(10, 60, errors)], CERTIFICATE) is None
    assert contradicted([Window(0, 60, errors - 1)], CERTIFICATE) is None
    assert contradicted([], CERTIFICATE) is None


async def test_a_contradicted_promise_is_suspended_once(store: SqliteStore) -> None:
    """Kept with its counts; the next round has nothing left to test, and the other scope stays."""
    profile = _profile()
    book = await _book(store, profile)
    tests = Retesting(store, book, max_age_seconds=30 * DAY)
    await _keep(store, [_audit(0.5, is_correct=i % 2 == 0) for i in range(40)])
    (found,) = await tests.retest()
    assert (found.scope, found.n_answered, found.errors) == ("closed_book", 40, 20)
    assert found.evidence >= found.needed
    assert await store.list_suspensions() == (found,)
    assert await tests.retest() == []
    calibrated = Calibration({}, ClusteringSettings(), PromptTemplate(), Revisions())
    await ProfileBook(store, calibrated, {profile.key: profile}).refresh()
    assert [calibrated.is_suspended(profile, c.scope) for c in profile.certificates] == [True, False]


async def test_a_kept_promise_stays(store: SqliteStore) -> None:
    """Five wrong of a hundred where ten were allowed, and wrong answers that were not given, or have no label."""
    book = await _book(store, _profile())
    good = [_audit(0.5, is_correct=i % 20 != 0) for i in range(100)]
    await _keep(store, [*good, *(_audit(0.4, is_correct=False, decision=Action.ABSTAIN) for _ in range(50))])
    await store.add_answer(_audit(0.3).record)
    assert await Retesting(store, book, max_age_seconds=30 * DAY).retest() == []


async def test_a_window_that_is_being_swept_is_not_looked_at(store: SqliteStore) -> None:
    """Its good answers may be gone already."""
    book = await _book(store, _profile(days_old=11))
    await _keep(store, [_audit(9.5, is_correct=False) for _ in range(40)])
    assert await Retesting(store, book, max_age_seconds=10 * DAY).retest() == []
    assert len(await Retesting(store, book, max_age_seconds=30 * DAY).retest()) == 1


async def test_nothing_is_promised_before_the_store_was_read(store: SqliteStore) -> None:
    """A certificate could have been suspended; afterwards the profile of the folder promises what it did."""
    profile = _profile()
    calibrated = Calibration({profile.key: profile}, ClusteringSettings(), PromptTemplate(), Revisions())
    assert not calibrated.is_suspended(profile, "closed_book")
    book = ProfileBook(store, calibrated, calibrated.profiles)
    assert calibrated.is_suspended(profile, "closed_book")
    await book.refresh()
    assert not calibrated.is_suspended(profile, "closed_book")
    assert [each.id for each in (await store.list_calibrations()).items] == ["cal_test"]


async def test_what_was_activated_comes_before_the_folder(store: SqliteStore) -> None:
    """And a calibration that this version cannot read leaves what else there is."""
    profile = _profile()
    book = await _book(store, profile)
    other = replace(profile, id="cal_other")
    await store.add_calibration(kept(other))
    await store.activate_calibration("cal_other")
    await book.refresh()
    assert book.is_active("cal_other")
    assert not book.is_active("cal_test")
    newer = kept(replace(profile, id="cal_newer"))
    await store.add_calibration(replace(newer, document={**newer.document, "version": 2}))
    await store.activate_calibration("cal_newer")
    await book.refresh()
    assert book.is_active("cal_test")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], None),
        ([{"source": "human"}], None),
        ([{"source": "audit"}], True),
        ([{"source": "audit"}, {"source": "human", "label": "incorrect"}], True),
        ([{"source": "audit"}, {"source": "audit", "key": "bob", "label": "partial"}], False),
        ([{"source": "audit", "label": None, "score": 1.0}], True),
        ([{"source": "audit", "label": None, "score": 0.9}], False),
    ],
)
def test_what_auditors_say(said: list[dict[str, Any]], expected: bool | None) -> None:
    """All of them must find it correct; partly right is wrong."""
    answer = record(is_audit=True)
    assert verdict(LabelledAnswer(answer, tuple(feedback(answer.id, **each) for each in said))) is expected


async def test_labelled_audits_are_read_page_by_page(store: SqliteStore) -> None:
    """Of 1,100, those since a moment."""
    audits = [_audit(i / 1000) for i in range(1100)]
    await _keep(store, audits)
    since = int((NOW - timedelta(days=0.8)).timestamp())
    assert len(await labelled_audits(store, since=since)) == sum(a.record.created >= since for a in audits)
    assert len(await labelled_audits(store)) == 1100


def test_the_most_frequent_way_of_asking_is_taken() -> None:
    """Others are counted, cascades among them; answers with passages take no part; refusals and degraded ones are
    marked."""
    other = replace(KEY, n_samples=5)
    audits = [
        *(_audit(0.1, degraded=()) for _ in range(3)),
        _audit(0.1, key=other),
        _audit(0.1, n_passages=2),
        _audit(0.1, retrieval=Retrieval(attempt=1)),
        _audit(0.1, key=None),
        _audit(0.1, sampling=Sampling(mode="cascade")),
        _audit(0.1, reason=Reason.NON_ANSWER),
        _audit(0.1, degraded=(Degradation.PARTIAL_SAMPLES,)),
    ]
    random.Random(0).shuffle(audits)
    sifted = sift(audits)
    assert (len(sifted.answers), sifted.n_others) == (5, 3)
    assert sum(a.is_refusal and not a.is_correct for a in sifted.answers) == 1
    assert sum(a.is_voided for a in sifted.answers) == 1
    assert len(sift(audits, other.digest).answers) == 1
    with pytest.raises(NotCalibratable, match="DEMUR_AUDIT__RATE"):
        sift(audits, "0" * 32)
