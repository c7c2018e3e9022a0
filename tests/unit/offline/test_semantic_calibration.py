"""Whether raw agreement is a probability, for each way of prompting."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from demur.errors import DatasetUnreadable
from demur.evaluation.dataset import read_dataset
from demur.offline.semantic_calibration import StyledSampler, figures, measure_styles
from demur.samplers.scripted import ScriptedSampler
from demur.settings import NLISettings, Settings
from demur.types import Message, Sampling

pytestmark = pytest.mark.anyio


def test_a_model_that_is_as_often_right_as_it_agrees_is_calibrated() -> None:
    """4,000 simulated questions; one that is always sure and right two times in three is overconfident by a third."""
    chance = random.Random(0)
    shares = [chance.choice([0.2, 0.5, 0.8, 1.0]) for _ in range(4000)]
    honest = figures("concise", shares, [chance.random() < share for share in shares])
    assert honest.verdict.startswith("calibrated")
    sure = figures("concise", [1.0] * 300, [i % 3 > 0 for i in range(300)])
    assert sure.gap == pytest.approx(1 / 3)
    assert sure.verdict == "overconfident"
    assert figures("concise", [0.5] * 100, [True] * 100).verdict == "underconfident"


def test_too_few_answers_are_not_judged() -> None:
    few = figures("concise", [1.0] * 29, [True] * 29, n_refused=5)
    assert (few.smooth_ece, few.n_refused) == (None, 5)
    assert "29 answers are too few" in few.verdict


async def test_styles_ask_differently_and_keep_the_answer_alone() -> None:
    """The instruction follows the last question; of a reasoned reply the last answer is kept, others are whole."""
    seen: list[str] = []

    def script(question: str, _: Sampling) -> list[str]:
        seen.append(question)
        return ["First, Peru.\nanswer: Cusco? No.\nAnswer: Lima \nbye"]

    sampler = StyledSampler(ScriptedSampler(script))
    talk = [Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Capital of Peru?")]
    texts = {}
    for style in ("as_asked", "reasoned"):
        sampler.style = style  # type: ignore[assignment]
        texts[style] = {sample.text async for sample in sampler.sample(talk, Sampling(n=2))}
    assert seen[0] == "Capital of Peru?"
    assert seen[1].startswith("Capital of Peru?\n\nThink step by step.")
    assert texts["reasoned"] == {"Lima"}
    assert "First, Peru." in texts["as_asked"].pop()


def _data(tmp_path: Path, **fields: object) -> Path:
    rows = [{"id": f"q{i}", "prompt": f"Town {i}?", "references": [f"Town {i}"], **fields} for i in range(40)]
    path = tmp_path / "towns.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_recorded_answers_are_refused(tmp_path: Path) -> None:
    """Ten samples cannot tell."""
    dataset = read_dataset(_data(tmp_path, samples=["a", "b"]))
    with pytest.raises(DatasetUnreadable, match="drawn live"):
        await measure_styles(
            dataset, Settings(), "exact", ["concise"], n=50, max_tokens=16, seed=0, on_done=lambda _: None
        )


@pytest.mark.model
async def test_the_bundled_model_is_measured_live(tmp_path: Path) -> None:
    """Forty questions nobody can answer: refused or wrong, in each style, and every one of them counted."""
    dataset = read_dataset(_data(tmp_path))
    settings = Settings(nli=NLISettings(backend="exact"))
    done: list[int] = []
    model, (found,) = await measure_styles(
        dataset, settings, "exact", ["concise"], n=20, max_tokens=8, seed=0, on_done=done.append
    )
    assert model == "demur-facts"
    assert found.n + found.n_refused + found.n_failed == 40
    assert done == [40] * 40
