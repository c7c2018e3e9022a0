"""`POST /v1/score`: answers made elsewhere, rated over a real server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2
import pytest
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.entailment.base import EntailmentModel
from demur.settings import AuthSettings, Settings
from demur.types import Pair, Verdict
from tests.service.running import SameText, Service, metric, serving, wait_for

SCRIPT = {
    "agreed": ["Paris"],
    "split": ["Paris", "Paris", "Lyon"],
    "unknown": ["I don't know."],
}
WORDS = [("Lutetia", "Paris"), ("Paris", "Lutetia")]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(SCRIPT, entailment=SameText(WORDS)) as running:
        yield running


def rate(service: Service, answer: str = "Paris", **fields: Any) -> httpx2.Response:
    return service.client.post("/v1/score", json={"prompt": "q", "answer": answer, **fields})


def test_numbers_are_those_of_the_samples_that_were_sent(service: Service) -> None:
    """Four of five mean Paris: agreement .8, entropy .5004; no language model is called."""
    n_drawn = service.sampler.n_started
    samples = ["Paris", "Lutetia", "Lyon", "Paris", " paris. "]
    body = rate(service, samples=samples, include=["samples", "clusters", "nli"]).json()
    assert (body["object"], body["answer"], body["decision"]) == ("score", "Paris", "answer")
    assert (body["confidence"], body["calibrated"], body["model"]) == (0.8, False, None)
    assert body["uncertainty"]["agreement"] == 0.8
    expected = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert body["uncertainty"]["semantic_entropy"] == pytest.approx(expected)
    assert (body["answer_cluster"], [c["sample_indices"] for c in body["clusters"]]) == (0, [[0, 1, 3, 4], [2]])
    assert (body["sampling"]["requested"], body["sampling"]["completed"], body["sampling"]["failed"]) == (5, 5, 0)
    assert (body["usage"]["total_tokens"], body["stored"], body["cache"]["status"]) == (0, False, "bypass")
    assert service.sampler.n_started == n_drawn
    assert service.client.get(f"/v1/answers/{body['id']}").status_code == 404


def test_without_samples_they_are_drawn_here(service: Service) -> None:
    """The answer is placed among ten of the model's own; its model is named."""
    body = rate(service, "Lutetia", prompt="agreed").json()
    assert (body["decision"], body["answer_cluster"], body["model"]) == ("answer", 0, "scripted")
    assert (body["sampling"]["completed"], body["usage"]["completion_tokens"]) == (10, 11)
    assert rate(service, "Lutetia", prompt="agreed", quality="fast").json()["sampling"]["completed"] == 5


@pytest.mark.parametrize("fields", [{"prompt": "agreed"}, {"samples": ["Paris"] * 5}])
def test_an_answer_that_no_sample_agrees_with_lies_in_no_cluster(service: Service, fields: dict[str, Any]) -> None:
    """Entropy 0 and agreement 0: the samples are certain of something else."""
    body = rate(service, "Lyon", **fields).json()
    assert (body["answer_cluster"], body["confidence"], body["uncertainty"]["semantic_entropy"]) == (None, 0, 0)
    assert (body["decision"], body["reason"]) == ("retrieve", "below_answer_threshold")


def test_the_answer_beside_the_samples_is_theirs_who_sent_it(service: Service) -> None:
    """The T=0 answer that was drawn with the samples has no part in it."""
    body = rate(service, "Lyon", prompt="split", sampling={"n": 4}, include=["samples", "nli"]).json()
    assert (body["greedy"], body["answer_cluster"], body["confidence"]) == (None, 1, 0.5)
    assert body["degraded"] == ["no_logprobs", "uncalibrated"]
    pairs = {(j["premise"], j["hypothesis"]) for j in body["nli"]["judgements"]}
    assert pairs <= {(0, 1), (1, 0)}, "Lyon is a sample's own word"


def test_log_probabilities_are_used_where_they_are_sent(service: Service) -> None:
    """Token confidence of the answer, entropy by probability; they are lacking otherwise, and it is said."""
    samples, half = ["Paris", "Paris", "Lyon"], math.log(0.5)
    fields: dict[str, Any] = {"samples": samples, "answer_logprobs": [half, math.log(0.25)]}
    body = rate(service, **fields, sample_logprobs=[[half], [half], [math.log(0.125)]]).json()
    assert body["token_confidence"]["mean"] == pytest.approx(0.375)
    assert (body["token_confidence"]["kind"], body["token_confidence"]["source"]) == ("sampled", "raw")
    expected = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert body["uncertainty"]["semantic_entropy_weighted"] == pytest.approx(expected)
    assert body["uncertainty"]["predictive_entropy"] == pytest.approx((2 * -half - math.log(0.125)) / 3)
    assert [c["mass"] for c in body["clusters"]] == pytest.approx([0.8, 0.2])
    assert body["degraded"] == ["uncalibrated"]
    without = rate(service, samples=samples).json()
    assert (without["token_confidence"], without["uncertainty"]["semantic_entropy_weighted"]) == (None, None)
    assert without["degraded"] == ["no_logprobs", "uncalibrated"]


def test_samples_of_a_tempered_model_give_no_probabilities(service: Service) -> None:
    fields: dict[str, Any] = {"samples": ["Paris", "Lyon"], "sample_logprobs": [[-1.0], [-1.0]]}
    body = rate(service, **fields, answer_logprobs=[-1.0], sampling={"temperature": 0.7}).json()
    assert body["uncertainty"]["semantic_entropy_weighted"] is None
    assert body["degraded"] == ["modified_sampling", "uncalibrated"]


def test_the_policy_is_that_of_answers(service: Service) -> None:
    """Four samples are too few; a refusal is none; retrieval ends; thresholds of one's own."""
    four, five = ["Paris"] * 4, ["Paris"] * 5
    assert rate(service, samples=four).json()["decision"] == "retrieve"
    assert rate(service, samples=four, retrieval={"attempt": 1}).json()["decision"] == "abstain"
    assert rate(service, "I don't know.", samples=["I don't know."] * 5).json()["reason"] == "non_answer"
    three_of_five = [*["Paris"] * 3, "Lyon", "Nice"]
    assert rate(service, samples=three_of_five).json()["decision"] == "retrieve"
    assert rate(service, samples=three_of_five, policy={"answer_min": 0.6}).json()["decision"] == "answer"
    omitted = rate(service, "Lyon", samples=five, retrieval={"available": False}, on_abstain="omit").json()
    assert (omitted["decision"], omitted["answer"]) == ("abstain", None)


class Passages(SameText):
    """A passage entails what it contains; answers, what they are."""

    def _verdict(self, premise: str, hypothesis: str) -> Verdict:
        return Verdict(0.9, 0.06, 0.04) if hypothesis in premise else Verdict(0.1, 0.1, 0.8)


@pytest.mark.parametrize(
    ("passage", "groundedness", "decision"), [("Paris is the capital.", 0.9, "answer"), ("Rome is.", 0.1, "retrieve")]
)
def test_passages_ground_the_answer_that_was_sent(passage: str, groundedness: float, decision: str) -> None:
    with serving(SCRIPT, entailment=Passages()) as service:
        fields: dict[str, Any] = {"samples": ["Paris"] * 5, "policy": {"groundedness_min": 0.5}}
        body = rate(service, context=[{"text": passage}], **fields).json()
    assert (body["groundedness"], body["decision"]) == (groundedness, decision)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"answer": " "}, "/answer"),
        ({"answer": "x" * 32_001}, "/answer"),
        ({"samples": []}, "/samples"),
        ({"samples": ["x"] * 65}, "/samples"),
        ({"samples": ["x" * 32_001]}, "/samples/0"),
        ({"samples": ["x"], "sample_logprobs": [[-1.0], [-1.0]]}, "/sample_logprobs"),
        ({"samples": ["x"], "sample_logprobs": [[]]}, "/sample_logprobs/0"),
        ({"samples": ["x"], "sample_logprobs": [[0.5]]}, "/sample_logprobs/0/0"),
        ({"sample_logprobs": [[-1.0]]}, "/sample_logprobs"),
        ({"answer_logprobs": []}, "/answer_logprobs"),
        ({"samples": ["x"], "model": "scripted"}, "/model"),
        ({"samples": ["x"], "quality": "fast"}, "/quality"),
        ({"samples": ["x"], "sampling": {"n": 5}}, "/sampling/n"),
        ({"samples": ["x"], "sampling": {"seed": 0}}, "/sampling/seed"),
        ({"samples": ["x"], "sampling": {"mode": "adaptive"}}, "/sampling/mode"),
        ({"samples": ["x"], "sampling": {"stop": ["."]}}, "/sampling/stop"),
        ({"sampling": {"n": 33}}, "/sampling/n"),
        ({"cache": {"mode": "only"}}, "/cache"),
        ({"messages": [{"role": "user", "content": "q"}]}, ""),
    ],
)
def test_a_wrong_field_is_named(service: Service, fields: dict[str, Any], pointer: str) -> None:
    response = rate(service, **{"answer": "Paris", **fields})
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_samples_count_against_the_rate_wherever_they_come_from() -> None:
    """12 samples a minute: five that are sent, then five that are drawn, then no more; never more than 12 at once."""
    secret, key = new_key("asker", "answer")
    auth = AuthSettings(api_keys=SecretStr(key.line), rate_limit_samples="12/60s")
    with serving(SCRIPT, settings=Settings(auth=auth)) as service:
        service.client.headers["X-API-Key"] = secret
        asked: list[dict[str, Any]] = [{"samples": ["Paris"] * 5}, {"prompt": "agreed", "quality": "fast"}]
        assert [rate(service, **fields).status_code for fields in asked] == [200, 200]
        assert rate(service, **asked[0]).status_code == 429
        too_many = rate(service, samples=["Paris"] * 13)
        assert (too_many.status_code, too_many.json()["errors"][0]["pointer"]) == (422, "/samples")


class Slow(SameText):
    async def label(self, pairs: list[Pair]) -> list[Verdict]:  # type: ignore[override]
        await anyio.sleep_forever()
        raise AssertionError


def test_a_departed_client_leaves_nothing_running() -> None:
    slow: EntailmentModel = Slow()
    with serving(SCRIPT, entailment=slow) as service:
        body = {"prompt": "q", "answer": "Paris", "samples": ["Paris", "Lyon"]}
        with pytest.raises(httpx2.ReadTimeout):
            service.client.post("/v1/score", json=body, timeout=0.3)
        wait_for(lambda: metric(service, "demur_inflight_requests") == 0, "the place to be free")


def test_what_was_made_elsewhere_is_counted_apart(service: Service) -> None:
    """The figures of the served model are not those of others."""
    before = metric(service, "demur_answers_total", model="scripted")
    rate(service, samples=["Paris"] * 5)
    assert metric(service, "demur_answers_total", model="scripted") == before
    assert metric(service, "demur_answers_total", model="elsewhere") > 0
