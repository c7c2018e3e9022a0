"""The pause after failures."""

from __future__ import annotations

import pytest

from demur.errors import StoreUnavailable
from demur.storage.circuit import Circuit

LONG = 1000.0


def _fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        circuit.enter("it")
        circuit.fail()


def test_single_failures_do_not_open_it() -> None:
    """Two in a row, then a success: the count begins anew."""
    circuit = Circuit(threshold=3, pause_seconds=LONG)
    for _ in range(5):
        _fail(circuit, 2)
        circuit.enter("it")
        circuit.succeed()
    assert not circuit.is_open


def test_failures_in_a_row_open_it() -> None:
    """The call after them is refused at once, with the time to come back."""
    circuit = Circuit(threshold=3, pause_seconds=LONG)
    _fail(circuit, 3)
    with pytest.raises(StoreUnavailable, match="it is away") as refused:
        circuit.enter("it")
    assert refused.value.retry_after_seconds == pytest.approx(LONG, abs=60)


def test_after_the_pause_one_call_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for its outcome: refused while it runs, refused after it failed, welcome after it succeeded."""
    now = 0.0
    monkeypatch.setattr("demur.storage.circuit.monotonic", lambda: now)
    circuit = Circuit(threshold=1, pause_seconds=10)
    _fail(circuit, 1)
    now = 11.0
    circuit.enter("it")
    with pytest.raises(StoreUnavailable):
        circuit.enter("it")
    circuit.fail()
    now = 20.0
    with pytest.raises(StoreUnavailable):
        circuit.enter("it")
    now = 22.0
    circuit.enter("it")
    circuit.succeed()
    circuit.enter("it")


def test_a_try_that_never_ends_does_not_close_it_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller was cancelled: after another pause the next one tries."""
    now = 0.0
    monkeypatch.setattr("demur.storage.circuit.monotonic", lambda: now)
    circuit = Circuit(threshold=1, pause_seconds=10)
    _fail(circuit, 1)
    now = 11.0
    circuit.enter("it")
    now = 22.0
    circuit.enter("it")
