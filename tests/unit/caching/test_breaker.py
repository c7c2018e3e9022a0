"""When to try again what was away."""

from __future__ import annotations

from demur.caching.breaker import CircuitBreaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _breaker() -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    return CircuitBreaker(first_seconds=1, max_seconds=5, timer=clock), clock


def test_nothing_is_tried_until_the_pause_is_over() -> None:
    """Then by one, and by nobody else until it reports."""
    breaker, clock = _breaker()
    assert breaker.allows()
    breaker.fail()
    clock.now += 0.9
    assert not breaker.allows()
    clock.now += 0.1
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_success_lets_everybody_in() -> None:
    breaker, clock = _breaker()
    breaker.fail()
    clock.now += 1
    assert breaker.allows()
    breaker.succeed()
    assert breaker.allows()
    assert breaker.allows()


def test_pauses_double_up_to_a_bound() -> None:
    """1, 2, 4, 5, 5 seconds; after a success 1 again."""
    breaker, clock = _breaker()
    breaker.fail()
    pauses = []
    for _ in range(5):
        began = clock.now
        while not breaker.allows():
            clock.now += 0.25
        pauses.append(clock.now - began)
        breaker.fail()
    assert pauses == [1, 2, 4, 5, 5]
    clock.now += 5
    assert breaker.allows()
    breaker.succeed()
    breaker.fail()
    clock.now += 1
    assert breaker.allows()


def test_calls_that_fail_together_count_once() -> None:
    """Ten were under way when it went away: the pause is the first one."""
    breaker, clock = _breaker()
    for _ in range(10):
        breaker.fail()
    clock.now += 1
    assert breaker.allows()


def test_a_try_that_never_reports_is_not_waited_for() -> None:
    """It was cancelled: the next one tries when another pause has passed."""
    breaker, clock = _breaker()
    breaker.fail()
    clock.now += 1
    assert breaker.allows()
    clock.now += 0.9
    assert not breaker.allows()
    clock.now += 0.1
    assert breaker.allows()
