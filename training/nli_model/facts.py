"""Pairs from the facts model's facts in its training wordings: one fact reworded, wrong siblings, and passages that
hold the fact or do not. The wordings that it holds out are not used here either."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from training.facts_model.relations import RELATIONS, Fact, fill
from training.nli_model import words
from training.nli_model.pairs import Label, Pair, claim, normalized
from training.nli_model.variations import Seed, statements

KNOWN_SUBJECTS_ONLY = ("president_birth_year", "president_number", "event_year", "superlative", "planet_order")


def fact_pairs(facts: Sequence[Fact], rng: Random, rounds: int) -> Iterator[Pair]:
    """One value in two wordings entails both ways; another value of the relation contradicts; a refusal is neutral."""
    siblings = _siblings(facts)
    for fact in (f for f in facts for _ in range(rounds)):
        question, value = _asked(fact, rng), rng.choice([fact.value, rng.choice(siblings[fact.relation])])
        names = fact.accepted if value == fact.value else (value,)
        a, b = (_answer(fact, rng.choice(names), rng) for _ in range(2))
        yield Pair(claim(question, a), claim(question, b), Label.ENTAILMENT, "fact")
        other = rng.choice(siblings[fact.relation])
        if not _overlap(other, names):
            wrong = _answer(fact, other, rng)
            first, second = (a, wrong) if rng.random() < 0.5 else (wrong, a)
            yield Pair(claim(question, first), claim(question, second), Label.CONTRADICTION, "fact")
        if rng.random() < 0.1:
            yield Pair(claim(question, a), claim(question, rng.choice(words.UNKNOWN)), Label.NEUTRAL, "fact")


def passage_pairs(facts: Sequence[Fact], rng: Random, rounds: int) -> Iterator[Pair]:
    """Passages of one to five sentences against question and answer: with the fact, with another value, without it."""
    siblings = _siblings(facts)
    for fact in (f for f in facts for _ in range(rounds)):
        subject = fact.subject if rng.random() < 0.5 else _invented(fact, rng)
        told = replace(fact, subject=subject, value=rng.choice(siblings[fact.relation]))
        other = rng.choice(siblings[fact.relation])
        if _overlap(other, (told.value,)):
            continue
        around = [_around(fact, facts, siblings, rng) for _ in range(rng.randrange(0, 4))]
        right = claim(_asked(told, rng), _answer(told, told.value, rng))
        wrong = claim(_asked(told, rng), _answer(told, other, rng))
        holding = _passage([_stated(told, rng), *around], rng)
        yield Pair(holding, right, Label.ENTAILMENT, "passage")
        yield Pair(holding, wrong, Label.CONTRADICTION, "passage")
        without = around or [rng.choice(words.FILLERS)]
        if not any(subject in s for s in without):
            yield Pair(_passage(without, rng), right, Label.NEUTRAL, "passage")


def seed_passages(seeds: Sequence[Seed], rng: Random) -> Iterator[Pair]:
    """Passages around real questions' statements, by the same three cases."""
    for seed in seeds:
        told = statements(seed.question, seed.answer)
        rest = [s for s in (statements(x.question, x.answer) for x in rng.sample(list(seeds), 4)) if s]
        if not told or not rest:
            continue
        around, other = [s[0] for s in rest], rng.choice(seeds).answer
        ask = claim(seed.question, seed.answer)
        yield Pair(_passage([told[0], *around], rng), ask, Label.ENTAILMENT, "passage_question")
        yield Pair(_passage(around, rng), ask, Label.NEUTRAL, "passage_question")
        if not _overlap(other, (seed.answer,)):
            yield Pair(
                _passage([told[0], *around], rng), claim(seed.question, other), Label.NOT_ENTAILMENT, "passage_question"
            )


def _siblings(facts: Sequence[Fact]) -> dict[str, list[str]]:
    return {relation: [f.value for f in facts if f.relation == relation] for relation in {f.relation for f in facts}}


def _asked(fact: Fact, rng: Random) -> str:
    return rng.choice(RELATIONS[fact.relation].questions(fact.subject))


def _stated(fact: Fact, rng: Random) -> str:
    return fill(rng.choice(RELATIONS[fact.relation].passage_wordings), fact.subject, fact.value)


def _answer(fact: Fact, value: str, rng: Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        return value
    return (
        rng.choice(RELATIONS[fact.relation].answers(fact.subject, value))
        if kind < 0.85
        else rng.choice(words.WRAPPERS).format(a=value)
    )


def _invented(fact: Fact, rng: Random) -> str:
    """A subject nobody knows, so that only the passage can tell."""
    if fact.relation in KNOWN_SUBJECTS_ONLY:
        return fact.subject
    return "".join(rng.choice(words.SYLLABLES) for _ in range(rng.randrange(2, 4))).capitalize()


def _around(fact: Fact, facts: Sequence[Fact], siblings: dict[str, list[str]], rng: Random) -> str:
    """A sentence that does not tell this fact: filler, or a fact about another subject, often of the same relation."""
    other = rng.choice(facts)
    if rng.random() < 0.4:
        return rng.choice(words.FILLERS)
    if rng.random() < 0.5:
        other = replace(fact, subject=_invented(fact, rng), value=rng.choice(siblings[fact.relation]))
    return _stated(other, rng) if other.subject != fact.subject else rng.choice(words.FILLERS)


def _passage(sentences: Sequence[str], rng: Random) -> str:
    return " ".join(rng.sample(list(sentences), len(sentences)))


def _overlap(value: str, names: Sequence[str]) -> bool:
    own = {*normalized(value).split()}
    return any(own & {*normalized(name).split()} for name in names)
