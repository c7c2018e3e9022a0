"""`sampling.mode: cascade` over a real server: no samples where that is promised to do, and all of them elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

import demur_client
from demur.api.responses import AnswerResponse
from demur.calibration.profile import Profile, write_profile
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import AuditSettings, CalibrationSettings, Settings, StoreSettings
from demur.terminal import verdict
from demur.types import Sampling
from tests.service.events import read_events
from tests.service.running import Service, metric, serving
from tests.service.test_calibrated import profile as plain_profile
from tests.unit.calibration.profiles import CASCADING

N = 10
MODE = {"sampling": {"mode": "cascade"}}
CONTEXT = [{"text": "Paris is the capital of France."}]
LONG = " ".join(["Paris"] * 300)


def said(text: str, logprob: float) -> ScriptedAnswer:
    """With that logprob for each word."""
    return ScriptedAnswer(text, (logprob,) * len(text.split()))


SCRIPT: dict[str, Sequence[ScriptedAnswer | str]] = {
    "sure": [said("Paris", -0.05), "Paris"],
    "doubtful": [said("Paris", -1.0), "Paris"],
    "sure, and wrong": [said("Lyon", -0.05), "Paris"],
    "no idea": [said("I don't know.", -0.01), "Paris"],
    "cut off": [said(LONG, -0.01), "Paris"],
    "no logprobs": ["Paris", "Paris"],
    "no greedy": [ScriptedAnswer(error="refused"), said("Paris", -0.05)],
}


def script(prompt: str, sampling: Sampling) -> Sequence[ScriptedAnswer | str]:
    return next(answers for question, answers in SCRIPT.items() if prompt.endswith(question))


def profile() -> Profile:
    """For this service, with a cascade: -.05 is sure enough, -1 is not."""
    return replace(plain_profile(), greedy=CASCADING.greedy, certificates=CASCADING.certificates)


def settings(folder: Path) -> Settings:
    return Settings(
        calibration=CalibrationSettings(profiles=folder),
        store=StoreSettings(url=SecretStr(f"sqlite:///{folder / 'records.db'}")),
        audit=AuditSettings(rate=1.0),
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("profiles")
    write_profile(profile(), folder / "scripted.json")
    with serving(script, settings=settings(folder)) as running:
        yield running


def drawn(service: Service, prompt: str, **fields: object) -> tuple[dict[str, object], int]:
    """The body, and how many answers were begun for it."""
    before = service.sampler.n_started
    body = service.ask(prompt, cache={"mode": "bypass"}, **{**MODE, **fields}).raise_for_status().json()
    return body, service.sampler.n_started - before


def scope(body: dict[str, object]) -> object:
    guarantee = body["guarantee"]
    return guarantee["scope"] if isinstance(guarantee, dict) else None


def test_a_sure_answer_skips_sampling(service: Service) -> None:
    """One draw; its probability is that of its tokens, and what was not measured is null rather than 0."""
    body, n_begun = drawn(service, "sure")
    assert n_begun == 1
    assert (body["answer"], body["decision"], body["reason"]) == ("Paris", "answer", "above_answer_threshold")
    assert body["confidence"] == pytest.approx(1 / (1 + math.exp(-2.1)), abs=1e-12)
    assert (body["calibrated"], body["degraded"], scope(body)) == (True, ["sampling_skipped"], "cascade")
    assert body["policy"]["answer_min"] == 0.85  # type: ignore[index]
    assert set(body["uncertainty"].values()) == {None}  # type: ignore[attr-defined]
    assert body["sampling"] == {
        "requested": N,
        "completed": 0,
        "failed": 0,
        "saved": N,
        "stopped_early": True,
        "truncated": 0,
        "seed": None,
    }
    assert body["token_confidence"]["min"] == pytest.approx(math.exp(-0.05))  # type: ignore[index]
    assert body["usage"]["completion_tokens"] == 1  # type: ignore[index]


def test_what_was_not_measured_is_left_out(service: Service) -> None:
    """Of the headers and the metrics; what was saved is counted."""
    before = [
        metric(service, "demur_samples_total", outcome="saved"),
        metric(service, "demur_semantic_entropy_nats_count", estimator="discrete"),
        metric(service, "demur_clusters_count"),
        metric(service, "demur_degraded_total", reason="sampling_skipped"),
    ]
    reply = service.ask("sure", **MODE, cache={"mode": "bypass"}, include=["samples", "clusters", "nli", "timings"])
    assert "X-Demur-Semantic-Entropy" not in reply.headers
    assert reply.headers["X-Demur-Decision"] == "answer"
    body = reply.json()
    assert (body["samples"], body["clusters"], body["nli"]["pairs"]) == ([], [], 0)
    assert (body["greedy"]["text"], body["greedy"]["cluster"]) == ("Paris", None)
    after = [
        metric(service, "demur_samples_total", outcome="saved"),
        metric(service, "demur_semantic_entropy_nats_count", estimator="discrete"),
        metric(service, "demur_clusters_count"),
        metric(service, "demur_degraded_total", reason="sampling_skipped"),
    ]
    assert [now - then for now, then in zip(after, before, strict=True)] == [N, 0, 0, 1]


def test_people_and_clients_can_read_it(service: Service) -> None:
    """In the terminal, and in the SDK."""
    body = service.ask("sure", **MODE, include=["samples", "clusters", "nli", "timings"]).json()
    console = Console(width=120, record=True)
    console.print(verdict(AnswerResponse.model_validate(body)))
    assert "none of 10" in console.export_text()
    with demur_client.Demur(base_url=service.url) as client:
        result = client.answer("sure", sampling={"mode": "cascade"})
    assert result.uncertainty.semantic_entropy is None
    assert (result.decision, result.sampling.saved) == ("answer", N)


def test_a_wrong_answer_may_be_sure_of_itself(service: Service) -> None:
    """Samples would have contradicted it: the promise is about how often that happens, and nothing is asked."""
    body, n_begun = drawn(service, "sure, and wrong")
    assert (body["answer"], body["decision"], n_begun) == ("Lyon", "answer", 1)


def test_an_unsure_answer_has_its_samples_drawn(service: Service) -> None:
    """The T=0 answer is not drawn twice; the threshold is the cascade's for answers with samples."""
    body, n_begun = drawn(service, "doubtful", include=["samples"])
    assert n_begun == 1 + N
    assert (scope(body), body["policy"]["answer_min"]) == ("cascade", 0.75)  # type: ignore[index]
    assert (body["sampling"]["saved"], body["sampling"]["completed"]) == (0, N)  # type: ignore[index]
    assert body["greedy"]["cluster"] == 0  # type: ignore[index]
    assert body["degraded"] == ["no_logprobs"]  # of the samples in this script
    plain = service.ask("doubtful").json()
    assert (body["confidence"], body["answer"]) == (plain["confidence"], plain["answer"])


@pytest.mark.parametrize("prompt", ["no idea", "cut off"])
def test_what_gives_no_answer_never_skips(service: Service, prompt: str) -> None:
    """Refusals and answers that were cut off, however sure."""
    body, n_begun = drawn(service, prompt)
    assert (n_begun, body["sampling"]["completed"]) == (1 + N, N)  # type: ignore[index]


def test_without_token_probabilities_all_is_as_without_a_cascade(service: Service) -> None:
    """Its promise, too: the bound could never be reached."""
    body, n_begun = drawn(service, "no logprobs")
    assert (n_begun, scope(body), body["policy"]["answer_min"]) == (1 + N, "closed_book", 0.7)  # type: ignore[index]


def test_a_t0_answer_that_fails_is_no_failure(service: Service) -> None:
    """It is missed as in any other mode, and not tried again."""
    body, n_begun = drawn(service, "no greedy")
    assert n_begun == 1 + N
    assert "no_greedy" in body["degraded"]  # type: ignore[operator]
    assert (body["calibrated"], scope(body)) == (False, None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"sampling": {"mode": "fixed"}}, "closed_book"),
        ({"policy": {"answer_min": 0.5}}, None),
        ({"context": CONTEXT}, None),
        ({"retrieval": {"attempt": 1}}, None),
        ({"retrieval": {"id": "wiki-1"}}, "two_stage"),
        ({"sampling": {"mode": "cascade", "temperature": 0.7}}, None),
        ({"quality": "fast"}, None),
        ({"answer_strategy": "mode"}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_who_is_not_covered_gets_all_samples(service: Service, fields: dict[str, object], expected: str | None) -> None:
    body, n_begun = drawn(service, "sure", **fields)
    n = body["sampling"]["requested"]  # type: ignore[index]
    assert (n_begun, scope(body)) == (1 + n, expected)
    assert body["sampling"]["saved"] == 0  # type: ignore[index]


def test_a_higher_limit_than_the_profile_s_matters_where_an_answer_passes_it(service: Service) -> None:
    """Of 300 words, which the profile's 256 tokens would have cut: then all is drawn, and nothing is known of it."""
    higher = {"sampling": {"mode": "cascade", "max_tokens": 1000}}
    body, n_begun = drawn(service, "sure", **higher)
    assert (n_begun, scope(body)) == (1, "cascade")
    body, n_begun = drawn(service, "cut off", **higher)
    assert (n_begun, body["calibrated"], scope(body)) == (1 + N, False, None)


def test_without_a_profile_nothing_is_skipped() -> None:
    with serving(script) as service:
        body, n_begun = drawn(service, "sure")
    assert (n_begun, body["calibrated"], scope(body)) == (1 + N, False, None)


@pytest.mark.parametrize("suspended", [frozenset({("cal_test", "cascade")}), None], ids=["suspended", "not known"])
def test_a_suspended_cascade_skips_nothing(tmp_path: Path, suspended: frozenset[tuple[str, str]] | None) -> None:
    """Audits contradict it, or nobody can say whether they do: every question is answered as in `fixed`."""
    known = profile()
    with serving(script) as service:
        service.engine().calibration.use({known.key: known}, suspended)  # type: ignore[arg-type]
        body, n_begun = drawn(service, "sure")
    assert n_begun == 1 + N
    assert scope(body) == ("closed_book" if suspended else None)
    assert body["policy"]["answer_min"] == 0.7  # type: ignore[index]


def test_the_strict_accept_it(service: Service) -> None:
    """Nothing is missing that the caller did not give up."""
    body, _ = drawn(service, "sure", strict=True)
    assert body["degraded"] == ["sampling_skipped"]


def test_it_is_remembered_apart(service: Service) -> None:
    """An answer without samples is given again to those who ask for a cascade, and to nobody else."""
    ask = {"prompt": "sure", "metadata": {"test": "cache"}}
    service.client.post("/v1/answer", json=ask | MODE | {"cache": {"mode": "refresh"}}).raise_for_status()
    again = service.client.post("/v1/answer", json=ask | MODE).json()
    assert (again["cache"]["status"], again["degraded"]) == ("hit", ["sampling_skipped"])
    fixed = service.client.post("/v1/answer", json=ask).json()
    assert fixed["sampling"]["completed"] == N


@pytest.mark.parametrize("mode", ["bypass", "default"])
def test_a_stream_tells_of_no_samples(service: Service, mode: str) -> None:
    """Drawn or remembered: the start, the result, and nothing between."""
    service.ask("sure", **MODE)
    body = {"prompt": "sure", "cache": {"mode": mode}, **MODE}
    headers = {"Accept": "text/event-stream"}
    with service.client.stream("POST", "/v1/answer", json=body, headers=headers) as reply:
        events = [(name, data) for name, data in read_events(reply.iter_lines()) if name != ":"]
    assert [name for name, _ in events] == ["start", "result", "done"]
    assert events[1][1]["uncertainty"]["agreement"] is None


def test_its_record_says_the_same(service: Service) -> None:
    """Nulls are kept as nulls; an audit names the promise that it tests."""
    id_ = drawn(service, "sure")[0]["id"]
    kept = service.client.get(f"/v1/answers/{id_}").raise_for_status().json()
    assert kept["uncertainty"]["agreement"] is None
    assert (kept["sampling"]["completed"], kept["clusters"], kept["audit"]) == (0, [], True)
    audits = service.client.get("/v1/audits", params={"limit": 100}).raise_for_status().json()
    assert id_ in [audit["id"] for audit in audits["data"]]


def test_the_cascade_is_shown_where_calibrations_are(service: Service) -> None:
    """Its bound, its map, its threshold."""
    (one,) = service.client.get("/v1/calibrations").raise_for_status().json()["data"]
    cascade = next(c for c in one["certificates"] if c["scope"] == "cascade")
    assert (cascade["skip_min"], cascade["answer_min"], cascade["skip_rate"]) == (0.85, 0.75, 0.3)
    assert [stage["stage"] for stage in one["stages"]] == ["closed_book", "with_context", "greedy"]
    policies = service.client.get("/v1/policies").raise_for_status().json()["data"]
    thresholds = [t for policy in policies for t in policy["thresholds"] if t["scope"] == "cascade"]
    assert [(t["answer_min"], t["skip_min"]) for t in thresholds] == [(0.75, 0.85)]


def test_looks_belong_to_another_mode(service: Service) -> None:
    refused = service.ask("sure", sampling={"mode": "cascade", "min_n": 5})
    assert refused.status_code == 422
