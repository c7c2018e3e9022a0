"""Questions asked over passages: invented subjects and values, so that the answer can only be read.

The user message has the service's form: `Context:`, one numbered passage a line, a blank line, `Question: ...`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TypeVar

from training.facts_model.names import KINDS, invent, is_for_evaluation
from training.facts_model.refusals import REFUSALS
from training.facts_model.relations import RELATIONS, Fact, capitalised, fill, load_facts, read_lines, word_list

Exchange = tuple[str, str]  # user message, answer
Dialogue = tuple[Exchange, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that passages tell: `kinds` of subject and of value, wordings as in Relation."""

    subject_kind: str
    value_kind: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    passages: tuple[str, ...]
    held_out_questions: tuple[str, ...] = ()
    relation: str = ""


_KINDS_OF_RELATION = {
    "capital": ("place", "place"), "currency": ("place", "thing"), "language": ("place", "place"),
    "continent": ("place", "place"), "element_symbol": ("thing", "code"), "element_number": ("thing", "number"),
    "state_capital": ("place", "place"), "book_author": ("title", "person"), "composer": ("title", "person"),
    "city_country": ("place", "place"), "river": ("place", "place"), "landmark_city": ("title", "place"),
    "inventor": ("thing", "person"), "president_birth_year": ("person", "year"), "chemical_formula": ("thing", "code"),
    "roman_god": ("place", "place"), "animal_young": ("thing", "thing"),
}  # fmt: skip

ALIKE = 0.65  # share of distractors in training that tell the same of another subject: these are what is hard
_SHORT = ("{V}", "{V}", "{V}.", "{V}.", "It is {v}.", "The answer is {v}.")


def _from_relation(name: str) -> Topic:
    relation = RELATIONS[name]
    subject_kind, value_kind = _KINDS_OF_RELATION[name]
    questions, held_out = relation.question_wordings, relation.held_out_question_wordings
    answers, passages = relation.answer_wordings, relation.passage_wordings
    return Topic(subject_kind, value_kind, questions, answers, passages, held_out, name)


def _topic(line: str) -> Topic:
    kinds, questions, answers, passages = (part.split("/") for part in line.split("|"))
    return Topic(kinds[0], kinds[1], tuple(questions), (*_SHORT, *answers), tuple(passages))


_ATTRIBUTES = word_list("attributes")

TOPICS: tuple[Topic, ...] = tuple(_topic(line) for line in read_lines("reading_topics.txt"))
RELATION_TOPICS: tuple[Topic, ...] = tuple(_from_relation(name) for name in _KINDS_OF_RELATION)


def _attribute_topic(rng: Random) -> Topic:
    name = rng.choice(_ATTRIBUTES)
    questions = (
        f"What is the {name} of {{s}}?",
        f"Which {name} does {{s}} have?",
        f"Name the {name} of {{s}}.",
        f"{name.capitalize()} of {{s}}?",
    )
    answers = (*_SHORT, f"The {name} of {{s}} is {{v}}.", f"The {name} is {{v}}.")
    passages = (
        f"The {name} of {{s}} is {{v}}.",
        f"{{S}} has {{v}} as its {name}.",
        f"For {{s}}, the {name} is {{v}}.",
        f"{{V}} is the {name} of {{s}}.",
    )
    return Topic(
        rng.choice(("person", "place", "thing", "title", "code")), rng.choice(KINDS), questions, answers, passages
    )


@dataclass(frozen=True, slots=True)
class Telling:
    """One thing told: a topic, its subject and its value."""

    topic: Topic
    subject: str
    value: str

    def sentence(self, rng: Random) -> str:
        return fill(_as_told(rng.choice(self.topic.passages)), self.subject, self.value)

    def question(self, rng: Random, *, held_out: bool = False) -> str:
        return fill(rng.choice(self.topic.held_out_questions if held_out else self.topic.questions), self.subject)

    def answer(self, rng: Random) -> str:
        wordings = self.topic.answers if rng.random() < 0.5 else self.topic.answers[:2]
        return fill(_as_told(rng.choice(wordings)), self.subject, self.value)


Aside = Callable[[Random, Sequence[Telling]], Exchange]


def _as_told(wording: str) -> str:
    """A value keeps its case wherever it stands, so that reading is copying."""
    return wording.replace("{V}", "{v}")


@cache
def _words_of(topic: Topic) -> frozenset[str]:
    """The words that a topic is asked about and told with, but for the short ones."""
    wordings = (*topic.questions, *topic.held_out_questions, *topic.passages)
    return frozenset(word for wording in wordings for word in re.findall(r"\b[a-z]{4,}", wording.casefold()))


@cache
def _common_words() -> frozenset[str]:
    counts = Counter(word for topic in (*RELATION_TOPICS, *TOPICS) for word in _words_of(topic))
    return frozenset(word for word, count in counts.items() if count > 4)


def _confusable(topic: Topic, other: Topic) -> bool:
    """Whether a sentence of one may answer a question of the other, as with a state's capital and a country's."""
    shared_words = (_words_of(topic) & _words_of(other)) - _common_words()
    return bool(shared_words) or not set(topic.passages).isdisjoint(other.passages)


def _tell_more(rng: Random, subject: str, told: Iterable[Telling], evaluation: bool) -> Telling:
    """Something more about the subject, that answers no question about what is `told` of it."""
    topics = {each.topic for each in told if each.subject == subject}
    while True:
        other = draw_topic(rng)
        if not any(_confusable(topic, other) for topic in topics):
            return tell(rng, other, subject=subject, evaluation=evaluation)


def draw_topic(rng: Random) -> Topic:
    """A relation of the facts, a written topic, or an attribute."""
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(RELATION_TOPICS)
    return rng.choice(TOPICS) if kind < 0.85 else _attribute_topic(rng)


def tell(rng: Random, topic: Topic, *, subject: str = "", evaluation: bool = False) -> Telling:
    """The topic about a given or invented subject, with an invented value."""
    subject = subject or invent(rng, topic.subject_kind, evaluation=evaluation)
    return Telling(topic, subject, invent(rng, topic.value_kind, evaluation=evaluation))


def prompt(passages: list[str], question: str) -> str:
    """The user message that the service sends with retrieved passages."""
    numbered = "\n".join(f"[{number}] {passage}" for number, passage in enumerate(passages, 1))
    return f"Context:\n{numbered}\n\nQuestion: {question}"


_FILLERS = word_list("fillers")


def _passages(rng: Random, tellings: Sequence[Telling], evaluation: bool = False) -> list[str]:
    """One for each, in any order."""
    return [_passage(rng, each, tellings, evaluation) for each in _shuffled(rng, tellings)]


def _passage(rng: Random, told: Telling, all_told: Iterable[Telling], evaluation: bool) -> str:
    """One to three sentences, one of them what is told; at times a title names the subject."""
    sentences = [told.sentence(rng)]
    if rng.random() < 0.25:
        sentences.append(rng.choice(_FILLERS))
    if rng.random() < 0.2:
        sentences.append(_tell_more(rng, told.subject, all_told, evaluation).sentence(rng))
    rng.shuffle(sentences)
    text = " ".join(sentences)
    return f"{capitalised(told.subject)}: {text}" if rng.random() < 0.3 else text


def _distractor(rng: Random, told: Sequence[Telling], evaluation: bool, alike: float) -> Telling:
    """The same topic as the first, of another subject; another topic of its subject; or something else."""
    kind = rng.random()
    if kind < alike:
        return tell(rng, told[0].topic, evaluation=evaluation)
    if kind < alike + 0.2:
        return _tell_more(rng, told[0].subject, told, evaluation)
    return tell(rng, draw_topic(rng), evaluation=evaluation)


def _beside(rng: Random, told: Telling, n: int, *, evaluation: bool = False, alike: float) -> list[Telling]:
    """The telling, and n distractors."""
    tellings = [told]
    for _ in range(n):
        tellings.append(_distractor(rng, tellings, evaluation, alike))
    return tellings


def with_passages(
    rng: Random,
    told: Telling,
    n_passages: int,
    *,
    present: bool = True,
    held_out: bool = False,
    evaluation: bool = False,
    alike: float = 0.5,
) -> str:
    """The question about what is told, over passages of which one tells it (or, not `present`, none does)."""
    tellings = _beside(rng, told, n_passages - present, evaluation=evaluation, alike=alike)
    shown = tellings if present else tellings[1:]
    passages = [_passage(rng, each, tellings, evaluation) for each in _shuffled(rng, shown)]
    return prompt(passages, told.question(rng, held_out=held_out))


def _asked_over(passages: list[str], exchanges: list[Exchange]) -> Dialogue:
    """The passages once, before the first of the questions."""
    (first, answer), *others = exchanges
    return ((prompt(passages, first), answer), *others)


def read(rng: Random, told: Telling, n_passages: int, aside: Aside | None = None) -> Dialogue:
    """Questions about each of some passages in any order, and `aside`, which the passages do not help with."""
    tellings = _beside(rng, told, n_passages - 1, alike=ALIKE)
    exchanges = [(each.question(rng), each.answer(rng)) for each in tellings]
    asides = [aside(rng, tellings)] if aside else []
    return _asked_over(_passages(rng, tellings), _shuffled(rng, [*exchanges, *asides]))


def read_one(rng: Random, told: Telling, n_passages: int) -> Dialogue:
    """One question about what one of the passages tells, as the service asks."""
    return ((with_passages(rng, told, n_passages, alike=ALIKE), told.answer(rng)),)


def read_plain(rng: Random) -> Dialogue:
    """A sentence about each of some subjects; the answers are bare values. All are asked about, half of the time."""
    told = invented(rng)
    tellings = _beside(rng, told, rng.randint(1, 4), alike=ALIKE)
    if rng.random() < 0.5:
        tellings = _in_single_words(rng, tellings)
    exchanges = [(each.question(rng), each.value) for each in tellings]
    asked = _shuffled(rng, exchanges) if rng.random() < 0.5 else exchanges[:1]
    return _asked_over([each.sentence(rng) for each in _shuffled(rng, tellings)], asked)


def _in_single_words(rng: Random, tellings: list[Telling]) -> list[Telling]:
    """The same tellings with short names for subjects and values."""
    words = _words(rng, len(tellings))
    subjects = dict(zip((each.subject for each in tellings), (subject for subject, _ in words), strict=True))
    return [Telling(each.topic, subjects[each.subject], word) for each, (_, word) in zip(tellings, words, strict=True)]


def read_in_vain(rng: Random, told: Telling, n_passages: int) -> Dialogue:
    """One question that no passage answers."""
    return ((with_passages(rng, told, n_passages, present=False), rng.choice(REFUSALS)),)


def read_beside(rng: Random, aside: Exchange, n_passages: int) -> Dialogue:
    """A question that is answered as it would be without the passages."""
    question, answer = aside
    return ((prompt(_passages(rng, [invented(rng) for _ in range(n_passages)]), question), answer),)


def _shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    return rng.sample(items, len(items))


def invented(rng: Random) -> Telling:
    """Something about an invented subject."""
    return tell(rng, draw_topic(rng))


@cache
def _readable_facts() -> tuple[Fact, ...]:
    return tuple(fact for fact in load_facts() if fact.relation in _KINDS_OF_RELATION)


def untrue(rng: Random) -> Telling:
    """A real subject with a value that is not the true one: what is read comes before what is known."""
    fact = rng.choice(_readable_facts())
    topic = next(topic for topic in RELATION_TOPICS if topic.relation == fact.relation)
    other = rng.choice(
        [each for each in load_facts() if each.relation == fact.relation and each.value not in fact.accepted]
    )
    return Telling(topic, fact.subject, other.value if rng.random() < 0.5 else invent(rng, topic.value_kind))


def not_told(rng: Random, told: Sequence[Telling]) -> Exchange:
    """A question close to the first thing told, that no passage answers."""
    return _distractor(rng, told, False, 0.5).question(rng), rng.choice(REFUSALS)


def look_up(rng: Random) -> Dialogue:
    """The least of reading: pairs of names, and the partner of each."""
    pairs, name = _pairs(rng, rng.choice((2, 3, 4, 5, 6, 8))), rng.choice(_ATTRIBUTES)
    passage, asked = rng.choice(
        (("{a} is {b}.", "What is {a}?"), ("{a} is {b}.", "What is {a}?"),
         (f"The {name} of {{a}} is {{b}}.", f"What is the {name} of {{a}}?"),
         (f"{{a}} has {{b}} as its {name}.", f"Which {name} does {{a}} have?"),
         (f"{{b}} is the {name} of {{a}}.", f"Name the {name} of {{a}}."))
    )  # fmt: skip
    exchanges = [((asked if rng.random() < 0.5 else "{a}?").format(a=a), b) for a, b in pairs]
    exchanges = _shuffled(rng, exchanges)
    asked_about = len(pairs) if rng.random() < 0.15 else 1
    return _asked_over([passage.format(a=a, b=b) for a, b in pairs], exchanges[:asked_about])


_SINGLE_WORDS = tuple(
    sorted(
        word.capitalize()
        for word in {*word_list("words"), *word_list("given names"), *word_list("family names")}
        if not is_for_evaluation(word)
    )
)


def _pairs(rng: Random, count: int) -> list[tuple[str, str]]:
    """Short names that differ, a third of the time, else names of any two kinds."""
    if rng.random() < 0.33:
        return _words(rng, count)
    left, right = rng.choice(KINDS), rng.choice(KINDS)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        pairs[invent(rng, left)] = invent(rng, right if rng.random() < 0.75 else rng.choice(KINDS))
    return list(pairs.items())


def _words(rng: Random, count: int) -> list[tuple[str, str]]:
    words = rng.sample(_SINGLE_WORDS, 2 * count)
    return list(zip(words[:count], words[count:], strict=True))
