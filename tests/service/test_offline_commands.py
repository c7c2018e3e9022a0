"""`demur evaluate` and `demur calibrate`, on recorded samples: what is printed, written, refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from demur.calibration.profile import read_profile
from demur.cli import app
from demur.engine.calibrating import Calibration, Revisions, Served
from demur.engine.prompting import PromptTemplate
from demur.errors import DatasetUnreadable, NotCalibratable
from demur.evaluation.judged import Grade, read_judged
from demur.settings import ClusteringSettings
from demur.types import Message, Question, Sampling
from demur.usage import SettingOrUsageError
from tests.service.test_command_line import demur


def row(i: int, chance: random.Random) -> dict[str, object]:
    """Ten samples of which the right answer has its share; now and then a wrong one is as sure."""
    share = chance.choice([0.2, 0.5, 0.8, 1.0])
    right, wrong = f"town {i}", f"village {i}"
    if chance.random() < 0.03:
        right, wrong = wrong, right
    said = [right if chance.random() < share else f"{wrong} {chance.randrange(5)}" for _ in range(11)]
    return {
        "id": f"q{i}",
        "prompt": f"Question {i}?",
        "references": [f"Town {i}."],
        "answer": said[0],
        "samples": said[1:],
    }


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEMUR_NLI__BACKEND", "exact")
    chance = random.Random(0)
    path = tmp_path / "towns.jsonl"
    path.write_text("".join(json.dumps(row(i, chance)) + "\n" for i in range(600)))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_evaluate_prints_and_writes_its_figures(data: Path, tmp_path: Path) -> None:
    """The tables, the three reports, and the judged answers, from which the same figures come again."""
    out, save = tmp_path / "report", tmp_path / "judged.jsonl"
    done = run("evaluate", data, "--out", out, "--save", save, "--fail-under", "auroc=0.7")
    assert done.exit_code == 0, done.output
    for words in ("AUROC", "semantic_entropy", "majority_share", "answer_length", "smECE", "share answered"):
        assert words in done.output
    first = json.loads((out / "report.json").read_text())
    assert {path.name for path in out.iterdir()} == {"report.json", "report.md", "report.html"}
    again = run("evaluate", save, "--judged", "--out", out)
    assert again.exit_code == 0, again.output
    assert json.loads((out / "report.json").read_text())["stages"] == first["stages"]


def test_stated_confidence_is_a_score_and_a_probability(data: Path, tmp_path: Path) -> None:
    """Recorded beside the answers: correlated with being right, and seen to be overconfident."""
    chance = random.Random(3)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for one in rows:
        one["stated_confidence"] = chance.choice([0.95, 0.99, 1.0])
    data.write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = run("evaluate", data, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    (stage,) = json.loads((tmp_path / "report" / "report.json").read_text())["stages"]
    (score,) = [s for s in stage["scores"] if s["name"] == "stated_confidence"]
    assert abs(score["correlation"]) < 0.2
    (probability,) = [p for p in stage["probabilities"] if p["name"] == "stated_confidence"]
    assert probability["gap"] > 0.2


def test_nobody_is_asked_where_answers_are_replayed(data: Path) -> None:
    """Neither how sure it is, nor a judge that was not named."""
    for options, words in (
        (["--stated-confidence"], "recorded answers are replayed"),
        (["--grader", "llm"], "DEMUR_JUDGE__MODEL"),
    ):
        refused = run("evaluate", data, *options)
        assert isinstance(refused.exception, SettingOrUsageError)
        assert words in str(refused.exception)


def test_fail_under_is_an_exit_status(data: Path, tmp_path: Path) -> None:
    """1, with the figure and its limit; a name that is not known is refused before anything is asked."""
    done = run("evaluate", data, "--fail-under", "auroc=0.999")
    assert done.exit_code == 1
    assert "under 0.999" in done.output
    refused = run("evaluate", tmp_path / "none.jsonl", "--fail-under", "charm=1")
    assert isinstance(refused.exception, SettingOrUsageError)
    assert "auroc, aurac, accuracy" in str(refused.exception)


def test_calibrate_writes_a_profile_for_this_way_of_asking(data: Path, tmp_path: Path) -> None:
    """Its key is what the service computes for a plain prompt; what it promises and will do is shown."""
    out = tmp_path / "profile.json"
    done = run("calibrate", data, "--max-risk", "0.2", "--out", out, "--model", "scripted")
    assert done.exit_code == 0, done.output
    assert "at most 20.0% of answers wrong, with confidence 90.0%" in done.output.replace("\n", "")
    profile = read_profile(out)
    calibration = Calibration({}, ClusteringSettings(), PromptTemplate(), Revisions())
    question = Question((Message("user", "anything"),), sampling=Sampling(n=10))
    assert profile.key == calibration.key(question, Served("scripted", None, has_greedy=True))
    assert profile.provenance.population == "towns"
    (certificate,) = profile.certificates
    assert (certificate.n_calibration, certificate.alpha) == (450, 0.2)


def test_a_t0_answer_that_is_not_given_has_a_grade_of_its_own(data: Path, tmp_path: Path) -> None:
    """Where the samples mean something else, whichever of the two is right."""
    save = tmp_path / "judged.jsonl"
    assert run("evaluate", data, "--save", save).exit_code == 0
    recorded = {row["id"]: row for row in map(json.loads, data.read_text().splitlines())}
    graded = {answer.id: answer for answer in read_judged(save) if answer.greedy is not None}
    assert 10 < len(graded) < 500
    for id_, answer in graded.items():
        greedy = recorded[id_]["answer"]
        assert greedy != answer.answer
        assert answer.greedy == Grade(is_correct=greedy == f"town {id_[1:]}", is_refusal=False)


def test_a_cascade_is_a_promise(data: Path, tmp_path: Path) -> None:
    """Recorded answers have no token probabilities to rest it on."""
    out = tmp_path / "profile.json"
    for options in (
        ["--out", out, "--wrong-cost", "4"],
        ["--out", out, "--no-certificate"],
    ):
        refused = run("calibrate", data, "--cascade", *options)
        assert isinstance(refused.exception, SettingOrUsageError)
        assert "--cascade" in str(refused.exception)
    refused = run("calibrate", data, "--cascade", "--out", out)
    assert isinstance(refused.exception, NotCalibratable)
    assert "token probabilities" in str(refused.exception)


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_asked(data: Path, tmp_path: Path) -> None:
    """Its folder would have to be made where a file is."""
    (tmp_path / "file").touch()
    for command, option in (("calibrate", "--out"), ("evaluate", "--save")):
        refused = run(command, tmp_path / "none.jsonl", option, tmp_path / "file" / "x.json")
        assert isinstance(refused.exception, SettingOrUsageError)
        assert "cannot make the folder" in str(refused.exception)


def test_calibrate_refuses_what_it_cannot_promise(data: Path, tmp_path: Path) -> None:
    """No profile is written, and the message says what would be needed; without a promise there is one."""
    out = tmp_path / "profile.json"
    refused = run("calibrate", data, "--max-risk", "0.001", "--out", out)
    assert isinstance(refused.exception, NotCalibratable)
    assert "cannot be promised on these labels" in str(refused.exception)
    assert not out.exists()
    assert run("calibrate", data, "--max-risk", "0.001", "--no-certificate", "--out", out).exit_code == 0
    assert read_profile(out).certificates == ()


def test_costs_give_thresholds_without_a_promise(data: Path, tmp_path: Path) -> None:
    """A wrong answer as bad as four abstentions: answer from .75."""
    out = tmp_path / "new" / "folder" / "profile.json"
    done = run("calibrate", data, "--wrong-cost", "4", "--out", out)
    assert done.exit_code == 0, done.output
    assert "of them wrongly (answer from 0.750)" in done.output
    profile = read_profile(out)
    assert (profile.certificates, profile.uncertified_answer_min) == ((), 0.75)


def test_retrieval_needs_passages(data: Path, tmp_path: Path) -> None:
    """A two-stage promise is tested on both stages."""
    refused = run("calibrate", data, "--retrieval-id", "wiki-1", "--out", tmp_path / "p.json")
    assert isinstance(refused.exception, DatasetUnreadable)
    assert "no `context`" in str(refused.exception)


def test_both_stages_are_replayed(data: Path, tmp_path: Path) -> None:
    """With `context_samples` for answers from passages: two maps, two certificates, half of the doubt each."""
    chance = random.Random(1)
    rows = []
    for i, line in enumerate(data.read_text().splitlines()):
        again = row(i, chance)
        found = {"context": [{"text": f"Town {i}."}], "context_answer": again["answer"]}
        rows.append({**json.loads(line), **found, "context_samples": again["samples"]})
    data.write_text("".join(json.dumps(one) + "\n" for one in rows))
    out = tmp_path / "p.json"
    done = run("calibrate", data, "--max-risk", "0.2", "--retrieval-id", "wiki-1", "--out", out)
    assert done.exit_code == 0, done.output
    profile = read_profile(out)
    assert [c.scope for c in profile.certificates] == ["closed_book", "two_stage"]
    assert {c.delta for c in profile.certificates} == {0.05}


def test_semantic_calibration_needs_live_samples_and_a_known_style(data: Path) -> None:
    """What was recorded cannot tell; a misspelt style is named."""
    refused = run("semantic-calibration", data, "--style", "concise")
    assert isinstance(refused.exception, DatasetUnreadable)
    assert "drawn live" in str(refused.exception)
    unknown = run("semantic-calibration", data, "--style", "terse")
    assert isinstance(unknown.exception, SettingOrUsageError)
    assert "as_asked, concise, sentence, reasoned" in str(unknown.exception)


@pytest.mark.model
def test_semantic_calibration_of_the_bundled_model(tmp_path: Path) -> None:
    """The table with its warning, and the same figures as JSON."""
    path, out = tmp_path / "capitals.jsonl", tmp_path / "styles.json"
    rows = [{"id": f"q{i}", "prompt": f"What is the capital of Peru? ({i})", "references": ["Lima"]} for i in range(3)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = demur("semantic-calibration", str(path), "--style", "concise", "--n", "20", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "chain of thought breaks it" in " ".join(done.stdout.split())
    found = json.loads(out.read_text())
    assert (found["model"], found["n_samples"], [f["style"] for f in found["styles"]]) == (
        "demur-facts",
        20,
        ["concise"],
    )


@pytest.mark.model
def test_the_bundled_models_are_evaluated_live(tmp_path: Path) -> None:
    """`demur evaluate` as a user runs it: asks the language model, clusters and grades by the NLI model."""
    path = tmp_path / "capitals.jsonl"
    capitals = {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima"}
    rows = [{"id": c, "prompt": f"What is the capital of {c}?", "references": [t]} for c, t in capitals.items()]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    options = ["--grader", "nli", "--n", "5", "--stated-confidence", "--save", str(tmp_path / "judged.jsonl")]
    done = demur("evaluate", str(path), *options)
    assert done.returncode == 0, done.stderr
    assert "token_probability" in done.stdout
    judged = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [one["key"]["model"] for one in judged] == ["demur-facts"] * 3
    assert all(len(one["key"]["model_revision"]) == 16 for one in judged)
