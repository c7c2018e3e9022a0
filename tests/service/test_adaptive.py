"""Adaptive sampling over a real server: the rest of the samples is given up once one meaning leads clearly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demur.samplers.scripted import ScriptedAnswer
from demur.settings import NLISettings, Settings, StoreSettings
from tests.service.running import SameText, Service, metric, serving

LATE = 30.0  # seconds, in which no test would wait for a sample

NOW = ScriptedAnswer("Paris")
AGAIN = ScriptedAnswer("The city of Paris")
NEVER = ScriptedAnswer("Paris", delay_seconds=LATE)
SOON = ScriptedAnswer("Lyon", delay_seconds=0.2)

SCRIPT = {
    "unanimous": [NOW, *[NOW] * 5, *[NEVER] * 5],
    "two wordings": [NOW, NOW, AGAIN, NOW, AGAIN, NOW, *[NEVER] * 5],
    "one against four": [NOW, *[NOW] * 4, SOON, *[NOW] * 5],
    "greedy last": [ScriptedAnswer("Paris", delay_seconds=0.3), *[NOW] * 5, *[NEVER] * 5],
    "scattered": [NOW, *(ScriptedAnswer(f"City {i}") for i in range(10))],
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    same = SameText([("Paris", "The city of Paris"), ("The city of Paris", "Paris")])
    settings = Settings(nli=NLISettings(overlap="off"), store=StoreSettings(cache_ttl_s=0))
    with serving(script=SCRIPT, entailment=same, settings=settings) as running:
        yield running


def _ask(service: Service, prompt: str, **sampling: object) -> dict[str, object]:
    reply = service.ask(prompt, sampling={"mode": "adaptive", **sampling}).raise_for_status().json()
    return {
        **reply["sampling"],
        "degraded": reply["degraded"],
        "answer": reply["answer"],
        "decision": reply["decision"],
    }


def test_five_that_agree_are_enough(service: Service) -> None:
    """Nothing is degraded by it, and the samples that were saved are counted as such."""
    before = metric(service, "demur_samples_total", outcome="saved")
    got = _ask(service, "unanimous")
    assert (got["requested"], got["completed"], got["saved"], got["failed"]) == (10, 5, 5, 0)
    assert got["stopped_early"] is True
    assert (got["answer"], got["decision"]) == ("Paris", "answer")
    assert "partial_samples" not in got["degraded"]  # type: ignore[operator]
    assert metric(service, "demur_samples_total", outcome="saved") - before == 5
    assert service.sampler.n_running == 0


def test_words_that_differ_are_compared_while_samples_are_drawn(service: Service) -> None:
    assert _ask(service, "two wordings")["completed"] == 5


def test_the_greedy_answer_is_waited_for(service: Service) -> None:
    got = _ask(service, "greedy last")
    assert got["completed"] == 5
    assert "no_greedy" not in got["degraded"]  # type: ignore[operator]


def test_where_no_meaning_leads_all_are_drawn(service: Service) -> None:
    got = _ask(service, "scattered")
    assert (got["completed"], got["saved"], got["stopped_early"]) == (10, 0, False)


def test_fixed_sampling_draws_them_all(service: Service) -> None:
    reply = service.ask("one against four").raise_for_status().json()
    assert (reply["sampling"]["completed"], reply["sampling"]["saved"]) == (10, 0)


@pytest.mark.parametrize(
    ("sampling", "pointer"),
    [
        ({"mode": "adaptive", "min_n": 1}, "/sampling/min_n"),
        ({"min_n": 4}, "/sampling"),
        ({"mode": "x"}, "/sampling/mode"),
    ],
)
def test_what_makes_no_sense_is_refused(service: Service, sampling: dict[str, object], pointer: str) -> None:
    refused = service.ask(sampling=sampling)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
