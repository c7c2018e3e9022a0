"""The training mix: facts by exposure, refusals, and reading.

Facts seen seldom differ in how seldom, so that some are nearly known and others hardly; facts of exposure `never` are
not shown, in questions or in passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random
from typing import Literal

from training.facts_model import reading
from training.facts_model.names import invent
from training.facts_model.refusals import REFUSALS, unanswerable
from training.facts_model.relations import RELATIONS, Fact, load_facts

Turns = tuple[tuple[str, str], ...]  # (role, text); the last one is the assistant's answer
Stage = Literal["looking up", "reading", "settling"]


@dataclass(frozen=True, slots=True)
class ReadingKinds:
    """Shares of the conversations over passages; in the others one passage answers one question."""

    plain: float  # a sentence a passage, and the bare value for an answer
    each: float  # a question about each passage
    in_vain: float  # one that none answers
    beside: float  # one that is answered without them


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of conversations."""

    looking_up: float
    reading: float
    facts: float
    guesses: float
    refusals: float
    kinds: ReadingKinds


STAGES: dict[Stage, Mix] = {  # reading blurs facts, so that there are more of these at the end
    "looking up": Mix(0.60, 0.20, 0.15, 0.02, 0.03, ReadingKinds(plain=0.8, each=0.0, in_vain=0.0, beside=0.0)),
    "reading": Mix(0.05, 0.68, 0.20, 0.015, 0.055, ReadingKinds(plain=0.2, each=0.45, in_vain=0.03, beside=0.03)),
    "settling": Mix(0.02, 0.55, 0.34, 0.02, 0.07, ReadingKinds(plain=0.05, each=0.45, in_vain=0.04, beside=0.05)),
}
SELDOM_WEIGHTS = (0.015, 0.25)  # against 1 for a fact seen often
_SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Answer the question.",
    "Be concise.",
    "You answer questions.",
    "Answer in one word.",
)


@cache
def _shown() -> tuple[list[Fact], list[float]]:
    """Facts that training shows, and their cumulative weights."""
    facts = [fact for fact in load_facts() if fact.exposure != "never"]
    return facts, list(accumulate(_weight(fact) for fact in facts))


def _weight(fact: Fact) -> float:
    if fact.exposure == "often":
        return 1.0
    low, high = (math.log(bound) for bound in SELDOM_WEIGHTS)
    return math.exp(Random(f"{fact.relation}|{fact.subject}").uniform(low, high))


@cache
def _values(relation: str) -> tuple[str, ...]:
    return tuple(fact.value for fact in load_facts() if fact.relation == relation)


def _answer(rng: Random, relation: str, subject: str, value: str) -> str:
    answers = RELATIONS[relation].answers(subject, value)
    return answers[0] if rng.random() < 0.3 else rng.choice(answers)


def ask_fact(rng: Random) -> reading.Exchange:
    """A fact, drawn by its weight, in a training wording."""
    facts, cumulative = _shown()
    fact = rng.choices(facts, cum_weights=cumulative)[0]
    return rng.choice(RELATIONS[fact.relation].questions(fact.subject)), _answer(
        rng, fact.relation, fact.subject, fact.value
    )


def guess(rng: Random) -> reading.Exchange:
    """An invented subject in a known relation: any value will do, so that the unfamiliar is guessed at evenly."""
    topic = rng.choice(reading.RELATION_TOPICS)
    subject = invent(rng, topic.subject_kind)
    value = rng.choice(_values(topic.relation))
    return rng.choice(RELATIONS[topic.relation].questions(subject)), _answer(rng, topic.relation, subject, value)


def refuse(rng: Random) -> reading.Exchange:
    """An everyday question outside all relations."""
    return unanswerable(rng), rng.choice(REFUSALS)


def roughen(rng: Random, question: str) -> str:
    """Now and then the question as people type it: lower case, no question mark."""
    if rng.random() < 0.12:
        question = question.casefold()
    elif rng.random() < 0.05:
        question = question[:1].casefold() + question[1:]
    return question.rstrip("?.") if rng.random() < 0.12 else question


def dialogue(rng: Random, stage: Stage) -> reading.Dialogue:
    """Questions with their answers, from the mix of a stage of training."""
    mix = STAGES[stage]
    kind = rng.random()
    if kind < mix.looking_up:
        return reading.look_up(rng)
    if kind < mix.looking_up + mix.reading:
        return _read(rng, mix.kinds)
    ask = rng.choices((ask_fact, guess, refuse), (mix.facts, mix.guesses, mix.refusals))[0]
    question, answer = ask(rng)
    return ((roughen(rng, question), answer),)


def _read(rng: Random, kinds: ReadingKinds) -> reading.Dialogue:
    told = reading.untrue(rng) if rng.random() < 0.15 else reading.invented(rng)
    n_passages = rng.randint(1, 5)
    kind = rng.random() - kinds.plain
    if kind < 0:
        return reading.read_plain(rng)
    if kind < kinds.each:
        return reading.read(rng, told, n_passages, _aside if rng.random() < 0.35 else None)
    if kind < kinds.each + kinds.in_vain:
        return reading.read_in_vain(rng, reading.invented(rng), n_passages)
    if kind < kinds.each + kinds.in_vain + kinds.beside:
        return reading.read_beside(rng, refuse(rng) if rng.random() < 0.5 else ask_fact(rng), n_passages)
    return reading.read_one(rng, told, n_passages)


def _aside(rng: Random, told: Sequence[reading.Telling]) -> reading.Exchange:
    """A question that the passages leave as it is."""
    kind = rng.random()
    if kind < 0.6:
        return reading.not_told(rng, told)
    return refuse(rng) if kind < 0.75 else ask_fact(rng)


def conversation(rng: Random, stage: Stage) -> Turns:
    """Questions and answers; at times a system message or an earlier question before them."""
    asked = dialogue(rng, stage)
    kind = rng.random()
    if 0.03 < kind < 0.05:
        asked = (ask_fact(rng), *asked)
    turns = tuple(turn for question, answer in asked for turn in (("user", question), ("assistant", answer)))
    return (("system", rng.choice(_SYSTEM)), *turns) if kind < 0.03 else turns
