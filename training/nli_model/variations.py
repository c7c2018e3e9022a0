"""Rule-made pairs of short answers: other wordings, siblings, names, hedges, denials, lists, misspellings."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from training.nli_model import words
from training.nli_model.judged import plain_references
from training.nli_model.pairs import Judged, Label, Pair, claim, normalized

SIBLINGS_LOOKED_AT = 60
_KINDS = (
    ("number", re.compile(r"\bhow (many|much|old|long|far|tall|fast)\b")),
    ("date", re.compile(r"\b(when|what year|which year|what date|what month)\b")),
    ("person", re.compile(r"\b(who|whose|which (actor|actress|singer|author|king|president|artist))\b")),
    ("place", re.compile(r"\b(where|which (country|city|state|island)|what (country|city|state|island))\b")),
)  # fmt: skip
_STATEMENTS = (
    (
        re.compile(r"(?:who|what|which) (?P<be>is|was|are|were) (?P<rest>the .+|his .+|her .+)"),
        ("{Rest} {be} {a}.", "{a} {be} {rest}."),
    ),
    (re.compile(r"(?:what|which) \w+ (?P<be>is|was) (?P<rest>.+)"), ("{a} {be} {rest}.",)),
    (
        re.compile(r"when (?P<be>is|was|were) (?P<rest>.+ \w+(?:ed|born|built|made|won|written|held))"),
        ("{Rest} {a}.", "It {be} {a}."),
    ),
    (
        re.compile(r"where (?P<be>is|was|are) (?P<rest>.+?)(?: located| found)?"),
        ("{Rest} {be} in {a}.", "It {be} in {a}."),
    ),
    (
        re.compile(r"who (?P<rest>(?!is|was|are|were|did|does|do|has|had|will|can)\w+s? .+)"),
        ("{a} {rest}.", "It was {a} who {rest}."),
    ),
    (
        re.compile(r"(?:which|what) \w+ (?P<rest>\w+(?:ed|s|won|wrote|has|had) .+)"),
        ("{a} {rest}.", "It was {a} that {rest}."),
    ),
)


@dataclass(frozen=True, slots=True)
class Seed:
    """A question with its answer and the kind of thing the answer is."""

    question: str
    answer: str
    kind: str


def seeds_of(rows: Sequence[Judged]) -> list[Seed]:
    """One seed a question, with its first plain reference."""
    first = {row.question: plain_references(row.references)[0] for row in rows}
    return [Seed(question, answer, kind_of(question)) for question, answer in first.items()]


def kind_of(question: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.search(question.lower())), "thing")


def worded(question: str, answer: str, rng: Random) -> str:
    """The same answer in a sentence: one made from the question where its form allows, or a usual wrapping."""
    sentences = statements(question, answer)
    if sentences and rng.random() < 0.6:
        return rng.choice(sentences)
    return rng.choice(words.WRAPPERS).format(a=answer)


def statements(question: str, answer: str) -> list[str]:
    """Declarative sentences that answer the question, by the first form that matches; none if no form does."""
    asked = question.strip().rstrip("?.! ")
    for pattern, forms in _STATEMENTS:
        match = pattern.fullmatch(asked[:1].lower() + asked[1:])
        if match:
            parts = {"be": "is", **match.groupdict()}
            rest = parts["rest"]
            return [
                form.format(a=answer, be=parts["be"], rest=rest, Rest=rest[:1].upper() + rest[1:]) for form in forms
            ]
    return []


def wording_pairs(seeds: Sequence[Seed], rng: Random, rounds: int) -> Iterator[Pair]:
    """A bare answer against itself in a sentence and with other articles, case and plurals: the same both ways."""
    for seed in (s for s in seeds for _ in range(rounds)):
        premise = rng.choice([seed.answer, worded(seed.question, seed.answer, rng)])
        hypothesis = rng.choice([worded(seed.question, seed.answer, rng), respelled(seed.answer, seed.kind, rng)])
        if rng.random() < 0.5:
            premise, hypothesis = hypothesis, premise
        yield Pair(claim(seed.question, premise), claim(seed.question, hypothesis), Label.ENTAILMENT, "wording")


def respelled(answer: str, kind: str, rng: Random) -> str:
    """The same answer with another article, case, plural or a slip of the pen."""
    forms = [
        answer.lower(),
        answer.title(),
        f"{answer}.",
        f'"{answer}"',
        f"the {answer}" if not answer.lower().startswith("the ") else answer[4:],
    ]
    if kind == "thing" and " " not in answer and answer.isalpha():
        forms.append(answer[:-1] if answer.endswith("s") else f"{answer}s")
    if kind in ("thing", "person", "place") and len(answer) > 6 and not any(c.isdigit() for c in answer):
        forms += [misspelled(answer, rng)] * 3
    return rng.choice(forms)


def misspelled(answer: str, rng: Random) -> str:
    """One letter dropped, doubled or swapped with the next, inside a word."""
    at = rng.randrange(2, len(answer) - 2)
    if not answer[at - 1 : at + 2].isalpha():
        return answer
    return rng.choice([
        answer[:at] + answer[at + 1 :],
        answer[:at] + answer[at] + answer[at:],
        answer[:at] + answer[at + 1] + answer[at] + answer[at + 2 :],
    ])  # fmt: skip


def sibling_pairs(seeds: Sequence[Seed], rng: Random, rounds: int) -> Iterator[Pair]:
    """An answer against another question's answer of the same kind, each bare or in a sentence: a contradiction.

    A third of them share a word where one can be found, as "Pacific Ocean" and "Atlantic Ocean"; those are only called
    not entailed. One that holds all words of the other may mean the same and is left out.
    """
    by_kind = {kind: [s.answer for s in seeds if s.kind == kind] for kind in {s.kind for s in seeds}}
    for seed in (s for s in seeds for _ in range(rounds)):
        other = _sibling(seed.answer, by_kind[seed.kind], rng)
        if contains_all(other, seed.answer) or contains_all(seed.answer, other):
            continue
        label = Label.NOT_ENTAILMENT if share_a_word(other, seed.answer) else Label.CONTRADICTION
        first, second = dressed(seed.question, seed.answer, rng), dressed(seed.question, other, rng)
        yield Pair(*either_way(claim(seed.question, first), claim(seed.question, second), rng), label, "sibling")


def _sibling(answer: str, others: Sequence[str], rng: Random) -> str:
    drawn = rng.choices(others, k=SIBLINGS_LOOKED_AT if rng.random() < 1 / 3 else 1)
    return next((other for other in drawn if share_a_word(other, answer) and other != answer), drawn[0])


def family_pairs(seeds: Sequence[Seed], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Members of a family of common words: the same member in two wordings, and two members, under any question."""
    things = [s.question for s in seeds if s.kind in ("thing", "place")]
    for _ in range(n_rounds):
        question, members = rng.choice(list(words.FAMILIES.items()))
        question = question if rng.random() < 0.5 else rng.choice(things)
        a, b = rng.sample(members, 2)
        same = rng.choice([worded(question, a, rng), respelled(a, "thing", rng)])
        yield Pair(*either_way(claim(question, a), claim(question, same), rng), Label.ENTAILMENT, "family")
        first, second = dressed(question, a, rng), dressed(question, b, rng)
        if not share_a_word(a, b):
            yield Pair(claim(question, first), claim(question, second), Label.CONTRADICTION, "family")
        elif len(a) < len(b) or not contains_all(a, b):  # "kinetic energy" may give "energy"; not the other way
            yield Pair(claim(question, first), claim(question, second), Label.NOT_ENTAILMENT, "family")


def alias_pairs(seeds: Sequence[Seed], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Two names of one thing entail each other; names of two things contradict."""
    questions = [s.question for s in seeds if s.kind in ("thing", "place")]
    for _ in range(n_rounds):
        question = rng.choice(questions)
        group, other = rng.sample(words.ALIASES, 2)
        a, b = rng.sample(group, 2)
        yield Pair(
            claim(question, dressed(question, a, rng)),
            claim(question, dressed(question, b, rng)),
            Label.ENTAILMENT,
            "alias",
        )
        if not {*group} & {*other} and "New York" not in group + other:
            wrong = rng.choice(other)
            yield Pair(claim(question, dressed(question, a, rng)), claim(question, wrong), Label.CONTRADICTION, "alias")


def name_pairs(seeds: Sequence[Seed], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Persons: full name, surname, initials, titles are one; another first name or surname is another person."""
    questions = [s.question for s in seeds if s.kind == "person"]
    for _ in range(n_rounds):
        asked = rng.choice(
            [rng.choice(words.PERSON_QUESTIONS).format(y=rng.randrange(1900, 2026)), rng.choice(questions)]
        )
        first, other_first, middle = rng.sample(words.FIRST_NAMES, 3)
        last, other_last = rng.sample(words.LAST_NAMES, 2)
        a, b = (dressed(asked, name, rng) for name in rng.sample(_name_forms(first, middle, last), 2))
        other = rng.choice(
            [
                f"{other_first} {last}",
                f"{first} {other_last}",
                f"{first} {other_last}",
                f"{other_first} {other_last}",
                other_last,
            ]
        )
        yield Pair(claim(asked, a), claim(asked, b), Label.ENTAILMENT, "name")
        full = f"{first} {last}" if other.endswith(last) else a
        yield Pair(
            *either_way(claim(asked, full), claim(asked, dressed(asked, other, rng)), rng),
            Label.CONTRADICTION,
            "name",
        )


def _name_forms(first: str, middle: str, last: str) -> list[str]:
    usual = f"{first} {last}"
    titled = f"{words.TITLES[len(last) % len(words.TITLES)]} {usual}"
    shortened = [f"{first} {middle[0]}. {last}", f"{first[0]}. {last}"]
    return [usual, usual, last, f"{first} {middle} {last}", *shortened, f"{last}, {first}", titled, usual.lower()]


def hedge_pairs(seeds: Sequence[Seed], rng: Random, rounds: int) -> Iterator[Pair]:
    """Denials contradict, the denial of something else follows but does not answer, "I don't know" says nothing."""
    answers = {kind: [s.answer for s in seeds if s.kind == kind] for kind in {s.kind for s in seeds}}
    for seed in (s for s in seeds for _ in range(rounds)):
        ask, stated, other = seed.question, dressed(seed.question, seed.answer, rng), rng.choice(answers[seed.kind])
        denial, unknown = rng.choice(words.DENIALS).format(a=seed.answer), rng.choice(words.UNKNOWN)
        yield Pair(*either_way(claim(ask, stated), claim(ask, denial), rng), Label.CONTRADICTION, "denial")
        yield Pair(*either_way(claim(ask, stated), claim(ask, unknown), rng), Label.NEUTRAL, "unknown")
        if rng.random() < 0.3:
            yield Pair(claim(ask, unknown), claim(ask, rng.choice(words.UNKNOWN)), Label.ENTAILMENT, "unknown")
        if not share_a_word(other, seed.answer) and rng.random() < 0.5:
            other_denial = rng.choice(words.DENIALS).format(a=other)
            yield Pair(claim(ask, stated), claim(ask, other_denial), Label.ENTAILMENT, "denial")
            yield Pair(claim(ask, other_denial), claim(ask, stated), Label.NEUTRAL, "denial")


def list_pairs(seeds: Sequence[Seed], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Several answers at once: order does not matter, a part follows from the whole, not the whole from a part."""
    for _ in range(n_rounds):
        question = rng.choice(seeds).question
        a, b, c = rng.sample(rng.choice(list(words.FAMILIES.values())), 3)
        both, turned = f"{a} and {b}", rng.choice([f"{b} and {a}", f"{b}, {a}", f"{b} & {a}"])
        for premise, hypothesis, label in (
            (both, turned, Label.ENTAILMENT), (both, a, Label.ENTAILMENT), (a, both, Label.NEUTRAL),
            (f"{a} or {b}", rng.choice([a, b]), Label.NEUTRAL), (both, f"{a} and {c}", Label.CONTRADICTION),
        ):  # fmt: skip
            if not share_a_word(a, b) and not share_a_word(b, c):
                yield Pair(claim(question, premise), claim(question, hypothesis), label, "list")


def place_pairs(rng: Random, n_rounds: int) -> Iterator[Pair]:
    """A place with its country is the place; the country alone says less; the same region elsewhere is another."""
    cities, countries = words.FAMILIES["What is the capital?"], words.FAMILIES["Which country is it?"]
    for _ in range(n_rounds):
        question = rng.choice(
            (
                "Where was he born?",
                "where is it located",
                "Where did it take place?",
                "In which city was it held?",
                "Where do they live?",
            )
        )
        (city, other), country = rng.sample(cities, 2), rng.choice(countries)
        full = f"{city}, {country}"
        for premise, hypothesis, label in (
            (full, city, Label.ENTAILMENT), (city, full, Label.ENTAILMENT), (full, country, Label.ENTAILMENT),
            (country, full, Label.NEUTRAL), (full, f"{other}, {country}", Label.CONTRADICTION),
        ):  # fmt: skip
            yield Pair(claim(question, premise), claim(question, dressed(question, hypothesis, rng)), label, "place")


def yes_no_pairs(seeds: Sequence[Seed], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Yes is yes in any wording, and not no."""
    for _ in range(n_rounds):
        question = rng.choice(words.YES_NO_QUESTIONS).format(a=rng.choice(seeds).answer, b=rng.choice(seeds).answer)
        (yes, agreed), (no, denied) = rng.sample(words.YES, 2), rng.sample(words.NO, 2)
        yield Pair(claim(question, yes), claim(question, agreed), Label.ENTAILMENT, "yes_no")
        yield Pair(claim(question, no), claim(question, denied), Label.ENTAILMENT, "yes_no")
        yield Pair(*either_way(claim(question, yes), claim(question, no), rng), Label.CONTRADICTION, "yes_no")
        yield Pair(
            *either_way(claim(question, yes), claim(question, rng.choice(words.UNKNOWN)), rng), Label.NEUTRAL, "yes_no"
        )


def dressed(question: str, answer: str, rng: Random) -> str:
    return answer if rng.random() < 0.55 else worded(question, answer, rng)


def either_way(first: str, second: str, rng: Random) -> tuple[str, str]:
    return (first, second) if rng.random() < 0.5 else (second, first)


def contains_all(longer: str, shorter: str) -> bool:
    return {*normalized(shorter).split()} <= {*normalized(longer).split()}


def share_a_word(a: str, b: str) -> bool:
    return bool({*normalized(a).split()} & {*normalized(b).split()})
