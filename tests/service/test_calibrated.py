"""`POST /v1/answer` with a profile: what is said to whom, over a real server and scripted answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.calibration.base import expit, logit
from demur.calibration.profile import Profile, write_profile
from demur.engine.calibrating import Calibration, Revisions, Served
from demur.engine.prompting import PromptTemplate
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import CalibrationSettings, ClusteringSettings, DefaultsSettings, Settings
from demur.types import Message, Question, Sampling
from tests.service.running import Service, serving
from tests.service.test_command_line import demur
from tests.unit.calibration.profiles import PROFILE

SCRIPT = {
    "sure": ["Paris"],
    "8 of 10": ["Paris", *["Paris"] * 8, "Lyon", "Lyon"],
    "split": ["Paris", *["Paris", "Lyon"] * 5],
    "255 words": ["Paris", *["Paris"] * 9, " ".join(["Paris"] * 255)],
    "256 words": ["Paris", *["Paris"] * 9, " ".join(["Paris"] * 256)],
    "long T=0": [" ".join(["Paris"] * 300), "Paris"],
    "no idea": ["I don't know."],
    "one fails": ["Paris", *["Paris"] * 9, ScriptedAnswer(error="dropped")],
    "no greedy": [ScriptedAnswer(error="refused"), "Paris"],
}
CONTEXT = {"context": [{"text": "Paris is the capital of France."}]}
DEFAULTS = DefaultsSettings()


def script(prompt: str, sampling: Sampling) -> Sequence[ScriptedAnswer | str]:
    """By the question at the end, whatever passages stand before it."""
    return next(answers for question, answers in SCRIPT.items() if prompt.endswith(question))


def profile() -> Profile:
    """The test profile under the key that this service computes for a plain prompt."""
    template = PromptTemplate()
    calibration = Calibration({}, ClusteringSettings(), template, Revisions())
    question = Question((Message("user", "anything"),), sampling=Sampling(n=10))
    key = calibration.key(question, Served("scripted", "same-text", has_greedy=True))
    assert PROFILE.with_context
    return replace(PROFILE, key=key, with_context=replace(PROFILE.with_context, prompt_template=template.digest))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("profiles")
    write_profile(profile(), folder / "scripted.json")
    with serving(script, settings=Settings(calibration=CalibrationSettings(profiles=folder))) as running:
        yield running


def p_correct(agreeing: int, slope: float = 1.2, intercept: float = -0.4) -> float:
    return float(expit(slope * logit(np.array([(agreeing + 0.5) / 11])) + intercept)[0])


def test_confidence_is_the_probability_of_the_profile(service: Service) -> None:
    """8.5 / 11 through Platt's map; the profile is named, and the guarantee says what it rests on."""
    body = service.ask("8 of 10").json()
    assert body["confidence"] == pytest.approx(p_correct(8), abs=1e-12)
    assert (body["calibrated"], body["degraded"]) == (True, ["no_logprobs"])
    assert body["calibration"] == {
        "id": "cal_test",
        "method": "platt",
        "n_labels": 1200,
        "fitted_at": "2026-11-20T08:00:00Z",
    }
    assert body["guarantee"] == {
        "type": "selective_risk",
        "scope": "closed_book",
        "population": "facts",
        "alpha": 0.1,
        "delta": 0.1,
        "n_calibration": 900,
        "n_accepted": 400,
        "errors": 25,
    }


def test_certified_thresholds_decide(service: Service) -> None:
    """.7 instead of the rule of thumb's .8 on agreement."""
    body = service.ask("8 of 10").json()
    assert body["policy"]["answer_min"] == 0.7
    assert p_correct(8) > 0.7
    assert body["decision"] == "answer"
    assert service.ask("split").json()["decision"] == "retrieve"


def test_a_two_stage_caller_has_its_own_thresholds(service: Service) -> None:
    """Named retriever, first attempt: .8 now and .6 after retrieval, and the promise is about both."""
    body = service.ask("8 of 10", retrieval={"id": "wiki-1"}).json()
    assert (body["policy"]["answer_min"], body["policy"]["answer_min_after_retrieval"]) == (0.8, 0.6)
    assert body["guarantee"]["scope"] == "two_stage"
    assert body["decision"] == "retrieve"
    after = service.ask("8 of 10", retrieval={"id": "wiki-1", "attempt": 1}, **CONTEXT).json()
    assert after["confidence"] == pytest.approx(p_correct(8, 1.0, 0.5), abs=1e-12)
    assert after["guarantee"]["scope"] == "two_stage"
    assert after["decision"] == "answer"


@pytest.mark.parametrize("retrieval", [{"id": "other", "attempt": 1}, {"attempt": 1}, {"available": False}])
def test_after_another_retriever_nothing_is_promised(service: Service, retrieval: dict[str, object]) -> None:
    """Confidence is still calibrated; the threshold is the one that promises nothing."""
    body = service.ask("sure", retrieval=retrieval, **CONTEXT).json()
    assert (body["calibrated"], body["guarantee"]) == (True, None)
    assert body["policy"]["answer_min_after_retrieval"] == 0.9


def test_thresholds_of_ones_own_carry_no_promise(service: Service) -> None:
    """They are compared with the calibrated probability all the same."""
    body = service.ask("8 of 10", policy={"answer_min": 0.5}).json()
    assert (body["calibrated"], body["guarantee"], body["policy"]["name"]) == (True, None, "custom")
    assert body["decision"] == "answer"


@pytest.mark.parametrize(
    "change",
    [
        {"quality": "fast"},
        {"sampling": {"temperature": 0.7}},
        {"sampling": {"max_tokens": 50}},
        {"sampling": {"stop": ["\n"]}},
        {"answer_strategy": "mode"},
        {"prompt": None, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "sure"}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_way_of_asking_is_not_calibrated(service: Service, change: dict[str, object]) -> None:
    """The labels say nothing about it: agreement again, and the rule of thumb."""
    asked = {key: value for key, value in {"prompt": "sure", **change}.items() if value is not None}
    body = service.client.post("/v1/answer", json=asked).json()
    assert (body["calibrated"], body["calibration"], body["guarantee"]) == (False, None, None)
    assert body["confidence"] == body["uncertainty"]["agreement"]
    assert "uncalibrated" in body["degraded"]
    assert body["policy"]["answer_min"] == 0.8


def test_a_higher_limit_that_nothing_came_near_changes_nothing(service: Service) -> None:
    """The profile was fitted with 256 tokens at most: the same samples would have been drawn."""
    body = service.ask("8 of 10", sampling={"max_tokens": 1000}).json()
    assert (body["confidence"], body["guarantee"]["scope"]) == (pytest.approx(p_correct(8), abs=1e-12), "closed_book")
    asked = {"model": "scripted", "messages": [{"role": "user", "content": "8 of 10"}]}
    said = service.client.post("/v1/chat/completions", json=asked).json()
    assert said["uncertainty"]["confidence"] == body["confidence"]


@pytest.mark.parametrize(("prompt", "is_calibrated"), [("255 words", True), ("256 words", False)])
def test_an_answer_that_the_lower_limit_might_have_cut_is_not_calibrated(
    service: Service, prompt: str, is_calibrated: bool
) -> None:
    """The end of an answer may be a token, too, which not every server counts. Nor where longer ones may have been
    given up."""
    assert service.ask(prompt, sampling={"max_tokens": 1000}).json()["calibrated"] is is_calibrated
    assert service.ask(prompt).json()["calibrated"] is True


def test_a_t0_answer_that_was_cut_off_is_not_calibrated(service: Service) -> None:
    """As a sample is not: under a higher limit it would be another answer."""
    body = service.ask("long T=0").json()
    assert "samples_truncated" in body["degraded"]
    assert (body["calibrated"], body["sampling"]["truncated"]) == (False, 0)


def test_of_several_lower_limits_the_highest_speaks() -> None:
    """That no answer reached. The key stays how it was asked, so that answers of one key are no choice by length."""
    low = profile()
    high = replace(low, id="cal_high", key=replace(low.key, max_tokens=512))
    calibration = Calibration({p.key: p for p in (low, high)}, ClusteringSettings(), PromptTemplate(), Revisions())
    served = Served("scripted", "same-text", has_greedy=True)

    def speaks(max_tokens: int, n_tokens: int | None) -> str | None:
        question = Question((Message("user", "anything"),), sampling=Sampling(n=10, max_tokens=max_tokens))
        assert calibration.key(question, served).max_tokens == max_tokens
        read = calibration.read(
            question, served, {"agreement": 1.0}, (), agreement=1.0, is_non_answer=False, n_tokens=n_tokens
        )
        return read.info.id if read.info else None

    high_and_none = ["cal_high", "cal_high", "cal_high", "cal_high", None, None]
    assert [speaks(1000, n) for n in (3, 255, 256, 511, 512, None)] == high_and_none
    assert [speaks(limit, 3) for limit in (512, 400, 256, 255)] == ["cal_high", "cal_test", "cal_test", None]


def test_what_is_evaluated_under_a_higher_limit_is_told_so(tmp_path: Path) -> None:
    """Whatever profile is in force, and however long the answers: else no profile could be fitted for that limit."""
    (tmp_path / "profiles").mkdir()
    write_profile(profile(), tmp_path / "profiles" / "p.json")
    texts = {"short": "Paris", "long": " ".join(["Paris"] * 300)}
    rows = [
        {"id": name, "prompt": f"{name}?", "references": ["Paris"], "samples": [text] * 10}
        for name, text in texts.items()
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    saved = tmp_path / "judged.jsonl"
    options = ["--max-tokens", "1000", "--grader", "exact", "--save", str(saved)]
    done = demur(
        "evaluate", str(tmp_path / "data.jsonl"), *options, DEMUR_CALIBRATION__PROFILES=str(tmp_path / "profiles")
    )
    assert saved.exists(), done.stderr
    assert [json.loads(line)["key"]["max_tokens"] for line in saved.read_text().splitlines()] == [1000, 1000]


def test_the_question_itself_is_no_part_of_the_key(service: Service) -> None:
    """A chat of one user message is a prompt."""
    body = service.client.post("/v1/answer", json={"messages": [{"role": "user", "content": "sure"}]}).json()
    assert body["calibrated"] is True


@pytest.mark.parametrize(("prompt", "reason"), [("one fails", "partial_samples"), ("no greedy", "no_greedy")])
def test_a_degraded_signal_is_not_calibrated(service: Service, prompt: str, reason: str) -> None:
    """Nine samples are not ten, and without a T=0 answer another one is given."""
    body = service.ask(prompt).json()
    assert reason in body["degraded"]
    assert (body["calibrated"], body["guarantee"]) == (False, None)


def test_a_refusal_is_not_an_answer_that_may_be_right(service: Service) -> None:
    """Unanimous in not knowing: confidence 0, and something is to be looked up."""
    body = service.ask("no idea").json()
    assert (body["confidence"], body["calibrated"]) == (0.0, True)
    assert (body["decision"], body["reason"]) == ("retrieve", "non_answer")


def test_another_prompt_template_voids_the_map_for_passages(tmp_path: Path) -> None:
    """Answers from memory do not depend on it."""
    write_profile(profile(), tmp_path / "p.json")
    (tmp_path / "template.txt").write_text("Read: $passages Then say: $question")
    settings = Settings(
        calibration=CalibrationSettings(profiles=tmp_path),
        defaults=DefaultsSettings(prompt_template_file=tmp_path / "template.txt"),
    )
    with serving(script, settings=settings) as service:
        assert service.ask("sure").json()["calibrated"] is True
        assert service.ask("sure", **CONTEXT).json()["calibrated"] is False


def test_a_broken_profile_keeps_the_service_from_starting(tmp_path: Path) -> None:
    """Rather than serve without it in silence: the file is named, in one line, with exit status 1."""
    (tmp_path / "broken.json").write_text("{}")
    done = demur("serve", "--port", "0", DEMUR_CALIBRATION__PROFILES=str(tmp_path))
    assert done.returncode == 1
    assert "broken.json" in done.stderr.rsplit("demur:", 1)[1].replace("\n", "")


def test_a_folder_that_is_not_there_is_named() -> None:
    """A misspelt setting does not pass for no profiles."""
    done = demur("serve", "--port", "0", DEMUR_CALIBRATION__PROFILES="/no/such/folder")
    assert done.returncode == 1
    assert "DEMUR_CALIBRATION__PROFILES" in done.stderr.replace("\n", "")


def test_agreement_maps_to_a_finite_probability() -> None:
    """The worked number behind the tests above: 8.5 / 11 has the logit ln(8.5 / 2.5)."""
    assert p_correct(8) == pytest.approx(1 / (1 + math.exp(-(1.2 * math.log(8.5 / 2.5) - 0.4))))


def test_no_profile_speaks_for_an_answer_made_elsewhere(tmp_path: Path) -> None:
    """Not even one for T=0 answers, whose place such an answer takes: it was fitted to what this service gives."""
    known = profile()
    write_profile(replace(known, key=replace(known.key, answer_strategy="greedy")), tmp_path / "scripted.json")
    with serving(script, settings=Settings(calibration=CalibrationSettings(profiles=tmp_path))) as service:
        assert service.ask("8 of 10", answer_strategy="greedy").json()["calibrated"]
        rated = service.client.post("/v1/score", json={"prompt": "8 of 10", "answer": "Paris"}).json()
    assert (rated["confidence"], rated["calibrated"], rated["guarantee"]) == (0.8, False, None)
    assert "uncalibrated" in rated["degraded"]
