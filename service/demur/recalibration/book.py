"""The profiles in force: those of the configured folder, and over them those that were activated in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio

from demur.calibration.profile import Profile, ProfileKey, as_document, from_document
from demur.engine.calibrating import Calibration as Calibrated
from demur.errors import DemurError, ProfileUnreadable
from demur.observability.logging import logger
from demur.storage.base import Store
from demur.storage.records import Calibration, Suspension

PERIOD_SECONDS = 5.0  # after so long, a replica serves what was activated on another


def kept(profile: Profile) -> Calibration:
    """The profile as the store keeps it."""
    return Calibration(profile.id, profile.key.digest, int(datetime.now(UTC).timestamp()), as_document(profile))


class ProfileBook:
    """Follows the store, and tells the engine.

    Profiles of the folder are put into the store as they are met, so that they are listed and can be gone back to; one
    that was activated in the store comes before them. Where the store is away, what was in force stays; until it has
    been read once, nothing is promised, as a certificate may have been suspended.
    """

    def __init__(self, store: Store, calibrated: Calibrated, files: Mapping[ProfileKey, Profile]) -> None:
        self._store = store
        self._calibrated = calibrated
        self._files = dict(files)
        self._is_imported = not files
        self._is_failing = False
        self._suspensions: tuple[Suspension, ...] = ()
        calibrated.use(self._files, None)

    @property
    def profiles(self) -> Mapping[ProfileKey, Profile]:
        return self._calibrated.profiles

    @property
    def suspensions(self) -> tuple[Suspension, ...]:
        return self._suspensions

    def suspension(self, profile_id: str, scope: str) -> Suspension | None:
        return next((s for s in self._suspensions if (s.calibration_id, s.scope) == (profile_id, scope)), None)

    @property
    def n_suspended(self) -> int:
        """Certificates of the profiles in force that are not to be relied on."""
        return sum(self.is_active(each.calibration_id) for each in self._suspensions)

    def is_active(self, profile_id: str) -> bool:
        return any(profile.id == profile_id for profile in self.profiles.values())

    async def refresh(self) -> None:
        """Take over what the store has. Raises StoreUnavailable."""
        await self._import_files()
        active = [profile for one in await self._store.active_calibrations() if (profile := _readable(one))]
        self._suspensions = await self._store.list_suspensions()
        suspended = {(each.calibration_id, each.scope) for each in self._suspensions}
        self._calibrated.use({**self._files, **{profile.key: profile for profile in active}}, suspended)

    async def follow(self) -> None:
        """For ever; what goes wrong is tried again, and told of once."""
        while True:
            await self.try_refresh()
            await anyio.sleep(PERIOD_SECONDS)

    async def try_refresh(self) -> None:
        try:
            await self.refresh()
        except DemurError as error:
            if not self._is_failing:
                logger.warning("calibrations cannot be read from the store", reason=str(error))
            self._is_failing = True
        else:
            self._is_failing = False

    async def _import_files(self) -> None:
        if self._is_imported:
            return
        for profile in self._files.values():
            try:
                await self._store.add_calibration(kept(profile))
            except ValueError:  # it is there, from an earlier start or another replica
                continue
        self._is_imported = True


def _readable(calibration: Calibration) -> Profile | None:
    try:
        return from_document(calibration.document)
    except ProfileUnreadable as error:  # of a newer Demur, in a rolling update
        logger.error("an active calibration is not used", reason=str(error))
        return None


@asynccontextmanager
async def following(book: ProfileBook) -> AsyncIterator[None]:
    """The block begins with what the store has, where it answers."""
    await book.try_refresh()
    async with anyio.create_task_group() as group:
        group.start_soon(book.follow)
        yield
        group.cancel_scope.cancel()
