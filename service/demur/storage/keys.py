"""Every key that records have in Redis. Braces mark what decides the cluster slot.

Records and the lists of them carry no TTL, so that no `volatile-*` eviction policy can take them. Idempotency entries
do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Keys:
    """`prefix` comes first, so that several services can share a database."""

    prefix: str

    @property
    def probe(self) -> str:
        """Written to learn whether writing is possible: a replica and a full server still read."""
        return f"{self.prefix}:probe"

    def answer(self, answer_id: str) -> str:
        return f"{self.prefix}:ans:{_tag(answer_id)}"

    def feedback(self, answer_id: str) -> str:
        """A hash by (source, key), in the slot of its answer."""
        return f"{self.prefix}:feedback:{_tag(answer_id)}"

    def calibration(self, calibration_id: str) -> str:
        return f"{self.prefix}:cal:{_tag(calibration_id)}"

    def active_calibration(self, profile_key: str) -> str:
        """Holds the id of the active one."""
        return f"{self.prefix}:cal:active:{{{digest(profile_key)}}}"

    @property
    def active_keys(self) -> str:
        """A set of the profile keys that have an active calibration."""
        return f"{self.prefix}:cal:active"

    @property
    def suspensions(self) -> str:
        """A hash by (scope, calibration)."""
        return f"{self.prefix}:cal:suspended"

    def listed(self, what: str) -> str:
        """A sorted set of equal scores: its members are sorted as text and begin with the time."""
        return f"{self.prefix}:list:{{{what}}}"

    def idempotency(self, scope: str, key: str) -> str:
        return f"{self.prefix}:idem:{_tag(scope)}:{digest(key)}"


def _tag(text: str) -> str:
    """Braces in `text` would move the slot."""
    return f"{{{quote(text, safe='')}}}"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
