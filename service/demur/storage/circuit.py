"""A pause after failures, so that what is away does not cost each request its timeout."""

from __future__ import annotations

from time import monotonic

from demur.errors import StoreUnavailable


class Circuit:
    """Open for `pause_seconds` after `threshold` failures in a row; then one call at a time tries again."""

    def __init__(self, *, threshold: int = 3, pause_seconds: float = 1.0) -> None:
        self._threshold = threshold
        self._pause_seconds = pause_seconds
        self._n_failures = 0
        self._closed_again = 0.0

    @property
    def is_open(self) -> bool:
        return self._n_failures >= self._threshold and monotonic() < self._closed_again

    def enter(self, what: str) -> None:
        """Call before each try. Raises: StoreUnavailable while open."""
        if self.is_open:
            wait = self._closed_again - monotonic()
            raise StoreUnavailable(f"{what} is away; it is tried again in {wait:.1f} s", retry_after_seconds=wait)
        if self._n_failures >= self._threshold:  # this call is the one that tries; the others wait for its outcome
            self._closed_again = monotonic() + self._pause_seconds

    def succeed(self) -> None:
        self._n_failures = 0

    def fail(self) -> None:
        self._n_failures += 1
        self._closed_again = monotonic() + self._pause_seconds
