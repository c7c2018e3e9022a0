"""The facts, their wordings and the training mix: what the recipe promises about its data, checked without training."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise, product
from random import Random

import pytest

from training.facts_model import reading
from training.facts_model.corpus import STAGES, conversation, roughen
from training.facts_model.meaning import REFUSAL, meaning, normalised
from training.facts_model.names import KINDS, invent, is_for_evaluation
from training.facts_model.refusals import REFUSALS, everyday_questions, unanswerable
from training.facts_model.relations import RELATIONS, Fact, load_facts
from training.facts_model.wordings import FAMOUS

FACTS = load_facts()
N_OF_A_STAGE = 2000


@pytest.fixture(scope="module")
def corpus() -> list[tuple[tuple[str, str], ...]]:
    """A sample of the training corpus from each of its stages."""
    return [conversation(Random(f"test|{stage}|{index}"), stage) for stage in STAGES for index in range(N_OF_A_STAGE)]


def _fact(relation: str, subject: str) -> Fact:
    return next(fact for fact in FACTS if (fact.relation, fact.subject) == (relation, subject))


def test_there_are_enough_facts_and_each_names_its_source() -> None:
    """At least 1,500 facts over at least 10 relations, none twice, none without subject, value or source."""
    assert len(FACTS) >= 1500
    assert len(RELATIONS) >= 10
    assert len({(fact.relation, fact.subject) for fact in FACTS}) == len(FACTS)
    assert all(fact.subject and fact.value and fact.source for fact in FACTS)


def test_exposure_is_forty_thirty_thirty_and_stable() -> None:
    """The shares hold within one percent overall, and a known assignment stays what it is."""
    counts = Counter(fact.exposure for fact in FACTS)
    assert abs(counts["often"] / len(FACTS) - 0.4) < 0.01
    assert abs(counts["seldom"] / len(FACTS) - 0.3) < 0.01
    assert abs(counts["never"] / len(FACTS) - 0.3) < 0.01
    assert load_facts() == FACTS


@pytest.mark.parametrize(
    ("relation", "subject", "value"),
    [
        ("capital", "France", "Paris"), ("capital", "Japan", "Tokyo"), ("element_symbol", "gold",
         "Au"), ("state_capital", "Texas", "Austin"),
        ("book_author", "Hamlet", "William Shakespeare"), ("superlative", "largest planet in the solar system",
         "Jupiter"),
        ("element_number", "uranium", "92"), ("president_number", "sixteenth", "Abraham Lincoln"), ("event_year",
         "World War II end", "1945"),
    ],
)  # fmt: skip
def test_what_a_newcomer_asks_first_is_true_and_seen_often(relation: str, subject: str, value: str) -> None:
    """Famous facts hold the value that every encyclopaedia gives and belong to the often-seen."""
    fact = _fact(relation, subject)
    assert (fact.value, fact.exposure) == (value, "often")


def test_every_famous_subject_exists_and_is_seen_often() -> None:
    """A famous subject that is misspelt would silently lose its place."""
    for relation, subjects in FAMOUS.items():
        assert {_fact(relation, subject).exposure for subject in subjects} == {"often"}


@pytest.mark.parametrize("name", RELATIONS)
def test_each_relation_has_wordings_for_training_and_others_held_out(name: str) -> None:
    """Five questions and five answers at least, and held-out ones that are not among them."""
    relation = RELATIONS[name]
    assert len(set(relation.question_wordings)) >= 5
    assert len(set(relation.answer_wordings)) >= 5
    assert relation.held_out_question_wordings
    assert relation.held_out_answer_wordings
    assert not set(relation.question_wordings) & set(relation.held_out_question_wordings)
    assert not set(relation.answer_wordings) & set(relation.held_out_answer_wordings)


def test_questions_and_answers_read_as_written_by_people() -> None:
    """A subject that starts a sentence gets its capital; a value inside one keeps its case."""
    assert "The United States uses the US dollar." in RELATIONS["currency"].answers("the United States", "US dollar")
    assert "What is the capital of France?" in RELATIONS["capital"].questions("France")
    assert "Which city is France's capital?" in RELATIONS["capital"].questions("France", held_out=True)


def test_every_wording_of_every_fact_has_the_meaning_of_its_value() -> None:
    """The rule that the report compares meanings by reads the value out of all answer wordings."""
    for fact, held_out in product(FACTS, (False, True)):
        for answer in RELATIONS[fact.relation].answers(fact.subject, fact.value, held_out=held_out):
            assert meaning(answer, fact.subject, fact.relation) == normalised(fact.value), answer


def test_meaning_joins_aliases_and_refusals_and_parts_the_rest() -> None:
    """`Shakespeare` is William Shakespeare, every refusal is one meaning, and Lyon is not Paris."""
    assert meaning("Shakespeare", "Hamlet", "book_author") == meaning(
        "Hamlet was written by William Shakespeare.", "Hamlet", "book_author"
    )
    assert {meaning(text, "France", "capital") for text in REFUSALS} == {REFUSAL}
    assert meaning("Lyon", "France", "capital") != meaning("Paris", "France", "capital")


def test_an_alias_shared_by_several_values_names_the_value_of_the_subject_asked_about() -> None:
    """`dollar` is Australian for Australia and Canadian for Canada; elsewhere it stays what was said."""
    assert meaning("The dollar.", "Australia", "currency") == meaning("Australian dollar", "Australia", "currency")
    assert meaning("dollar", "Canada", "currency") == meaning("The Canadian dollar", "Canada", "currency")
    assert meaning("dollar", "Australia", "currency") != meaning("Canadian dollar", "Australia", "currency")
    assert meaning("dollar", "France", "currency") == "dollar"


def test_a_wrong_value_is_one_meaning_in_each_of_its_forms() -> None:
    """An alias that only one value has is that value, whichever subject was asked about."""
    assert meaning("Shakespeare", "Pride and Prejudice", "book_author") == "william shakespeare"


def test_facts_of_exposure_never_are_nowhere_in_training(corpus: list[tuple[tuple[str, str], ...]]) -> None:
    """No question about a `never` fact, over passages or not, is answered with its value."""
    asked = {question.casefold().rstrip("?."): fact for fact in FACTS if fact.exposure == "never"
             for question in RELATIONS[fact.relation].questions(fact.subject)}  # fmt: skip
    met = 0
    for turns in corpus:
        for (_, question), (_, answer) in pairwise(turns):
            fact = asked.get(question.rsplit("Question: ", 1)[-1].casefold().rstrip("?."))
            if fact:
                met += 1
                assert normalised(meaning(answer, fact.subject, fact.relation)) not in {
                    normalised(form) for form in fact.accepted
                }
    assert met > 10, "the sample must hold `never` subjects in passages, with other values, or it shows nothing"


def test_evaluation_names_and_questions_are_kept_from_training(corpus: list[tuple[tuple[str, str], ...]]) -> None:
    """300 everyday questions, none of them trained on; names drawn for training are never evaluation names."""
    everyday = {question.casefold().strip(" ?.!") for question in everyday_questions()}
    assert len(everyday) == 300
    assert not everyday & {
        text.rsplit("Question: ", 1)[-1].casefold().strip(" ?.!") for turns in corpus for _, text in turns
    }
    rng = Random(1)
    for kind in KINDS:
        assert not any(is_for_evaluation(invent(rng, kind)) for _ in range(100))
        assert all(
            name.isdigit() or is_for_evaluation(name)
            for name in (invent(rng, kind, evaluation=True) for _ in range(100))
        )


def test_everyday_questions_ask_nothing_that_the_facts_answer() -> None:
    """No everyday question is a wording of a fact."""
    answerable = {question.casefold() for fact in FACTS for held_out in (False, True)
                  for question in RELATIONS[fact.relation].questions(fact.subject, held_out=held_out)}  # fmt: skip
    assert not [question for question in everyday_questions() if question.casefold() in answerable]
    rng = Random(2)
    assert not [question for question in (unanswerable(rng) for _ in range(3000)) if question.casefold() in answerable]


def test_passages_have_the_form_that_the_service_sends() -> None:
    """`Context:`, numbered passages a line each, a blank line, the question; the value stands in them iff present."""
    assert reading.prompt(["one", "two"], "Who?") == "Context:\n[1] one\n[2] two\n\nQuestion: Who?"
    rng = Random(3)
    for n_passages, present in product((1, 2, 5), (True, False)):
        told = reading.tell(rng, reading.RELATION_TOPICS[0], evaluation=True)
        text = reading.with_passages(rng, told, n_passages, present=present, evaluation=True)
        assert text.startswith("Context:\n[1] ")
        assert text.count("\n[") == n_passages
        assert (told.value in text) == present


def test_nothing_else_in_the_context_answers_the_question() -> None:
    """Of a place whose capital is asked for, no passage tells the capital of the state, or a second capital."""
    rng, topic = Random(3), next(topic for topic in reading.RELATION_TOPICS if topic.relation == "capital")
    told = reading.Telling(topic, "Wendor", "Maltby")
    for _ in range(500):
        passages = reading.with_passages(rng, told, 5).rpartition("\n\n")[0]
        sentences = [s for s in re.split(r"(?<=\.) |\n|: ", passages) if "Wendor" in s and "Maltby" not in s]
        assert not [s for s in sentences if "capital" in s or "governed" in s]


def test_the_corpus_is_the_same_every_time() -> None:
    """Seed and index decide a conversation, so that a resumed run sees what an unbroken one would."""
    for stage in STAGES:
        assert [conversation(Random("7|5"), stage) for _ in range(3)] == [conversation(Random("7|5"), stage)] * 3
        assert conversation(Random("7|5"), stage) != conversation(Random("7|6"), stage)


def test_questions_are_roughened_as_people_type_them() -> None:
    """Case and closing mark vary, words do not."""
    rng = Random(4)
    forms = {roughen(rng, "What is the capital of France?") for _ in range(300)}
    assert {"what is the capital of france?", "What is the capital of France", "what is the capital of france"} <= forms
    assert {form.casefold().rstrip("?") for form in forms} == {"what is the capital of france"}
