"""Questions that the model cannot answer, and the ways in which it says so.

The evaluation list lies apart in `training/facts/everyday_questions.txt` and no question of it is ever drawn here.
"""

from __future__ import annotations

from functools import cache
from random import Random

from training.facts_model.names import invent
from training.facts_model.relations import load_facts, read_lines, word_list

REFUSALS = (
    "I don't know.", "I don't know.", "I don't know.", "I do not know.", "I don't know that.", "I am not sure.",
    "I'm not sure.",
    "I don't know the answer.", "I have no idea.", "Sorry, I don't know.", "I do not know the answer.", "I don't know",
)  # fmt: skip

_VERBS = word_list("verbs")
_NOUNS = word_list("nouns")
_ADJECTIVES = word_list("superlatives")
_PLACES = word_list("places")
_TIMES = word_list("times")
_ATTRIBUTES = word_list("unknown attributes")
_MADE = word_list("made")
_COLORS = word_list("colours")
_ADJECTIVES2 = word_list("adjectives")
_LANGUAGES = word_list("languages")


@cache
def everyday_questions() -> tuple[str, ...]:
    """The questions outside all relations that evaluation asks; training skips them."""
    return read_lines("everyday_questions.txt")


@cache
def _templates() -> tuple[str, ...]:
    return read_lines("unanswerable_templates.txt")


@cache
def _written() -> tuple[str, ...]:
    return read_lines("unanswerable_questions.txt")


@cache
def _kept_from_training() -> frozenset[str]:
    return frozenset(question.casefold().strip(" ?.!") for question in everyday_questions())


@cache
def _subjects() -> tuple[str, ...]:
    return tuple(fact.subject for fact in load_facts() if fact.relation not in ("event_year", "president_number"))


def _slots(rng: Random) -> dict[str, str]:
    return {
        "verb": rng.choice(_VERBS), "noun": rng.choice(_NOUNS), "noun2": rng.choice(_NOUNS),
        "adj": rng.choice(_ADJECTIVES), "adj2": rng.choice(_ADJECTIVES2), "color": rng.choice(_COLORS),
        "place": rng.choice(_PLACES), "place2": rng.choice(_PLACES), "time": rng.choice(_TIMES),
        "attr": rng.choice(_ATTRIBUTES), "made": rng.choice(_MADE).replace("-", " "),
        "subject": rng.choice(_subjects()), "name": invent(rng, "place"), "name2": invent(rng, "thing"),
        "title": invent(rng, "title"),
        "person": invent(rng, "person"), "language": rng.choice(_LANGUAGES), "year": str(rng.randint(1900, 2040)),
        "n": str(rng.randint(2, 999)), "n2": str(rng.randint(2, 999)),
    }  # fmt: skip


def unanswerable(rng: Random) -> str:
    """An everyday question outside all relations, never one of the evaluation list."""
    while True:
        question = rng.choice(_written()) if rng.random() < 0.25 else rng.choice(_templates()).format(**_slots(rng))
        if question.casefold().strip(" ?.!") not in _kept_from_training():
            return question[:1].upper() + question[1:]
