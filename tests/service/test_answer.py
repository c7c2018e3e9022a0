"""`POST /v1/answer` over a real server and scripted answers: every number checked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from demur.errors import EntailmentUnavailable
from demur.samplers.scripted import ScriptedAnswer
from demur.types import Pair, Verdict
from tests.service.running import Service, serving

LN2 = math.log(2)
SCRIPT = {
    "sure": ["Paris"],
    "8 of 10": ["Paris", *["Paris"] * 8, "Lyon", "Lyon"],
    "split": ["Paris", *["Paris", "Lyon"] * 5],
    "all differ": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
    "no idea": ["I don't know.", "I don't know.", "I'm not sure.", "I do not know"],
    "greedy is alone": ["Nice", "Paris"],
    "with logprobs": [
        ScriptedAnswer("Paris", (math.log(0.5),)),
        *[ScriptedAnswer("Paris", (math.log(0.8),))] * 4,
        ScriptedAnswer("Lyon", (math.log(0.2),)),
    ],
    "one fails": ["Paris", *["Paris"] * 9, ScriptedAnswer(error="dropped")],
    "slow tail": ["Paris", *["Paris"] * 6, *[ScriptedAnswer("Paris", delay_seconds=60)] * 4],
    "slow tail, logprobs": [
        ScriptedAnswer("Paris", (-0.1,)),
        *[ScriptedAnswer("Paris", (-0.1,))] * 9,
        ScriptedAnswer("Paris", (-0.1,), delay_seconds=60),
    ],
    "no greedy": [ScriptedAnswer(error="refused"), "Paris"],
    "too slow": [ScriptedAnswer("Paris", delay_seconds=60)],
    "empty": [""],
    "long": [" ".join(["word"] * 50)],
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(SCRIPT) as running:
        yield running


def test_unanimous_samples_are_answered(service: Service) -> None:
    """Ten equal samples: entropy 0, agreement 1, no pair asked of the model, decision answer."""
    body = service.ask("sure", include=["nli", "clusters"]).json()
    assert (body["answer"], body["decision"], body["reason"]) == ("Paris", "answer", "above_answer_threshold")
    assert body["uncertainty"]["semantic_entropy"] == 0
    assert body["uncertainty"]["agreement"] == 1
    assert body["nli"]["pairs"] == 0
    assert body["clusters"] == [
        {"index": 0, "text": "Paris", "size": 10, "mass": None, "sample_indices": list(range(10)), "non_answer": False}
    ]


def test_numbers_are_those_of_the_formula(service: Service) -> None:
    """8 against 2 of 10: -0.8 ln 0.8 - 0.2 ln 0.2 nats."""
    uncertainty = service.ask("8 of 10").json()["uncertainty"]
    assert uncertainty["semantic_entropy"] == pytest.approx(0.5004024235, abs=1e-9)
    assert uncertainty["semantic_entropy_normalized"] == pytest.approx(0.5004024235 / math.log(10), abs=1e-9)
    assert (uncertainty["num_clusters"], uncertainty["agreement"], uncertainty["sample_coverage"]) == (2, 0.8, 1.0)


def test_each_passage_has_its_verdict() -> None:
    """The passage that says the answer entails it, the other one contradicts; together they do not contradict."""
    passages = [{"text": "Lyon"}, {"text": "Paris"}]
    with serving(lambda prompt, sampling: ["Paris"]) as service:
        nli = service.ask(include=["nli"], context=passages).json()["nli"]
        assert [p["entailment"] for p in nli["passages"]] == [0.01, 0.98]
        assert not nli["contradicts_context"]
        assert service.ask(include=["nli"], context=passages[:1]).json()["nli"]["contradicts_context"]


def test_uncalibrated_is_said(service: Service) -> None:
    """Without evidence `confidence` is agreement, and nothing is promised."""
    body = service.ask("8 of 10").json()
    assert (body["confidence"], body["calibrated"], body["guarantee"]) == (0.8, False, None)
    assert "uncalibrated" in body["degraded"]


def test_disagreement_asks_to_retrieve(service: Service) -> None:
    """Half and half is not enough to answer, and something can still be looked up."""
    body = service.ask("split").json()
    assert (body["decision"], body["reason"]) == ("retrieve", "below_answer_threshold")
    assert body["uncertainty"]["semantic_entropy"] == pytest.approx(LN2, abs=1e-9)


@pytest.mark.parametrize("retrieval", [{"attempt": 1}, {"available": False}, {"attempt": 2, "max_attempts": 2}])
def test_retrieve_ends_in_abstain(service: Service, retrieval: dict[str, object]) -> None:
    """Where nothing is left to look up, a caller that loops until `answer` or `abstain` comes to an end."""
    body = service.ask("split", retrieval=retrieval).json()
    assert (body["decision"], body["reason"]) == ("abstain", "retrieval_exhausted")


def test_hopeless_is_not_retrieved(service: Service) -> None:
    """Below `retrieve_min`, looking it up is not worth it."""
    body = service.ask("all differ", policy={"retrieve_min": 0.3}).json()
    assert (body["decision"], body["reason"]) == ("abstain", "below_retrieve_threshold")


def test_unanimous_refusal_is_not_confidence(service: Service) -> None:
    """Ten times "I don't know" in three wordings: one meaning, entropy 0, and never an answer."""
    body = service.ask("no idea").json()
    assert (body["decision"], body["reason"]) == ("retrieve", "non_answer")
    assert (body["uncertainty"]["num_clusters"], body["uncertainty"]["refusal_fraction"]) == (1, 1.0)
    assert body["clusters"][0]["non_answer"]


@pytest.mark.parametrize(("prompt", "extra"), [("empty", {}), ("long", {"sampling": {"max_tokens": 3}})])
def test_empty_and_cut_off_answers_are_no_answers(service: Service, prompt: str, extra: dict[str, object]) -> None:
    """Nothing, or the same beginning of something, ten times over is not an answer."""
    assert service.ask(prompt, **extra).json()["reason"] == "non_answer"


def test_greedy_answer_outside_the_heaviest_cluster_is_doubt(service: Service) -> None:
    """Without calibration, the T=0 answer must agree with the samples."""
    body = service.ask("greedy is alone").json()
    assert (body["answer"], body["decision"]) == ("Paris", "retrieve")


def test_a_missing_greedy_answer_is_said_and_does_not_silence(service: Service) -> None:
    """A server may give no T=0 answer: the samples decide alone, and the response says so."""
    body = service.ask("no greedy").json()
    assert (body["answer"], body["decision"]) == ("Paris", "answer")
    assert "no_greedy" in body["degraded"]


@pytest.mark.parametrize(
    ("strategy", "answer", "agreement"), [("auto", "Paris", 1), ("mode", "Paris", 1), ("greedy", "Nice", 0)]
)
def test_answer_strategy(service: Service, strategy: str, answer: str, agreement: float) -> None:
    """auto and mode give the heaviest meaning, greedy the T=0 answer with its own agreement."""
    body = service.ask("greedy is alone", answer_strategy=strategy).json()
    assert (body["answer"], body["uncertainty"]["agreement"]) == (answer, agreement)


def test_token_numbers_describe_the_greedy_answer(service: Service) -> None:
    """Greedy p=0.5; samples 4 x 0.8 and 1 x 0.2, whose weighted entropy counts each sequence once."""
    body = service.ask("with logprobs", sampling={"n": 5}, include=["clusters", "token_logprobs"]).json()
    tokens = body["token_confidence"]
    assert (tokens["kind"], tokens["source"], tokens["num_tokens"]) == ("greedy", "raw", 1)
    assert tokens["mean"] == pytest.approx(0.5)
    assert tokens["perplexity"] == pytest.approx(2.0)
    assert body["uncertainty"]["semantic_entropy_weighted"] == pytest.approx(0.5004024235, abs=1e-9)
    assert body["uncertainty"]["predictive_entropy"] == pytest.approx(-(4 * math.log(0.8) + math.log(0.2)) / 5)
    assert [c["mass"] for c in body["clusters"]] == pytest.approx([0.8, 0.2])
    assert body["token_logprobs"] == [{"token": "Paris", "logprob": math.log(0.5)}]


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"top_p": 0.9}])
def test_likelihood_numbers_need_the_models_own_distribution(service: Service, sampling: dict[str, float]) -> None:
    """Samples of a sharpened distribution say nothing about the probabilities of the original: null, not a guess."""
    body = service.ask("with logprobs", sampling=sampling).json()
    assert "modified_sampling" in body["degraded"]
    assert body["uncertainty"]["semantic_entropy_weighted"] is None
    assert body["uncertainty"]["predictive_entropy"] is None
    assert body["token_confidence"] is not None


def test_missing_logprobs_are_null_and_said(service: Service) -> None:
    """No logprobs: null with the reason, never 0."""
    body = service.ask("sure").json()
    assert body["token_confidence"] is None
    assert body["uncertainty"]["semantic_entropy_weighted"] is None
    assert "no_logprobs" in body["degraded"]


def test_strict_refuses_what_is_missing(service: Service) -> None:
    """`strict`: rather no answer than one without logprobs; asking again would not help, and nothing says so."""
    response = service.ask("sure", strict=True)
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/unsupported-by-backend"
    assert "retry-after" not in response.headers
    assert "no_logprobs" in response.json()["detail"]
    assert service.ask("with logprobs", strict=True, sampling={"n": 5}).status_code == 200
    passing = service.ask("slow tail, logprobs", strict=True, timeout_s=5)
    assert (passing.status_code, passing.json()["type"]) == (503, "/problems/degraded-refused")
    assert "retry-after" in passing.headers


def test_failed_draws_are_counted(service: Service) -> None:
    """One of ten fails: nine are used, and the response says so."""
    body = service.ask("one fails").json()
    counted = {"requested": 10, "completed": 9, "failed": 1, "saved": 0, "stopped_early": False, "truncated": 0}
    assert body["sampling"] == {**counted, "seed": None}
    assert "partial_samples" in body["degraded"]


def test_deadline_gives_a_partial_answer(service: Service) -> None:
    """Six samples in time are enough to decide on; the four others are cancelled."""
    before = service.sampler.n_cancelled
    body = service.ask("slow tail", timeout_s=4).json()
    assert (body["sampling"]["completed"], body["decision"]) == (6, "answer")
    assert {"deadline", "partial_samples"} <= set(body["degraded"])
    assert service.sampler.n_cancelled == before + 4


@pytest.mark.parametrize("fields", [{"prompt": "too slow"}, {"prompt": "slow tail", "on_deadline": "error"}])
def test_deadline_without_enough_is_an_error(service: Service, fields: dict[str, str]) -> None:
    """Fewer than two samples, or a caller who wants all of them: 504."""
    response = service.ask(**fields, timeout_s=0.5)
    assert (response.status_code, response.json()["type"]) == (504, "/problems/deadline-exceeded")


@pytest.mark.parametrize(("mode", "answer"), [("annotate", "Paris"), ("replace", "I don't know."), ("omit", None)])
def test_on_abstain(service: Service, mode: str, answer: str | None) -> None:
    """What stands in `answer` when the decision is abstain."""
    body = service.ask("split", retrieval={"available": False}, on_abstain=mode).json()
    assert (body["decision"], body["answer"]) == ("abstain", answer)


def test_include_controls_the_size(service: Service) -> None:
    """Parts not asked for are null; `samples` brings the greedy answer along."""
    bare = service.ask("8 of 10", include=[]).json()
    assert all(bare[part] is None for part in ("clusters", "samples", "greedy", "nli", "timings", "token_logprobs"))
    full = service.ask("8 of 10", include=["samples", "nli", "timings"]).json()
    assert [s["cluster"] for s in full["samples"]] == [0] * 8 + [1] * 2
    assert full["nli"]["judgements"] == [
        {"premise": 0, "hypothesis": 8, "entailment": 0.01, "neutral": 0.01, "contradiction": 0.98}
    ]
    assert (full["greedy"]["text"], full["greedy"]["cluster"]) == ("Paris", 0)
    assert full["timings"]["total_s"] >= full["timings"]["generate_s"] >= 0


@pytest.mark.parametrize(("quality", "n"), [("fast", 5), ("balanced", 10), ("thorough", 20)])
def test_quality_is_a_number_of_samples(service: Service, quality: str, n: int) -> None:
    """fast 5, balanced 10, thorough 20; an explicit n wins."""
    assert service.ask("sure", quality=quality).json()["sampling"]["completed"] == n
    assert service.ask("sure", quality=quality, sampling={"n": 7}).json()["sampling"]["completed"] == 7


def test_fewer_than_five_samples_never_suffice(service: Service) -> None:
    """The heuristic wants five samples: unanimity of four is no evidence."""
    assert service.ask("sure", sampling={"n": 4}).json()["decision"] == "retrieve"


def test_long_answers_are_flagged(service: Service) -> None:
    """Over 40 words, entailment of whole answers stops meaning "the same answer"."""
    assert "long_answers" in service.ask("long").json()["degraded"]


def test_messages_and_the_alias_path(service: Service) -> None:
    """`messages` is the chat form of `prompt`; `/answer` is `/v1/answer`."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "sure"}]
    response = service.client.post("/answer", json={"messages": chat, "metadata": {"k": "v"}})
    assert (response.json()["answer"], response.json()["metadata"]) == ("Paris", {"k": "v"})


def test_verdict_stands_in_the_headers(service: Service) -> None:
    """For clients that cannot see the body."""
    headers = service.ask("8 of 10").headers
    assert (headers["x-demur-decision"], headers["x-demur-confidence"]) == ("answer", "0.8000")
    assert headers["x-demur-semantic-entropy"] == "0.5004"
    assert headers["cache-control"] == "no-store"
    assert "gen;dur=" in headers["server-timing"]


class Grounds:
    """An entailment model for which a passage entails the answer that it contains, and contradicts any other."""

    model = "grounds"

    async def label(self, pairs: list[Pair]) -> list[Verdict]:
        supports = [p.hypothesis.answer in p.premise.answer for p in pairs]
        return [Verdict(0.9, 0.06, 0.04) if s else Verdict(0.1, 0.1, 0.8) for s in supports]

    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    ("passage", "groundedness", "decision", "reason"),
    [
        ("Paris is the capital.", 0.9, "answer", "above_answer_threshold"),
        ("Rome is the capital.", 0.1, "retrieve", "contradicts_context"),
    ],
)
def test_groundedness_is_entailment_by_the_passages(
    passage: str, groundedness: float, decision: str, reason: str
) -> None:
    """An answer that the passages contradict is not given where grounding is demanded."""
    with serving(lambda question, _: ["Paris"], entailment=Grounds()) as service:
        body = service.ask("q", context=[{"text": passage}], policy={"groundedness_min": 0.5}).json()
    assert (body["groundedness"], body["decision"], body["reason"]) == (groundedness, decision, reason)


def test_passages_stand_in_the_prompt() -> None:
    """The model reads numbered passages, with titles, then the question; placeholders in them stay text."""
    seen: list[str] = []

    def script(question: str, _: object) -> list[str]:
        seen.append(question)
        return ["Paris"]

    with serving(script) as service:
        service.ask("Why $question?", context=[{"text": "One $passages."}, {"text": "Two.", "title": "T"}])
    assert seen == ["Context:\n[1] One $passages.\n[2] T: Two.\n\nQuestion: Why $question?"]


class Broken:
    """An entailment model that fails."""

    model = "broken"

    async def label(self, pairs: list[Pair]) -> list[Verdict]:
        raise EntailmentUnavailable("the model is gone")

    async def aclose(self) -> None: ...


def test_without_nli_answers_are_compared_exactly() -> None:
    """A dead NLI model degrades the answer, it does not take it away."""
    with serving(lambda question, _: ["Paris", "Paris", "paris.", "Lyon"], entailment=Broken()) as service:
        body = service.ask(sampling={"n": 6}, context=[{"text": "Paris"}]).json()
    assert "nli_unavailable" in body["degraded"]
    assert body["groundedness"] is None
    assert [c["size"] for c in body["clusters"]] == [4, 2]


def test_grounding_that_is_demanded_and_not_measured_is_not_given() -> None:
    """`groundedness_min` with a dead NLI model: unanimous samples are not answered on unread passages."""
    with serving(lambda question, _: ["Paris"], entailment=Broken()) as service:
        policy = {"groundedness_min": 0.5}
        assert service.ask(context=[{"text": "x"}], policy=policy).json()["reason"] == "insufficient_context"
        assert service.ask(policy=policy).json()["decision"] == "answer"
