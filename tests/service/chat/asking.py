"""Scripted answers, and how the official client asks for them."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from demur.samplers.scripted import ScriptedAnswer
from demur.types import Sampling

MODEL = "scripted"
SCRIPT = {
    "sure": ["Paris", "Paris"],
    "8 of 10": ["Paris", *["Paris"] * 8, "Lyon", "Lyon"],
    "greedy is alone": ["Nice", "Paris"],
    "split": ["It is Paris", *["It is Paris", "Lyon"] * 5],
    "no idea": ["I don't know."],
    "with logprobs": [ScriptedAnswer("It is Paris", (-0.5, -0.1, -0.2))],
    "slow": ["It is Paris", ScriptedAnswer("Paris", delay_seconds=60)],
    "fails": [ScriptedAnswer(error="no answer today")],
    "long": [" ".join(["word"] * 2_000)],
}


def answers(question: str, sampling: Sampling) -> list[Any]:
    return SCRIPT.get(question.split("\n")[-1].removeprefix("Question: "), ["Lima"])


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def ask(client: OpenAI, question: str = "sure", **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": user(question), **fields})


def options(**fields: Any) -> dict[str, Any]:
    return {"extra_body": {"uncertainty": fields}}


def stream(client: OpenAI, question: str, **fields: Any) -> list[Any]:
    return list(ask(client, question, stream=True, **fields))


def content(chunks: list[Any], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)
