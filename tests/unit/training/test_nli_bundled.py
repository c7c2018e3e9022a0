"""The bundled NLI folder: what it weighs, that it loads as documented, and that it judges plain cases as people do."""

import json
from itertools import groupby

import pytest

from training.nli_model.export import MODEL_FOLDER
from training.nli_model.judge import Judge
from training.nli_model.probes import PASSAGE_PROBES, PROBES
from training.nli_model.report import probe_figures

pytestmark = pytest.mark.model
MAX_BYTES = 46_000_000


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(MODEL_FOLDER)


def test_the_folder_stays_small() -> None:
    """Weights, tokenizer and card together: they are committed."""
    assert sum(path.stat().st_size for path in MODEL_FOLDER.iterdir()) <= MAX_BYTES


def test_the_labels_are_named_in_the_config() -> None:
    """The service reads the order from here; a wrong one would invert every verdict."""
    config = json.loads((MODEL_FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "contradiction", "1": "entailment", "2": "neutral"}


def test_it_is_computed_in_float32(judge: Judge) -> None:
    """float16 is only how the weights are kept: computing in it would be slow on a CPU."""
    assert {str(p.dtype) for p in judge.model.parameters()} == {"torch.float32"}


def test_plain_cases_are_judged_as_people_do(judge: Judge) -> None:
    """Of the hand-written probes at least 85 % of the answers and two thirds of the passages."""
    figures = probe_figures(judge)
    assert figures["same_answer"].value >= 0.85
    assert figures["passages"].value >= 2 / 3


def test_the_probes_hold_both_verdicts_evenly() -> None:
    """A judge that always says "different" must not look good on them."""
    same = sum(is_same for *_, is_same in PROBES)
    assert 0.4 <= same / len(PROBES) <= 0.6
    assert len(list(groupby(sorted(label for *_, label in PASSAGE_PROBES)))) == 3
