"""So that something that is away does not cost every request its timeout."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class CircuitBreaker:
    """After a failure nothing is tried for `first_seconds`; then one call may try, and the others go on doing without
    until it has succeeded. Each failed try doubles the pause, up to `max_seconds`.
    """

    def __init__(
        self, *, first_seconds: float = 0.5, max_seconds: float = 10.0, timer: Callable[[], float] = monotonic
    ) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._timer = timer
        self._pause_seconds = 0.0
        self._rests_until = 0.0
        self._is_trying = False

    def allows(self) -> bool:
        """Whether to go ahead. A try that never reports back, being cancelled, counts as over with its pause."""
        if not self._pause_seconds:
            return True
        if self._timer() < self._rests_until:
            return False
        self._is_trying = True
        self._rests_until = self._timer() + self._pause_seconds
        return True

    def succeed(self) -> None:
        self._pause_seconds, self._is_trying = 0.0, False

    def fail(self) -> None:
        """Calls that were under way when the first one failed add nothing to what is known."""
        if self._is_trying or not self._pause_seconds:
            self._pause_seconds = min(2 * self._pause_seconds or self._first_seconds, self._max_seconds)
            self._rests_until = self._timer() + self._pause_seconds
            self._is_trying = False
