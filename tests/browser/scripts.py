"""What the scripted model answers to the questions of the browser tests."""

from __future__ import annotations

import math

from demur.errors import BackendError
from demur.samplers.scripted import ScriptedAnswer
from demur.types import Sampling

PAYLOAD = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><b id=bold>\'"`${1}</b>'


def _sure(text: str, *probabilities: float, delay_seconds: float = 0.0) -> ScriptedAnswer:
    return ScriptedAnswer(text, tuple(map(math.log, probabilities)), delay_seconds)


_ANSWERS: dict[str, list[ScriptedAnswer | str]] = {
    "sure": [_sure("It is Paris", 0.9, 0.4, 0.8), *[_sure("It is Paris", 0.9, 0.4, 0.8)] * 9, _sure("Lyon", 0.1)],
    "8 of 10": ["Paris", *["Paris"] * 8, "Lyon", "Lyon"],
    "split": ["Paris", *["Paris", "Lyon"] * 5],
    "all differ": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
    "no idea": ["I don't know.", "I don't know.", "I'm not sure.", "I do not know"],
    "greedy is alone": ["Nice", "Paris"],
    "one by one": [
        "Paris",
        *[ScriptedAnswer("Lyon" if i % 3 == 2 else "Paris", delay_seconds=0.3 * i) for i in range(10)],
    ],
    "never": [ScriptedAnswer("Paris", delay_seconds=600)],
    "What's \"Perú\" called, $HOME? \\ 'q'": ["Peru"],
    PAYLOAD: [PAYLOAD, PAYLOAD, f"{PAYLOAD} and more"],
}


def script(prompt: str, _: Sampling) -> list[ScriptedAnswer | str]:
    """Passages in front of the question change nothing."""
    question = prompt.rpartition("\nQuestion: ")[2]
    if question not in _ANSWERS:
        raise BackendError(f"the script has no answer to {question!r}")
    return _ANSWERS[question]
