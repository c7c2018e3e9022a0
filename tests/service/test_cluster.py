"""`POST /v1/cluster`: texts by meaning, over a real server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.errors import EntailmentUnavailable
from demur.settings import AuthSettings, Settings
from tests.service.running import SameText, Service, serving
from tests.service.test_score import Slow

WORDS = [("Lutetia", "Paris"), ("Paris", "Lutetia")]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving({}, entailment=SameText(WORDS)) as running:
        yield running


def cluster(service: Service, *texts: str, **fields: Any) -> httpx2.Response:
    return service.client.post("/v1/cluster", json={"texts": texts, **fields})


def test_texts_are_grouped_by_meaning(service: Service) -> None:
    """In order of first appearance; entropy of 3 and 1 of 4; pairs are counted; nothing is drawn."""
    body = cluster(service, "Lyon", "Paris", "Lutetia", " Paris ", prompt="Which city?").json()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    nli = body.pop("nli")
    assert body == {
        "object": "clustering",
        "assignments": [0, 1, 1, 1],
        "num_clusters": 2,
        "clusters": [
            {"index": 0, "text": "Lyon", "size": 1, "mass": None, "text_indices": [0]},
            {"index": 1, "text": "Paris", "size": 3, "mass": None, "text_indices": [1, 2, 3]},
        ],
        "semantic_entropy": pytest.approx(entropy),
        "semantic_entropy_normalized": pytest.approx(entropy / math.log(4)),
        "semantic_entropy_weighted": None,
        "degraded": [],
    }
    assert (nli["model"], nli["judgements"], nli["truncated"]) == ("same-text", None, False)
    assert nli["pairs"] + nli["pairs_cached"] == 4
    assert service.sampler.n_started == 0


def test_judgements_come_where_they_are_asked_for(service: Service) -> None:
    """Both directions of what was joined, one of what was kept apart: all three are asked at once."""
    body = cluster(service, "Paris", "Lutetia", "Lyon", include=["judgements"]).json()
    labels = {(j["premise"], j["hypothesis"]): j["entailment"] > 0.5 for j in body["nli"]["judgements"]}
    assert {labels[0, 1], labels[1, 0]} == {True}
    assert len(labels) == 4


def test_weights_give_masses_and_an_entropy_of_their_own(service: Service) -> None:
    body = cluster(service, "Paris", "Lutetia", "Lyon", weights=[1, 2, 1]).json()
    assert [c["mass"] for c in body["clusters"]] == [0.75, 0.25]
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert body["semantic_entropy_weighted"] == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(1e-300, 1e12)), min_size=2, max_size=20))
@settings(max_examples=30)
def test_weights_of_any_size_keep_the_laws(service: Service, weighted: list[tuple[str, float]]) -> None:
    """Masses sum to 1; both entropies lie in [0, ln K]; assignments are those of equal texts."""
    texts = [text for text, _ in weighted]
    body = cluster(service, *texts, weights=[weight for _, weight in weighted]).json()
    assert math.fsum(c["mass"] for c in body["clusters"]) == pytest.approx(1)
    most = math.log(body["num_clusters"]) + 1e-9
    assert 0 <= body["semantic_entropy"] <= most
    assert 0 <= body["semantic_entropy_weighted"] <= most
    same = [[one == other for other in texts] for one in texts]
    assert same == [[one == other for other in body["assignments"]] for one in body["assignments"]]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"texts": ["a"]}, "/texts"),
        ({"texts": ["a"] * 257}, "/texts"),
        ({"texts": ["a", "x" * 32_001]}, "/texts/1"),
        ({"texts": ["a", 7]}, "/texts/1"),
        ({"texts": ["a", "b"], "weights": [1.0]}, ""),
        ({"texts": ["a", "b"], "weights": [1.0, 0.0]}, "/weights/1"),
        ({"texts": ["a", "b"], "weights": [1.0, -1.0]}, "/weights/1"),
        ({"texts": ["a", "b"], "prompt": "q" * 32_001}, "/prompt"),
        ({"texts": ["a", "b"], "timeout_s": 301}, "/timeout_s"),
        ({"texts": ["a", "b"], "promt": "q"}, "/promt"),
        ({"texts": ["a", "b"], "include": ["samples"]}, "/include/0"),
    ],
)
def test_a_wrong_field_is_named(service: Service, fields: dict[str, Any], pointer: str) -> None:
    response = service.client.post("/v1/cluster", json=fields)
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


class Broken(SameText):
    async def label(self, pairs: Any) -> Any:
        raise EntailmentUnavailable("the model is gone")


@pytest.mark.parametrize(
    ("model", "reasons"), [(Broken(), ["nli_unavailable"]), (Slow(), ["nli_unavailable", "deadline"])]
)
def test_without_the_model_words_alone_decide(model: SameText, reasons: list[str]) -> None:
    """And it is said why."""
    with serving({}, entailment=model) as service:
        body = cluster(service, "Paris", "paris.", "Lutetia", timeout_s=0.3).json()
    assert (body["assignments"], body["degraded"]) == ([0, 0, 1], reasons)


def test_each_text_counts_as_a_sample() -> None:
    """3 + 3 of 7, then no more; never more than 7 at once."""
    secret, key = new_key("asker", "answer")
    auth = AuthSettings(api_keys=SecretStr(key.line), rate_limit_samples="7/60s")
    with serving({}, settings=Settings(auth=auth)) as service:
        service.client.headers["X-API-Key"] = secret
        assert [cluster(service, "a", "b", "c").status_code for _ in range(3)] == [200, 200, 429]
        too_many = cluster(service, *"abcdefgh")
        assert (too_many.status_code, too_many.json()["errors"][0]["pointer"]) == (422, "/texts")
