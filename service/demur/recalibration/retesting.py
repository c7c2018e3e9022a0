"""Certificates tested again, on audits of the answers given under them; one that they contradict is suspended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio

from demur.calibration.monitoring import log_evidence, log_needed
from demur.calibration.profile import Certificate, Profile
from demur.errors import DemurError
from demur.observability.logging import logger
from demur.recalibration.audits import Audit, labelled_audits
from demur.recalibration.book import ProfileBook
from demur.storage.base import Store
from demur.storage.records import Suspension
from demur.types import Action

_PAUSE_SECONDS = 5.0  # between two rounds, however fast labels come
_AGAIN_SECONDS = 600.0  # also without a label given here: another replica may have died before it tested


@dataclass(frozen=True, slots=True)
class Window:
    """Audited answers given under a certificate in part `index` of its time."""

    index: int
    n_answered: int
    errors: int


def windows(audits: Iterable[Audit], profile: Profile, scope: str, *, seconds: int) -> list[Window]:
    """Time since the fit in parts of that length, those in which something was answered and labelled."""
    counted: dict[int, list[bool]] = defaultdict(list)
    fitted = int(profile.provenance.fitted_at.timestamp())
    for audit in audits:
        record = audit.record
        is_under = (record.calibration_id, record.certificate) == (profile.id, scope)
        if is_under and record.decision is Action.ANSWER and record.created >= fitted:
            counted[(record.created - fitted) // seconds].append(audit.is_correct)
    return [Window(index, len(said), said.count(False)) for index, said in sorted(counted.items())]


def contradicted(found: Iterable[Window], certificate: Certificate) -> Window | None:
    """The first window whose errors refute that the error rate is at most alpha, at its share of delta."""
    return next((w for w in found if _evidence(w, certificate) >= log_needed(w.index, certificate.delta)), None)


def _evidence(window: Window, certificate: Certificate) -> float:
    return log_evidence(window.errors, window.n_answered, certificate.alpha)


class Retesting:
    """A round is due when an audit has been labelled, and now and then.

    Records are swept at an age of `max_age_seconds`. A window is half as long, and is looked at only while nothing of
    it has been swept, so that what is missing cannot tip the test.
    """

    def __init__(self, store: Store, book: ProfileBook, *, max_age_seconds: int) -> None:
        self._store = store
        self._book = book
        self._window_seconds = max(1, max_age_seconds // 2)
        self._due = anyio.Event()

    def poke(self) -> None:
        """An audit has been labelled."""
        self._due.set()

    async def run(self) -> None:
        """For ever; a round that fails is repeated with the next one."""
        while True:
            with anyio.move_on_after(_AGAIN_SECONDS):
                await self._due.wait()
            self._due = anyio.Event()
            try:
                await self.retest()
            except DemurError as error:
                logger.warning("certificates were not tested again", reason=str(error))
            await anyio.sleep(_PAUSE_SECONDS)

    async def retest(self) -> list[Suspension]:
        """Test every certificate in force; what was suspended just now. Raises StoreUnavailable, StoreFull."""
        now = int(datetime.now(UTC).timestamp())
        in_force = self._book.profiles.values()
        promised = [(p, c) for p in in_force for c in p.certificates if not self._is_suspended(p, c)]
        audits = await labelled_audits(self._store, since=now - 2 * self._window_seconds) if promised else []
        found = [s for p, c in promised if (s := self._tested(audits, p, c, now)) is not None]
        for suspension in found:
            logger.error(
                "a guarantee is suspended: audits contradict it",
                calibration=suspension.calibration_id,
                scope=suspension.scope,
                answered=suspension.n_answered,
                errors=suspension.errors,
            )
            await self._store.add_suspension(suspension)
        if found:
            await self._book.refresh()
        return found

    def _is_suspended(self, profile: Profile, certificate: Certificate) -> bool:
        return self._book.suspension(profile.id, certificate.scope) is not None

    def _tested(self, audits: list[Audit], profile: Profile, certificate: Certificate, now: int) -> Suspension | None:
        found = windows(audits, profile, certificate.scope, seconds=self._window_seconds)
        window = contradicted([w for w in found if self._is_whole(w, profile, now)], certificate)
        if window is None:
            return None
        return Suspension(
            calibration_id=profile.id,
            scope=certificate.scope,
            created=now,
            alpha=certificate.alpha,
            n_answered=window.n_answered,
            errors=window.errors,
            evidence=_evidence(window, certificate),
            needed=log_needed(window.index, certificate.delta),
        )

    def _is_whole(self, window: Window, profile: Profile, now: int) -> bool:
        begun = int(profile.provenance.fitted_at.timestamp()) + window.index * self._window_seconds
        return begun >= now - 2 * self._window_seconds


@asynccontextmanager
async def retesting(tests: Retesting) -> AsyncIterator[None]:
    """While the block runs."""
    async with anyio.create_task_group() as group:
        group.start_soon(tests.run)
        yield
        group.cancel_scope.cancel()
