"""When to try again, and after how long; without I/O, so that both clients share it."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

_STATUSES = {408, 409, 429}
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
_LONGEST_RETRY_AFTER_SECONDS = 120.0

Outcome = httpx2.Response | httpx2.TransportError


class Attempts:
    """Counts the tries of one call."""

    def __init__(self, max_retries: int) -> None:
        self._n_left = max_retries
        self._n_failed = 0

    def pause_after(self, outcome: Outcome) -> float | None:
        """Seconds until the next try; None where this outcome is final."""
        if not _may_pass(outcome) or self._n_left <= 0:
            return None
        asked = _retry_after_seconds(outcome)
        if asked is not None and asked > _LONGEST_RETRY_AFTER_SECONDS:
            return None
        self._n_left -= 1
        self._n_failed += 1
        return _backoff_seconds(self._n_failed) if asked is None else asked


def _may_pass(outcome: Outcome) -> bool:
    """The server's own word comes first."""
    if isinstance(outcome, httpx2.TransportError):
        return True
    said = outcome.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return outcome.status_code in _STATUSES or outcome.status_code >= 500


def _backoff_seconds(n_failed: int) -> float:
    """Doubling, with up to a quarter taken off, so that clients that failed together come back apart."""
    pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (n_failed - 1))
    return pause * (1.0 - 0.25 * random.random())


def _retry_after_seconds(outcome: Outcome) -> float | None:
    """`Retry-After` in seconds or as a date; None where it is missing or cannot be read."""
    given = "" if isinstance(outcome, httpx2.TransportError) else outcome.headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        return _seconds_until(given)


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
