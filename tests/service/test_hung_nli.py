"""An NLI model that hangs, for real: what probes and `demur doctor` say of it, and that answers come all the same."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from demur import doctor
from demur.entailment.batcher import Batcher
from demur.observability.metrics import Metrics
from demur.settings import Settings
from demur.types import Pair, Verdict
from tests.service.running import serving, wait_for

SCRIPT = {"q": ["Paris", "Paris", "Lyon"]}


@dataclass(frozen=True)
class OnePair:
    pair: Pair
    n_tokens: int = 8


@dataclass
class HangingClassifier:
    """`predict` does not return until it is let go."""

    model: str = "hanging"
    entered: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def encode(self, pairs: Sequence[Pair]) -> list[OnePair]:
        return [OnePair(pair) for pair in pairs]

    def predict(self, batch: Sequence[OnePair]) -> list[Verdict]:
        self.entered.set()
        assert self.let_go.wait(60)
        return [Verdict(0.01, 0.01, 0.98) for _ in batch]


def test_readiness_tells_of_a_hung_nli_model() -> None:
    """503 while it hangs, 200 before and after; the process lives, and answers by exact match meanwhile."""
    classifier = HangingClassifier()
    batcher = Batcher(classifier, Metrics(), timeout_seconds=0.5)
    try:
        with serving(SCRIPT, entailment=batcher) as service:
            assert service.client.get("/readyz").json()["status"] == "ok"
            assert "nli_unavailable" in service.ask("q").json()["degraded"]
            assert classifier.entered.is_set()
            for path in ("/readyz", "/health"):
                response = service.client.get(path)
                assert (response.status_code, response.json()) == (503, {"status": "nli_stuck"})
            assert service.client.get("/livez").status_code == 200
            classifier.let_go.set()
            wait_for(lambda: service.client.get("/readyz").status_code == 200, "the model to come back")
            assert "nli_unavailable" not in service.ask("q").json()["degraded"]
    finally:
        classifier.let_go.set()


@pytest.mark.anyio
async def test_doctor_tells_of_a_hung_nli_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits as long as a batch may take, and names the part that failed."""
    classifier = HangingClassifier()
    batcher = Batcher(classifier, Metrics(), timeout_seconds=0.5)
    monkeypatch.setattr(doctor, "build_entailment", lambda *_: batcher)
    try:
        (finding,) = await doctor._entailment_model(Settings())
        assert (finding.state, finding.part) == ("failed", "NLI model")
        assert finding.text == "the NLI model hanging did not answer within 0.5 s"
    finally:
        classifier.let_go.set()
        await batcher.aclose()
