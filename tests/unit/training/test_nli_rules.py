"""The rules that make training pairs must not lie: a wrong label is learned as gladly as a right one."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.nli_model import captions, quantities, variations, words
from training.nli_model.judged import answer_pairs, plain_references, reference_pairs
from training.nli_model.names import Nearest, are_unlike, names_of, stranger_pairs
from training.nli_model.pairs import Judged, Label, Pair, is_for_calibration, is_held_out, normalized
from training.nli_model.quantities import Date

SEEDS = [
    variations.Seed("who wrote the book", "Ada Lovelace", "person"),
    variations.Seed("who won the race", "Hugo Grieg", "person"),
    variations.Seed("what is the metal", "copper", "thing"),
    variations.Seed("what is the tool", "hammer", "thing"),
    variations.Seed("where is the bridge", "Prague", "place"),
    variations.Seed("where is the tower", "Cairo", "place"),
]


def judged(answer: str, *, right: bool, question: str = "where is it", reference: str = "Paris") -> Judged:
    return Judged(question, (reference,), answer, right)


@pytest.mark.parametrize(
    ("number", "in_words"),
    [
        (0, "zero"),
        (12, "twelve"),
        (99, "ninety-nine"),
        (206, "two hundred and six"),
        (1000, "one thousand"),
        (1_500_000, "one million five hundred thousand"),
    ],
)
def test_numbers_in_words(number: int, in_words: str) -> None:
    """English words, with a hyphen in the tens and "and" before them."""
    assert quantities.in_words(number) == in_words


def test_a_round_number_is_spelled_with_its_scale() -> None:
    """1,500,000 is also 1.5 million."""
    assert {"1500000", "1,500,000", "1.5 million"} <= set(quantities.number_spellings(1_500_000))


@given(st.integers(1, 10**8), st.integers(0, 1000))
def test_a_near_number_is_another_number(number: int, seed: int) -> None:
    """Whatever digit is changed, the result never is the same number: it is labelled a contradiction."""
    assert quantities.near_number(number, Random(seed)) != number


@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_near_date_contradicts(seed: int, precision: int) -> None:
    """A date changed in one stated part entails the first in neither direction."""
    date = quantities.random_date(Random(seed), precision)
    near = quantities.near_date(date, Random(seed))
    assert not date.entails(near)
    assert not near.entails(date)


def test_a_more_precise_date_entails_the_less_precise_only() -> None:
    """1 October 1998 entails October 1998 and 1998; 1998 does not entail the day."""
    day, month, year = Date(1998, 10, 1), Date(1998, 10), Date(1998)
    assert day.entails(month)
    assert month.entails(year)
    assert not year.entails(day)


def test_siblings_that_share_a_word_are_only_called_not_entailed() -> None:
    """Two oceans are two answers, but a rule cannot be as sure as of two answers without a common word."""
    seeds = [variations.Seed("where is it", f"{name} Ocean", "place") for name in ("Pacific", "Atlantic")]
    labels = {p.label for p in variations.sibling_pairs(seeds, Random(0), rounds=20)}
    assert labels == {Label.NOT_ENTAILMENT}
    assert {p.label for p in variations.sibling_pairs(SEEDS, Random(0), rounds=5)} == {Label.CONTRADICTION}


def test_an_answer_within_another_is_no_sibling() -> None:
    """Real Madrid and Madrid may be one answer."""
    seeds = [variations.Seed("who won", name, "thing") for name in ("Madrid", "Real Madrid")]
    assert list(variations.sibling_pairs(seeds, Random(0), rounds=20)) == []


def test_a_family_member_is_listed_once() -> None:
    """Two members of a family are labelled as different, so no member may stand twice."""
    for question, members in words.FAMILIES.items():
        assert len({normalized(m) for m in members}) == len(members), question


def test_a_question_becomes_a_statement() -> None:
    """The answer takes the place of the question word where the form allows it."""
    assert variations.statements("who sang the song?", "Ann") == ["Ann sang the song.", "It was Ann who sang the song."]
    assert "The capital of France is Paris." in variations.statements("What is the capital of France?", "Paris")
    assert variations.statements("why is the sky blue", "scattering") == []


def test_a_wrong_answer_is_not_entailment_and_never_called_a_contradiction() -> None:
    """The judges said "not the same": the class between contradiction and neutral stays open."""
    pairs = list(reference_pairs([judged("Lyon", right=False)], Random(1)))
    assert {p.label for p in pairs} == {Label.NOT_ENTAILMENT}


def test_a_right_answer_entails_the_reference_but_is_not_entailed_with_an_extra_figure() -> None:
    """ "1992" does not entail "30 June 1992", though a person takes the second for right."""
    rows = [judged("30 June 1992", right=True, reference="1992")]
    pairs = [p for seed in range(20) for p in reference_pairs(rows, Random(seed))]
    assert {(p.premise, p.label) for p in pairs} == {("where is it 30 June 1992", Label.ENTAILMENT)}


def test_two_right_answers_entail_each_other_and_two_wrong_ones_are_left_out() -> None:
    """Nothing is known of two wrong answers: they may be the same mistake or two."""
    rows = [judged("Paris", right=True), judged("It is Paris.", right=True), judged("Lyon", right=False)]
    rows.append(judged("Nice", right=False))
    pairs = {(p.premise, p.hypothesis): p.label for p in answer_pairs(rows, Random(0), per_class=20)}
    assert pairs["where is it Paris", "where is it It is Paris."] is Label.ENTAILMENT
    assert pairs["where is it Lyon", "where is it Paris"] is Label.NOT_ENTAILMENT
    assert ("where is it Lyon", "where is it Nice") not in pairs


def test_all_answers_to_a_question_fall_on_one_side_of_the_split() -> None:
    """The side depends on the normalised question alone, and about an eighth of the questions are held out."""
    assert is_held_out("Who is it?") == is_held_out("who is it")
    held = sum(is_held_out(f"question number {i}") for i in range(2000))
    assert 180 <= held <= 300


def test_the_offset_is_chosen_on_questions_of_its_own() -> None:
    """No question is both reported on and chosen on; about one in seventeen is chosen on."""
    questions = [f"question number {i}" for i in range(2000)]
    assert not any(is_held_out(q) and is_for_calibration(q) for q in questions)
    assert 80 <= sum(map(is_for_calibration, questions)) <= 160


def test_odd_aliases_are_not_taken_for_references() -> None:
    """Aliases in other scripts or with brackets would teach nothing; the first stands if no other is left."""
    assert plain_references(["Duck", "Quack (sound)", "duck", "鴨"]) == ["duck"]
    assert plain_references(["鴨"]) == ["鴨"]


@pytest.mark.parametrize(
    ("name", "other", "unlike"),
    [
        ("Tuvalu", "Nauru", True),
        ("Boris Yeltsin", "Boris Gorbachev", True),
        ("Scarface", "Scarfield", False),  # may be one name misspelled
        ("Malmo", "Malmö", False),
        ("Madrid", "Real Madrid", False),
        ("Zachary Taylor", "Zachery Taylor", False),
    ],
)
def test_names_are_called_unlike_only_when_no_slip_explains_it(name: str, other: str, unlike: bool) -> None:
    """A wrong "different" teaches the model to part spellings of one name."""
    assert are_unlike(name, other) is unlike


def test_names_come_from_inside_the_sentences_of_naming_sources() -> None:
    """The first word of a sentence is capitalised whatever it is."""
    told = [
        Pair("Later he met Karl Vogt in Geneva.", "x", Label.NEUTRAL, "newprot_base"),
        Pair("Some saw Anna.", "x", Label.NEUTRAL, "joci"),
    ]
    assert names_of(told) == ["Karl Vogt", "Geneva"]


def test_a_stranger_is_itself_in_other_words_and_nobody_else() -> None:
    """The same name entails; another one never does."""
    names = ["Karl Vogt", "Karl Bohm", "Tuvalu", "Geneva"]
    for pair in stranger_pairs(SEEDS, names, Random(0), 100):
        said = [{n for n in names if normalized(n) in normalized(text)} for text in (pair.premise, pair.hypothesis)]
        if pair.label is Label.ENTAILMENT:
            assert len(said[0] | said[1]) <= 1  # none where a letter was dropped
        else:
            assert said[0].isdisjoint(said[1])


def test_near_answers_that_some_question_takes_for_one_are_no_rivals() -> None:
    """Whoever asks for the country accepts both names, so they are not told apart elsewhere."""
    rows = [Judged("which country", ("Burma", "Myanmar"), "Burma", True), Judged("where", ("Laos",), "Laos", True)]
    seeds = [variations.Seed("q", answer, "place") for answer in ("Burma", "Myanmar", "Laos")]
    nearest = Nearest(rows, seeds)
    nearest.nearest = {"Burma": ["Myanmar", "Laos"]}
    assert nearest.rivals("Burma") == ["Laos"]


CAPTION = "A man in a red hat is sitting on a bench in the park"


def test_a_caption_cut_before_its_last_words_still_tells_a_deed() -> None:
    """Without a verb the part would be no sentence."""
    assert captions.shortened(CAPTION) == "A man in a red hat is sitting on a bench"
    assert captions.shortened("A family with a dog") is None


def test_a_caption_is_widened_exchanged_and_restated() -> None:
    """The wider word follows, another of the same kind excludes it, and the deed is told of the subject."""
    rules = {rule: {made for seed in range(60) for made in rule(CAPTION, Random(seed))} for rule in captions.RULES}
    assert (CAPTION, CAPTION.replace("man", "person"), Label.ENTAILMENT) in rules[captions.widened]
    assert (CAPTION, CAPTION.replace("red", "blue"), Label.CONTRADICTION) in rules[captions.exchanged]
    assert (CAPTION, "The man is sitting", Label.ENTAILMENT) in rules[captions.restated]
    assert {label for _, _, label in rules[captions.added]} == {Label.NEUTRAL}
