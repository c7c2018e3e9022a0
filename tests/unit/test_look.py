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
from tests.service.running import serving

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


@pytest.fixture(scope="module")
def response() -> AnswerResponse:
    with serving({"q": ["Paris"]}) as service:
        return AnswerResponse.model_validate(service.ask().json())


@pytest.mark.parametrize("action", Action)
def test_the_terminal_shows_the_same(response: AnswerResponse, action: Action) -> None:
    """Its icon, word and colour, and the reason in the page's words."""
    console = Console(width=120, force_terminal=True, color_system="truecolor")
    with console.capture() as captured:
        console.print(verdict(response.model_copy(update={"decision": action, "reason": Reason.NON_ANSWER})))
    shown, face = captured.get(), FACES[action]
    red, green, blue = (int(face.colour[i : i + 2], 16) for i in (1, 3, 5))
    assert f"{face.icon} {face.word}" in re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert f"38;2;{red};{green};{blue}" in shown
    assert WORDS["reasons"]["non_answer"] in shown
