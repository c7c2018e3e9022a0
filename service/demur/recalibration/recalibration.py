"""Calibrations as the service keeps them: fitted from labels, listed, put into force, gone back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import anyio
from anyio import to_thread

from demur.calibration.base import Method
from demur.calibration.profile import Profile, from_document
from demur.errors import NotCalibratable
from demur.evaluation.fitting import Fitted, Target, fit_profile, refusal
from demur.evaluation.judged import JudgedAnswer
from demur.recalibration.audits import labelled_audits, sift
from demur.recalibration.book import ProfileBook, kept
from demur.storage.base import Store
from demur.storage.records import Calibration, Suspension

_FITS_AT_ONCE = 1  # a fit keeps a core busy that answers need


@dataclass(frozen=True, slots=True)
class Goal:
    """What a calibration should promise. `population` names the labelled questions; None: made up from the source."""

    method: Method | Literal["auto"] = "auto"
    max_risk: float = 0.1
    delta: float = 0.1
    wants_certificate: bool = True
    population: str | None = None
    retrieval_id: str | None = None
    retrieval_cost: float = 0.0
    wrong_cost: float | None = None
    cascade: bool = False

    def target(self, *, population: str, grader: str, sha256: str) -> Target:
        return Target(
            max_risk=self.max_risk,
            delta=self.delta,
            population=self.population or population,
            grader=grader,
            data_sha256=sha256,
            method=self.method,
            retrieval_id=self.retrieval_id,
            retrieval_cost=self.retrieval_cost,
            wants_certificate=self.wants_certificate,
            wrong_cost=self.wrong_cost,
            cascade=self.cascade,
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled answers that somebody uploaded."""

    answers: Sequence[JudgedAnswer]
    grader: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A calibration with its standing."""

    profile: Profile
    created: int
    is_active: bool
    suspensions: tuple[Suspension, ...]


class Recalibration:
    """Fits run in a thread, one at a time; whoever comes meanwhile waits."""

    def __init__(self, store: Store, book: ProfileBook) -> None:
        self._store = store
        self._book = book
        self._fits = anyio.CapacityLimiter(_FITS_AT_ONCE)

    async def fit_audits(self, goal: Goal, key_digest: str | None = None) -> Fitted:
        """From audits of answers from memory, asked for in one way: with that profile key, or the most frequent one.

        Raises NotCalibratable, StoreUnavailable.
        """
        if goal.retrieval_id is not None:
            raise NotCalibratable(
                "a promise about both stages needs every question answered with and without passages, which audits do "
                "not have: send a dataset, or leave out `retrieval_id`"
            )
        if goal.cascade:
            raise NotCalibratable(
                "a promise about answers without samples needs to know what each T=0 answer is worth, which audits do "
                "not tell: send a dataset, or leave out `cascade`"
            )
        sifted = sift(await labelled_audits(self._store), key_digest)
        target = goal.target(population="audits", grader="audit", sha256=sifted.sha256)
        return _noted(await self._fit(sifted.answers, target), sifted.n_others)

    async def fit_dataset(self, goal: Goal, dataset: Dataset) -> Fitted:
        """Raises NotCalibratable."""
        target = goal.target(population="uploaded", grader=dataset.grader, sha256=dataset.sha256)
        return await self._fit(dataset.answers, target)

    async def _fit(self, answers: Sequence[JudgedAnswer], target: Target) -> Fitted:
        fitted = await to_thread.run_sync(fit_profile, answers, target, limiter=self._fits)
        if target.certifies and not fitted.profile.certificates:
            raise NotCalibratable(
                f"{refusal(fitted, target)}; give more labels, allow more risk, or calibrate without a promise "
                "(`certificate: false`)"
            )
        return fitted

    async def keep(self, profile: Profile) -> Kept:
        """Durably, and not yet in force. Raises StoreUnavailable, StoreFull."""
        calibration = kept(profile)
        await self._store.add_calibration(calibration)
        return self._standing(calibration)

    async def activate(self, calibration_id: str) -> Kept:
        """Put it into force for its profile key: here at once, on other replicas of this store within seconds.

        Raises NotFound, ProfileUnreadable, StoreUnavailable, StoreFull.
        """
        from_document((await self._store.get_calibration(calibration_id)).document)  # or it would never be used
        calibration = await self._store.activate_calibration(calibration_id)
        await self._book.refresh()
        return self._standing(calibration)

    async def page(self, *, after: str | None, limit: int) -> tuple[list[Kept], str | None]:
        """A page, the newest first, and the cursor of the next one. Raises StoreUnavailable, ProfileUnreadable."""
        page = await self._store.list_calibrations(after=after, limit=limit)
        return [self._standing(one) for one in page.items], page.next

    def in_force(self) -> list[Kept]:
        """Those that speak now, by profile key."""
        profiles = sorted(self._book.profiles.values(), key=lambda profile: profile.key.digest)
        return [self._with_standing(p, int(p.provenance.fitted_at.timestamp())) for p in profiles]

    def _standing(self, calibration: Calibration) -> Kept:
        return self._with_standing(from_document(calibration.document), calibration.created)

    def _with_standing(self, profile: Profile, created: int) -> Kept:
        found = tuple(s for s in self._book.suspensions if s.calibration_id == profile.id)
        return Kept(profile, created, self._book.is_active(profile.id), found)


def _noted(fitted: Fitted, n_others: int) -> Fitted:
    if not n_others:
        return fitted
    said = f"{n_others} audited answers were asked for in other ways, and took no part"
    profile = fitted.profile
    return replace(fitted, profile=replace(profile, provenance=replace(profile.provenance, notes=said)))
