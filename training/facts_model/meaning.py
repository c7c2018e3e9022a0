"""Which meaning an answer has, by rule: the value is read out of the known answer wordings and aliases are one meaning.

Quick and exact for the facts model's own sentences; the service compares meanings with its NLI model instead.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from functools import cache

from training.facts_model.relations import RELATIONS, Fact, load_facts

REFUSAL = "<refusal>"
_REFUSES = re.compile(r"\b(don't know|do not know|not sure|no idea|does not say|do not say)\b", re.IGNORECASE)
_GENERAL = (
    "{v}",
    "It is {v}.",
    "It's {v}.",
    "The answer is {v}.",
    "In {v}.",
    "A {v}.",
    "It is a {v}.",
    "It is in {v}.",
)


def normalised(text: str) -> str:
    """Lower case, no article in front, no punctuation around, single spaces."""
    text = " ".join(text.casefold().split()).strip(string.punctuation.replace("+", "") + " ")
    return re.sub(r"^(the|a|an) ", "", text)


@cache
def _patterns(wordings: tuple[str, ...], subject: str) -> tuple[re.Pattern[str], ...]:
    """The wordings with most text of their own first: the first that fits is the one that was meant."""
    most_telling_first = sorted(
        {*wordings, *_GENERAL}, key=lambda wording: (-len(re.sub(r"{.}", "", wording)), wording)
    )
    return tuple(_pattern(wording, subject) for wording in most_telling_first)


def _pattern(wording: str, subject: str) -> re.Pattern[str]:
    before, after = re.split(r"{[vV]}", wording.rstrip("."))
    own = [re.escape(part.format(s=subject, S=subject)) for part in (before, after)]
    return re.compile(rf"{own[0]}(?P<value>.+){own[1]}\.?", re.IGNORECASE)


def value_of(answer: str, wordings: tuple[str, ...], subject: str) -> str:
    """The value that an answer gives, normalised: what is left when the wording that fits it is taken away."""
    for pattern in _patterns(wordings, subject):
        if match := pattern.fullmatch(answer.strip()):
            return normalised(match["value"])
    return normalised(answer)


@cache
def _canonical(relation: str, subject: str) -> dict[str, str]:
    """The value that each form names for this subject; other forms only where they name just one."""
    own = {
        normalised(form): normalised(fact.value)
        for fact in _facts(relation)
        if fact.subject == subject
        for form in fact.accepted
    }
    return _unambiguous(relation) | own


@cache
def _unambiguous(relation: str) -> dict[str, str]:
    values: dict[str, set[str]] = {}
    for fact in _facts(relation):
        for form in fact.accepted:
            values.setdefault(normalised(form), set()).add(normalised(fact.value))
    return {form: value for form, (value, *others) in values.items() if not others}


def _facts(relation: str) -> Iterable[Fact]:
    return (fact for fact in load_facts() if fact.relation == relation)


def meaning(answer: str, subject: str = "", relation: str = "", wordings: tuple[str, ...] = ()) -> str:
    """A name for the answer's meaning: equal names, equal meanings; every refusal is one meaning."""
    if _REFUSES.search(answer):
        return REFUSAL
    if not relation:
        return value_of(answer, wordings, subject)
    known = RELATIONS[relation]
    value = value_of(answer, known.answer_wordings + known.held_out_answer_wordings, subject)
    return _canonical(relation, subject).get(value, value)
