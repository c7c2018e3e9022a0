"""One look, wherever people meet a verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

import demur
from demur.api.responses import AnswerResponse
from demur.look import FACES, TOKENS_CSS, WHY
from demur.terminal import verdict
from demur.types import Action, Degradation, Reason

PLAYGROUND = Path(demur.__file__).parent / "playground"
WORDS = json.loads((PLAYGROUND / "words.json").read_text(encoding="utf-8"))


def test_there_are_words_for_everything() -> None:
    """For each verdict, reason and reservation that the service knows, and for no others."""
    assert set(WORDS["verdicts"]) == {action.value for action in Action}
    assert set(WORDS["reasons"]) == {reason.value for reason in Reason} == {reason.value for reason in WHY}
    assert set(WORDS["degraded"]) == {degradation.value for degradation in Degradation}


def test_verdicts_differ_in_every_respect() -> None:
    """Icon, word and colour."""
    for part in ("icon", "word", "colour"):
        assert len({getattr(face, part) for face in FACES.values()}) == 3


def test_colours_are_named_in_one_place() -> None:
    """The page's other styles, the report's and its plots take theirs from tokens.css."""
    evaluation = Path(demur.__file__).parent / "evaluation"
    for source in [*PLAYGROUND.glob("*.css"), evaluation / "report.css", evaluation / "plots.py"]:
        if source.name != "tokens.css":
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b", source.read_text(encoding="utf-8")), source.name


def test_every_colour_that_is_used_is_there() -> None:
    """`var(--x)` is defined in tokens.css, or set where it is used."""
    styles = {path.name: path.read_text(encoding="utf-8") for path in PLAYGROUND.glob("*.css")}
    scripts = "".join(path.read_text(encoding="utf-8") for path in PLAYGROUND.glob("*.js"))
    used = {name for text in styles.values() for name in re.findall(r"var\((--[\w-]+)", text)}
    defined = set(re.findall(r"(--[\w-]+):", "".join(styles.values()))) | set(re.findall(r'"(--[\w-]+)"', scripts))
    assert "--answer" in TOKENS_CSS
    assert used <= defined


@pytest.mark.parametrize("action", Action)
def test_the_terminal_shows_the_same(action: Action) -> None:
    """Its icon, word and colour, and the reason in the page's words."""
    shown = _shown(action)
    face = FACES[action]
    red, green, blue = (int(face.colour[i : i + 2], 16) for i in (1, 3, 5))
    assert f"{face.icon} {face.word}" in re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert f"38;2;{red};{green};{blue}" in shown
    assert WORDS["reasons"]["non_answer"] in shown


def _shown(action: Action) -> str:
    examples = {
        "id": "ans_1",
        "created": 0,
        "model": "m",
        "answer": "Paris",
        "decision": action,
        "reason": Reason.NON_ANSWER,
        "policy": {
            "name": "default",
            "answer_min": 0.8,
            "answer_min_after_retrieval": 0.8,
            "retrieve_min": 0,
            "groundedness_min": None,
        },
        "confidence": 1,
        "calibrated": False,
        "uncertainty": {
            "semantic_entropy": 0,
            "semantic_entropy_normalized": 0,
            "semantic_entropy_weighted": None,
            "predictive_entropy": None,
            "num_clusters": 1,
            "agreement": 1,
            "sample_coverage": 1,
            "refusal_fraction": 0,
        },
        "sampling": {"requested": 2, "completed": 2, "failed": 0, "truncated": 0, "seed": None},
        "cache": {"status": "miss", "age_s": 0, "ttl_s": 0},
        "stored": True,
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "degraded": [],
        "metadata": {},
    }
    missing = {name: None for name in AnswerResponse.model_fields if name not in examples and name != "object"}
    console = Console(width=120, force_terminal=True, color_system="truecolor", record=True)
    with console.capture() as captured:
        console.print(verdict(AnswerResponse.model_validate({**missing, **examples})))
    return captured.get()
