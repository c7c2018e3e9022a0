"""A model is asked how sure it is, and another one whether an answer is right."""

from __future__ import annotations

import pytest

from demur.errors import BackendError
from demur.offline.llm_grader import LLMGrader
from demur.offline.replies import reply
from demur.offline.stated import ask_confidence, read_confidence
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler

pytestmark = pytest.mark.anyio


def _always(text: str) -> ScriptedSampler:
    return ScriptedSampler(lambda question, sampling: [text, "something else"])


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("85", 0.85),
        ("85%", 0.85),
        ("I am 90 % sure, not 10.", 0.9),
        ("0.7", 0.7),
        ("1", 0.01),
        ("1.0", 1.0),
        ("0.5%", 0.005),
        ("100", 1.0),
        ("0", 0.0),
        ("Confidence: 62.5", 0.625),
        ("101", None),
        ("very sure", None),
        ("", None),
        ("v2", None),
    ],
)
def test_the_first_number_is_what_it_states(text: str, stated: float | None) -> None:
    """Of 100; of 1 where it is written as a share."""
    assert read_confidence(text) == stated


async def test_it_is_asked_about_somebodys_answer() -> None:
    """In one conversation of its own, which holds question and answer; the T=0 reply counts."""
    sampler, seen = _always("75"), []
    sampler._answers = lambda question, sampling: seen.append(question) or ["75", "5"]  # type: ignore[func-returns-value]
    assert await ask_confidence(sampler, "Capital of Peru?", "Lima") == (0.75, 1)
    (prompt,) = seen
    assert "Capital of Peru?" in prompt
    assert "Proposed answer: Lima" in prompt
    assert sampler.n_running == 0


async def test_without_a_greedy_reply_another_one_counts() -> None:
    """Some servers have no T=0."""
    sampler = ScriptedSampler({"q": [ScriptedAnswer(error="none"), "40"]})
    assert (await reply(sampler, "q", max_tokens=8)).text == "40"


@pytest.mark.parametrize(
    ("said", "is_right"),
    [
        ("yes", True),
        ("No.", False),
        ("It says no such thing, but means it: yes", True),
        ("Yes? On reflection: NO", False),
    ],
)
async def test_the_judge_has_the_last_word(said: str, is_right: bool) -> None:
    """Yes or no, at the end of whatever it thinks."""
    grader = LLMGrader(_always(said))
    assert await grader.is_correct("Capital?", "The city of Lima", ["Lima"]) is is_right
    assert grader.name == "llm (scripted)"


async def test_what_is_plain_is_not_asked() -> None:
    """A refusal is wrong, the reference itself is right; both without a call."""
    sampler = _always("no")
    assert await LLMGrader(sampler).is_correct("Capital?", "lima.", ["Lima"])
    assert not await LLMGrader(sampler).is_correct("Capital?", "I don't know.", ["Lima"])
    assert sampler.n_started == 0


async def test_a_judge_that_does_not_answer_is_an_error() -> None:
    """Rather than a verdict."""
    with pytest.raises(BackendError, match="neither yes nor no"):
        await LLMGrader(_always("Perhaps")).is_correct("Capital?", "The city of Lima", ["Lima"])
