"""`/v1/calibrations` and `/v1/policies` over HTTP, on SQLite and on real Redis: fit, activate, go back, suspend."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from demur.calibration.profile import ProfileKey, write_profile
from demur.cli import app
from demur.engine.calibrating import Calibration, Revisions, Served
from demur.engine.prompting import PromptTemplate
from demur.errors import NotCalibratable
from demur.evaluation.fitting import Target, fit_profile
from demur.evaluation.judged import Grade, write_judged
from demur.settings import AuditSettings, CalibrationSettings, ClusteringSettings, Settings, StoreSettings
from demur.types import Message, Question, Sampling
from tests.redis_server import redis_server
from tests.service.running import Service, metric, serving, wait_for
from tests.unit.calibration.profiles import PROFILE
from tests.unit.evaluation.judged_answers import simulated, with_tokens

N_AUDITS = 240


def script(question: str, _: Sampling) -> list[str]:
    """`town 3: 7` is answered by ten samples of which seven agree, with each other and with the T=0 answer."""
    n_agreeing = int(question.rpartition(" ")[2])
    return [
        "Paris",
        *["Paris"] * n_agreeing,
        *["Lyon", "Lima", "Rome", "Oslo", "Bern", "Riga", "Kyiv"][: 10 - n_agreeing],
    ]


def _key() -> ProfileKey:
    calibration = Calibration({}, ClusteringSettings(), PromptTemplate(), Revisions())
    question = Question((Message("user", "anything"),), sampling=Sampling(n=10))
    return calibration.key(question, Served("scripted", "same-text", has_greedy=True))


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def location(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield f"sqlite:///{folder}"
    else:
        with redis_server(folder, ["--save", ""]) as server:  # durable writes are tested elsewhere, and take their time
            yield server.url


NO_PROFILES = Path(__file__).parent  # not even the one that comes with the bundled models


def _settings(location: str, part: str, profiles: Path = NO_PROFILES) -> Settings:
    """`part` names a store of its own at that location; every answer is drawn for labelling."""
    url = f"{location}/{part}.sqlite3" if location.startswith("sqlite") else location
    store = StoreSettings(url=url, prefix=part, timeout_s=20, durability="assumed")
    return Settings(store=store, audit=AuditSettings(rate=1), calibration=CalibrationSettings(profiles=profiles))


@pytest.fixture(scope="module")
def service(location: str) -> Iterator[Service]:
    """With audits labelled: the more samples agree, the more often the answer is right."""
    with serving(script, settings=_settings(location, "audited")) as running:
        chance = random.Random(1)
        answers = [chance.choice([4, 6, 8, 10, 10]) for _ in range(N_AUDITS)]
        rights = [chance.random() < {4: 0.1, 6: 0.4, 8: 0.8}.get(n_agreeing, 0.98) for n_agreeing in answers]
        with ThreadPoolExecutor(16) as people:  # whose commits share a write to the disk
            said = zip(range(N_AUDITS), answers, rights, strict=True)
            list(people.map(lambda one: _label(running, f"town {one[0]}: {one[1]}", is_right=one[2]), said))
        yield running


def _label(service: Service, prompt: str, *, is_right: bool) -> None:
    answer = service.ask(prompt).json()
    said = {"answer_id": answer["id"], "label": "correct" if is_right else "incorrect", "source": "audit"}
    assert service.client.post("/v1/feedback", json=said).status_code == 202


def _fit(service: Service, **fields: Any) -> Any:
    return service.client.post("/v1/calibrations", json={"source": "audits", "max_risk": 0.2, **fields})


def _listed(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client.get("/v1/calibrations").json()["data"]
    return found


def _dataset(n: int, error_rate: float = 0.02) -> dict[str, Any]:
    """Judged answers as somebody uploads them: right where most samples agree."""
    chance = random.Random(2)
    answers = []
    for i in range(n):
        n_agreeing = chance.choice([4, 7, 10, 10])
        is_right = chance.random() < {4: 0.1, 7: 0.6, 10: 1 - error_rate}[n_agreeing]
        signals = {"agreement": (n_agreeing + 0.5) / 11, "semantic_entropy": 1 - n_agreeing / 10, "greedy_agrees": 1.0}
        answers.append({"id": f"q{i}", "correct": is_right, "signals": signals})
    return {"key": asdict(_key()), "answers": answers}


def test_audits_become_a_calibration_that_is_not_in_force(service: Service) -> None:
    """201 with the figures, the certificate and what it rests on; answers stay uncalibrated."""
    response = _fit(service, population="towns")
    assert response.status_code == 201, response.text
    body = response.json()
    assert (body["object"], body["active"]) == ("calibration", False)
    assert body["provenance"]["population"] == "towns"
    assert (body["provenance"]["grader"], body["provenance"]["n_labels"]) == ("audit", N_AUDITS)
    (certificate,) = body["certificates"]
    assert (certificate["scope"], certificate["alpha"], certificate["suspended"]) == ("closed_book", 0.2, None)
    assert certificate["errors"] <= certificate["n_accepted"] <= certificate["n_calibration"]
    figures = body["stages"][0]["figures"]
    assert figures["brier"] < 0.25
    assert figures["ece"] is not None
    assert body["applies_to"]["profile_key"] == _key().digest
    assert service.ask("other: 10").json()["calibrated"] is False
    assert body in _listed(service)


def test_activation_takes_effect_at_once_and_is_taken_back(service: Service) -> None:
    """Also for a question that was just answered: what was remembered under another calibration is not used."""
    first, second = (_fit(service, population=name).json()["id"] for name in ("one", "two"))
    assert service.ask("again: 10").json()["calibrated"] is False
    for activated in (first, second, first):
        response = service.client.post(f"/v1/calibrations/{activated}/activate")
        assert (response.status_code, response.json()["active"]) == (200, True)
        answer = service.ask("again: 10").json()
        assert (answer["calibration"]["id"], answer["guarantee"]["scope"]) == (activated, "closed_book")
        assert [each["id"] for each in _listed(service) if each["active"]] == [activated]


def test_another_replica_takes_it_over(service: Service, location: str) -> None:
    """Started before the activation, on the same store: within seconds, without being told."""
    with serving(script, settings=_settings(location, "audited")) as replica:
        activated = _fit(service, activate=True).json()["id"]

        def follows() -> bool:
            info = replica.ask("there: 10").json()["calibration"]
            return bool(info and info["id"] == activated)

        wait_for(follows, "the other replica to follow")


def test_it_is_there_after_a_restart(service: Service, location: str) -> None:
    """In force from the first answer on."""
    activated = _fit(service, activate=True).json()["id"]
    with serving(script, settings=_settings(location, "audited")) as again:
        assert again.ask("here: 10").json()["calibration"]["id"] == activated


def test_what_cannot_be_promised_is_refused_with_what_it_would_take(service: Service) -> None:
    """422 with the number of labels; without a promise there is a calibration, and `guarantee` is null."""
    refused = _fit(service, max_risk=0.05)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/not-calibratable")
    assert "labels are needed, and there are 240" in refused.json()["detail"]
    fitted = _fit(service, max_risk=0.05, certificate=False, activate=True)
    assert (fitted.status_code, fitted.json()["certificates"]) == (201, [])
    answer = service.ask("promise: 10").json()
    assert (answer["calibrated"], answer["guarantee"]) == (True, None)


def test_costs_give_thresholds_without_a_promise(service: Service) -> None:
    """A wrong answer as bad as four abstentions: answer from .75."""
    body = _fit(service, wrong_cost=4).json()
    assert (body["certificates"], body["uncertified_answer_min"]) == ([], 0.75)
    assert body["uncertified_answer_min_after_retrieval"] is None
    assert _fit(service, wrong_cost=0.5).status_code == 422


def test_audits_bear_no_promise_about_two_stages(service: Service) -> None:
    """They are not of the same questions before and after retrieval."""
    refused = _fit(service, retrieval_id="wiki-1")
    assert refused.status_code == 422
    assert "send a dataset" in refused.json()["detail"]


def test_only_labels_of_audits_count(location: str) -> None:
    """What people say of their own accord is no sample of what is answered."""
    with serving(script, settings=_settings(location, "human")) as service:
        for i in range(3):
            said = {"answer_id": service.ask(f"town {i}: 10").json()["id"], "label": "correct", "source": "human"}
            assert service.client.post("/v1/feedback", json=said).status_code == 202
        refused = _fit(service)
    assert refused.status_code == 422
    assert "no answer with that profile key has a label of source `audit`" in refused.json()["detail"]


def test_an_uploaded_dataset_is_fitted(service: Service) -> None:
    """As `demur evaluate --save` writes it; for this service's model only."""
    body = {"source": "dataset", "dataset": _dataset(600), "max_risk": 0.1, "population": "towns of the north"}
    response = service.client.post("/v1/calibrations", json=body)
    assert response.status_code == 201, response.text
    assert response.json()["certificates"][0]["population"] == "towns of the north"
    other = {**body, "dataset": {**_dataset(2), "key": {**asdict(_key()), "model": "another"}}}
    refused = service.client.post("/v1/calibrations", json=other)
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/dataset/key/model"]
    assert service.client.post("/v1/calibrations", json={**body, "model": "another"}).status_code == 404


def test_the_command_line_hands_over_what_it_judged(service: Service, tmp_path: Path) -> None:
    """`demur calibrate --url`: fitted and put into force by the service; what is refused is said."""
    judged = [replace(answer, key=_key()) for answer in simulated(600, skill=4.0)]
    write_judged(judged, tmp_path / "judged.jsonl")
    command = ["calibrate", str(tmp_path / "judged.jsonl"), "--judged", "--url", service.url]
    done = CliRunner().invoke(app, [*command, "--max-risk", "0.2", "--activate"])
    assert done.exit_code == 0, done.output
    (active,) = [each for each in _listed(service) if each["active"]]
    assert active["id"] in done.output.replace("\n", "")
    assert active["provenance"]["n_labels"] == 600
    refused = CliRunner().invoke(app, [*command, "--max-risk", "0.001"])
    assert isinstance(refused.exception, NotCalibratable)
    assert "labels are needed" in str(refused.exception) or "may not help" in str(refused.exception)
    nowhere = CliRunner().invoke(app, command[:3])
    assert "--out FILE" in str(nowhere.exception)


def test_a_cascade_is_certified_from_what_the_command_line_hands_over(service: Service, tmp_path: Path) -> None:
    """The same promise as from the file here: also on degraded answers, and on the grades of T=0 answers not given."""
    judged = [replace(answer, key=_key()) for answer in with_tokens(simulated(1200))]
    judged[:100] = [replace(answer, is_voided=True) for answer in judged[:100]]
    other = Grade(is_correct=False, is_refusal=False)
    judged[100:200] = [replace(a, greedy=other, signals={**a.signals, "greedy_agrees": 0.0}) for a in judged[100:200]]
    write_judged(judged, tmp_path / "judged.jsonl")
    command = ["calibrate", str(tmp_path / "judged.jsonl"), "--judged", "--cascade", "--max-risk", "0.2"]
    done = CliRunner().invoke(app, [*command, "--url", service.url, "--activate"])
    assert done.exit_code == 0, done.output
    (active,) = [each for each in _listed(service) if each["active"]]
    target = Target(0.2, 0.1, population="judged", grader="exact", data_sha256="", cascade=True)
    here = fit_profile(judged, target).profile.certificates
    there = active["certificates"]
    assert [c["scope"] for c in there] == ["closed_book", "cascade"]
    assert [(c["n_calibration"], c["n_accepted"], c["errors"], c["skip_min"]) for c in there] == [
        (c.n_calibration, c.n_accepted, c.errors, c.skip_min) for c in here
    ]


def test_audits_bear_no_promise_about_answers_without_samples(service: Service) -> None:
    refused = _fit(service, cascade=True)
    assert refused.status_code == 422
    assert "which audits do not tell" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"source": "dataset"}, ""),
        ({"cascade": True, "certificate": False}, ""),
        ({"cascade": True, "wrong_cost": 4}, ""),
        ({"source": "hearsay"}, "/source"),
        ({"max_risk": 0}, "/max_risk"),
        ({"delta": 0.9}, "/delta"),
        ({"mehtod": "platt"}, "/mehtod"),
        ({"source": "dataset", "dataset": {"answers": []}}, "/dataset/key"),
    ],
)
def test_wrong_requests_are_refused(service: Service, change: dict[str, Any], pointer: str) -> None:
    """422 that names the field."""
    response = _fit(service, **change)
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_what_was_never_kept_is_not_found(service: Service) -> None:
    assert service.client.post("/v1/calibrations/cal_none/activate").status_code == 404


def test_policies_tell_thresholds_promises_and_the_curve(service: Service) -> None:
    """First the rule of thumb, then the calibrated way of asking: coverage rises along its curve to that of all."""
    fitted = _fit(service, activate=True).json()
    rule, calibrated = service.client.get("/v1/policies").json()["data"]
    assert (rule["name"], rule["calibration"], rule["thresholds"][0]["answer_min"]) == ("default", None, 0.8)
    assert calibrated["calibration"]["id"] == fitted["id"]
    assert calibrated["applies_to"] == fitted["applies_to"]
    certified, uncertified = calibrated["thresholds"]
    assert certified["answer_min"] == fitted["certificates"][0]["answer_min"]
    assert certified["guarantee"]["n_accepted"] == fitted["certificates"][0]["n_accepted"]
    assert (uncertified["scope"], uncertified["guarantee"]) == ("uncertified", None)
    (curve,) = calibrated["curves"]
    coverages = [point["coverage"] for point in curve["points"]]
    confidences = [point["confidence"] for point in curve["points"]]
    assert coverages == sorted(set(coverages))
    assert confidences == sorted(set(confidences), reverse=True)
    assert coverages[-1] == 1.0
    assert curve["points"][-1]["risk"] == pytest.approx(1 - fitted["stages"][0]["figures"]["accuracy"])


def test_profiles_of_the_folder_are_kept_beside_the_others(location: str, tmp_path: Path) -> None:
    """Listed, in force without being activated, and gone back to after another was."""
    write_profile(replace(PROFILE, id="cal_file", key=_key()), tmp_path / "p.json")
    with serving(script, settings=_settings(location, "files", tmp_path)) as service:
        assert [(each["id"], each["active"]) for each in _listed(service)] == [("cal_file", True)]
        body = {"source": "dataset", "dataset": _dataset(600), "max_risk": 0.2, "activate": True}
        other = service.client.post("/v1/calibrations", json=body).json()["id"]
        assert service.ask("town: 10").json()["calibration"]["id"] == other
        service.client.post("/v1/calibrations/cal_file/activate")
        assert service.ask("town: 10").json()["calibration"]["id"] == "cal_file"


def test_audits_that_contradict_a_promise_suspend_it(location: str, tmp_path: Path) -> None:
    """10 % promised, all wrong: `guarantee` is null from then on, thresholds stay, and going back does not renew it."""
    fresh = replace(PROFILE.provenance, fitted_at=datetime.now(UTC))
    write_profile(replace(PROFILE, id="cal_bad", key=_key(), provenance=fresh), tmp_path / "p.json")
    with serving(script, settings=_settings(location, "contradicted", tmp_path)) as service:
        before = service.ask("town: 10").json()
        assert before["guarantee"]["alpha"] == 0.1
        assert metric(service, "demur_calibration_suspended_certificates") == 0
        for i in range(12):
            _label(service, f"town {i}: 10", is_right=False)
        wait_for(lambda: service.ask("town: 10").json()["guarantee"] is None, "the promise to be suspended")
        assert metric(service, "demur_calibration_suspended_certificates", model="scripted") == 1
        assert metric(service, "demur_calibration_labels", model="scripted") == 12
        after = service.ask("town: 10").json()
        assert (after["decision"], after["policy"]) == (before["decision"], before["policy"])
        assert after["calibrated"] is True
        service.client.post("/v1/calibrations/cal_bad/activate")
        assert service.ask("town: 10").json()["guarantee"] is None
        (shown,) = [c for c in _listed(service)[0]["certificates"] if c["scope"] == "closed_book"]
        told = shown["suspended"]
        assert told["n_answered"] >= told["errors"] >= 3
        assert told["evidence"] >= told["needed"] > 0
        policy = service.client.get("/v1/policies").json()["data"][1]["thresholds"][0]
        assert (policy["guarantee"], policy["suspended"]) == (None, told)
    with serving(script, settings=_settings(location, "contradicted", tmp_path)) as again:
        assert again.ask("town: 10").json()["guarantee"] is None
