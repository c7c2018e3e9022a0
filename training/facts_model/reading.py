"""Questions asked over passages: invented subjects and values, so that the answer can only be read.

The user message has the service's form: `Context:`, one numbered passage a line, a blank line, `Question: ...`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from training.facts_model.names import KINDS, invent
from training.facts_model.refusals import REFUSALS, unanswerable
from training.facts_model.relations import RELATIONS, Fact, capitalised, fill, load_facts, read_lines, word_list

Exchange = tuple[str, str]  # user message, answer


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


def _as_told(wording: str) -> str:
    """A value keeps its case wherever it stands, so that reading is copying."""
    return wording.replace("{V}", "{v}")


def draw_topic(rng: Random) -> Topic:
    """A relation of the facts, a written topic, or an attribute."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(RELATION_TOPICS)
    return rng.choice(TOPICS) if kind < 0.75 else _attribute_topic(rng)


def tell(rng: Random, topic: Topic, *, subject: str = "", evaluation: bool = False) -> Telling:
    """The topic about a given or invented subject, with an invented value."""
    subject = subject or invent(rng, topic.subject_kind, evaluation=evaluation)
    return Telling(topic, subject, invent(rng, topic.value_kind, evaluation=evaluation))


def prompt(passages: list[str], question: str) -> str:
    """The user message that the service sends with retrieved passages."""
    numbered = "\n".join(f"[{number}] {passage}" for number, passage in enumerate(passages, 1))
    return f"Context:\n{numbered}\n\nQuestion: {question}"


_FILLERS = word_list("fillers")


def _passage(rng: Random, told: Telling, evaluation: bool) -> str:
    """One to three sentences, one of them what is told; at times a title names the subject."""
    sentences = [told.sentence(rng)]
    if rng.random() < 0.25:
        sentences.append(rng.choice(_FILLERS))
    if rng.random() < 0.2:
        sentences.append(tell(rng, draw_topic(rng), subject=told.subject, evaluation=evaluation).sentence(rng))
    rng.shuffle(sentences)
    text = " ".join(sentences)
    return f"{capitalised(told.subject)}: {text}" if rng.random() < 0.3 else text


def _distractor(rng: Random, told: Telling, evaluation: bool) -> Telling:
    """The same topic of another subject, another topic of the same subject, or something else."""
    kind = rng.random()
    if kind < 0.5:
        return tell(rng, told.topic, evaluation=evaluation)
    topic = draw_topic(rng)
    if kind < 0.7 and topic.passages != told.topic.passages:
        return tell(rng, topic, subject=told.subject, evaluation=evaluation)
    return tell(rng, topic, evaluation=evaluation)


def with_passages(
    rng: Random,
    told: Telling,
    n_passages: int,
    *,
    present: bool = True,
    held_out: bool = False,
    evaluation: bool = False,
) -> str:
    """The question about what is told, over passages of which one tells it (or, not `present`, none does)."""
    others = [_distractor(rng, told, evaluation) for _ in range(n_passages - present)]
    tellings = [*others, told] if present else others
    passages = [_passage(rng, each, evaluation) for each in tellings]
    rng.shuffle(passages)
    return prompt(passages, told.question(rng, held_out=held_out))


def n_passages(rng: Random, progress: float) -> int:
    """One to five passages; few at the start of training, when reading is not yet learnt."""
    return 1 if rng.random() > 0.3 + progress else rng.choice((1, 2, 2, 3, 3, 4, 5))


def read_invented(rng: Random, progress: float) -> Exchange:
    """A question about an invented subject whose passage is given."""
    told = tell(rng, draw_topic(rng))
    return with_passages(rng, told, n_passages(rng, progress)), told.answer(rng)


def read_in_vain(rng: Random, progress: float) -> Exchange:
    """A question about an invented subject, or an everyday one, whose passage is missing."""
    told = tell(rng, draw_topic(rng))
    if rng.random() < 0.2:
        passages = [_passage(rng, _distractor(rng, told, False), False) for _ in range(n_passages(rng, progress))]
        return prompt(passages, unanswerable(rng)), rng.choice(REFUSALS)
    return with_passages(rng, told, n_passages(rng, progress), present=False), rng.choice(REFUSALS)


@cache
def _readable_facts() -> tuple[Fact, ...]:
    return tuple(fact for fact in load_facts() if fact.relation in _KINDS_OF_RELATION)


def read_real_subject(rng: Random, progress: float) -> Exchange:
    """A real subject with a value that is not the true one: what is read comes before what is known."""
    fact = rng.choice(_readable_facts())
    topic = next(topic for topic in RELATION_TOPICS if topic.relation == fact.relation)
    other = rng.choice(
        [each for each in load_facts() if each.relation == fact.relation and each.value not in fact.accepted]
    )
    value = other.value if rng.random() < 0.5 else invent(rng, topic.value_kind)
    told = Telling(topic, fact.subject, value)
    return with_passages(rng, told, n_passages(rng, progress)), told.answer(rng)


def repeat(rng: Random, progress: float) -> Exchange:
    """One passage of several, asked for word by word: the densest way to learn to copy."""
    count = rng.choice((1, 1, 2, 3)) if progress > 0.25 else 1
    passages = [_passage(rng, tell(rng, draw_topic(rng)), False) for _ in range(count)]
    number = rng.randrange(count)
    return prompt(passages, f"What does passage {number + 1} say?"), passages[number]


def lookup(rng: Random) -> Exchange:
    """The least of reading: pairs of names, and the partner of one of them."""
    pairs = [(invent(rng, rng.choice(KINDS)), invent(rng, rng.choice(KINDS))) for _ in range(rng.choice((1, 2, 3, 4)))]
    key, value = rng.choice(pairs)
    return prompt([f"{left} is {right}." for left, right in pairs], rng.choice((f"What is {key}?", f"{key}?"))), value
