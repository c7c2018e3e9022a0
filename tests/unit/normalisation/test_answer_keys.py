"""Which answers are surely the same, and which surely are not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.normalisation.answer_keys import NON_ANSWER, answer_key, answer_keys, certainly_different

SAME = [
    [
        "Paris",
        "paris",
        " Paris. ",
        '"Paris"',
        "“Paris”",
        "**Paris**",
        "Paris!",
        "The answer is Paris.",
        "Answer: Paris",
    ],
    ["1,000", "1000", "1000.0", "one thousand", "It is 1,000.", "The answer is 1000", "1e3", "１０００", "10^3", "10³"],
    ["$5", "5 dollars", "$5.00", "5$", "five dollars"],
    ["12 km", "12km", "12 kilometres", "twelve kilometers", "12,000 m", "12 ㎞"],
    [
        "1 October 1998",
        "October 1, 1998",
        "1998-10-01",
        "1st of October 1998",
        "Oct. 1, 1998",
        "the 1st of October, 1998",
    ],
    ["50%", "50 percent", "50 per cent", "50 %", "fifty percent"],
    ["1.5 million", "1,500,000", "1500000"],
    ["3½", "3 1/2", "3.5", "three and a half"],
    ["90 minutes", "1 hour 30 minutes", "1 hour and 30 minutes", "1.5 hours"],
    ["60 mph", "60 miles per hour", "60 miles/hour"],
    ["9 cm²", "9 square centimeters", "9 cm^2", "9 sq cm"],
    ["12 Angry Men", "Twelve Angry Men"],
    ["H₂O", "H2O"],
    ["10²", "100"],
    ["October 1998", "Oct 1998"],
    ["1 October", "October 1st"],
    ["-5", "−5", "minus five"],
    ["2010–2012", "2010-2012"],
    ["5 years old", "5 years"],
    ["I don't know.", "Unknown", "", "...", "N/A", "I'm not sure"],
]

DIFFERENT = [
    ["10²", "102"],
    ["3.14", "3,14", "314"],
    ["12 km", "12 miles", "12"],
    ["1998", "1 October 1998", "October 1998", "1 October", "5 May 1998"],
    ["01/02/1998", "1 February 1998", "2 January 1998"],
    ["10 mW", "10 MW", "10 mw"],
    ["5 Mb", "5 MB", "5 mb"],
    ["5 m", "5 M", "5m"],
    ["5!", "5", "120"],
    ["n!", "n"],
    ["007", "7"],
    ["6/8", "3/4"],
    ["C", "C#", "C++"],
    ["log₂8", "log28"],
    ["x²", "x2"],
    ["½5", "1/25"],
    ["1990s", "1990", "1990 seconds"],
    ["5G", "5 g", "5"],
    ["100 200 300", "100200300"],
    ["- 5", "-5"],
    ["(350)", "350"],
    ["5 or more", "5 or less", "5"],
    ["5 US dollars", "5 dollars"],
    ["$5", "€5", "£5", "5 cents"],
    ["44 BC", "44"],
    ["$350$", "$350"],
    ["Unknown Pleasures", "Unknown"],
    ["twenty twenty", "40", "2020"],
]

CERTAINLY_DIFFERENT = [
    ("140", "150"),
    ("12 km", "13 km"),
    ("12 km", "12 miles"),
    ("$5", "6 dollars"),
    ("$5", "€5"),
    ("140", "150 minutes"),
    ("1 October 1998", "5 May 1998"),
    ("October 1998", "1 November 1998"),
    ("12 angry men", "11 angry men"),
    ("90 minutes", "1 hour"),
    ("Paris", "I don't know"),
    ("1998", "1999"),
    ("1990", "1988"),
    ("10 mW", "10 MW"),
    ("-5", "5"),
]

LEFT_TO_THE_MODEL = [
    ("Paris", "Lyon"),
    ("1998", "1 October 1998"),
    ("October 1998", "1 October 1998"),
    ("3.3", "3.33"),
    ("8.8 million", "8,804,190"),
    ("1/3", "0.33"),
    ("140", "140 minutes"),
    ("140", "2 hours and 20 minutes"),
    ("0.5", "50%"),
    ("5", "5 or more"),
    ("12 miles", "19.3 km"),
    ("5 pounds", "£5"),
    ("1 month", "30 days"),
    ("3.14", "3,14"),
    ("350", "Rachel should spend $350"),
]


@pytest.mark.parametrize("texts", SAME, ids=lambda texts: texts[0])
def test_wordings_of_one_value_have_one_key(texts: list[str]) -> None:
    """Everything in a row means the same, so no model needs to be asked."""
    assert len({answer_key(text) for text in texts}) == 1


@pytest.mark.parametrize("texts", DIFFERENT, ids=lambda texts: texts[0])
def test_different_meanings_have_different_keys(texts: list[str]) -> None:
    """A rule that merged any two of a row would answer a different question."""
    assert len({answer_key(text) for text in texts}) == len(texts)


def test_rows_of_different_values_never_share_a_key() -> None:
    """The rows of equal wordings are all about different things."""
    assert len({answer_key(row[0]) for row in SAME}) == len(SAME)


@pytest.mark.parametrize(("a", "b"), CERTAINLY_DIFFERENT)
def test_two_values_of_one_kind_are_told_apart_without_a_model(a: str, b: str) -> None:
    """Small NLI models are poor at numbers; the rule needs none."""
    assert certainly_different(answer_key(a), answer_key(b))
    assert certainly_different(answer_key(b), answer_key(a))


@pytest.mark.parametrize(("a", "b"), LEFT_TO_THE_MODEL)
def test_what_the_rules_cannot_decide_is_left_open(a: str, b: str) -> None:
    """Neither the same key nor certainly different: the entailment model is asked."""
    assert answer_key(a) != answer_key(b)
    assert not certainly_different(answer_key(a), answer_key(b))
    assert not certainly_different(answer_key(b), answer_key(a))


def test_a_bare_number_takes_the_one_unit_it_carries_elsewhere() -> None:
    """Measured on 7,719 maths questions: AUROC .830 with this rule, .826 without it."""
    bare, minutes, other = answer_keys(["140", "140 minutes", "150"])
    assert bare == minutes != other
    assert other.unit == ""


def test_a_bare_number_stays_bare_beside_two_units() -> None:
    """ "12" may be either of "12 km" and "12 miles", and is made neither."""
    assert len(set(answer_keys(["12", "12 km", "12 miles"]))) == 3


def test_a_bare_number_does_not_take_what_was_merely_counted() -> None:
    """ "5" is not "5 or more"."""
    assert len(set(answer_keys(["5", "5 or more"]))) == 2


@given(st.permutations(["140", "140 minutes", "2 hours 20 minutes", "150", "12 km", "Paris", "unknown"]))
def test_keys_do_not_depend_on_the_order_of_answers(texts: list[str]) -> None:
    """Each text keeps its key wherever it stands."""
    expected = dict(zip(sorted(texts), answer_keys(sorted(texts)), strict=True))
    assert dict(zip(texts, answer_keys(texts), strict=True)) == expected


@given(st.text(max_size=60))
def test_any_text_has_a_key_that_is_not_different_from_itself(text: str) -> None:
    """Arbitrary Unicode neither raises nor contradicts itself."""
    key = answer_key(text)
    assert key == answer_key(text)
    assert not certainly_different(key, key)


@given(st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x24F), min_size=2, max_size=20))
def test_space_case_and_a_full_stop_change_nothing(word: str) -> None:
    """The differences that samples of one answer have most."""
    assert answer_key(f"  {word}. ") == answer_key(word)
    assert answer_key(word.casefold()) == answer_key(word)


@given(st.integers(-(10**12), 10**12))
def test_every_way_to_write_an_integer_has_one_key(number: int) -> None:
    """Grouped, decimal and with full-width digits."""
    wide = str(number).translate({ord("0") + d: ord("０") + d for d in range(10)})
    keys = {answer_key(text) for text in (str(number), f"{number:,}", f"{number}.0", f"{number}.", wide)}
    assert len(keys) == 1


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_integers_share_a_key_exactly_when_they_are_equal(a: int, b: int) -> None:
    """Canonical numbers are exact: no float rounds one into another."""
    assert (answer_key(f"{a:,}") == answer_key(str(b))) == (a == b)


@given(st.text("0123456789.,/^²½ kmhKMW$%-", min_size=1, max_size=12), st.text("0123456789 kmM$%", max_size=8))
def test_certain_difference_is_symmetric(a: str, b: str) -> None:
    """Clustering may ask in either direction."""
    one, other = answer_key(a), answer_key(b)
    assert certainly_different(one, other) == certainly_different(other, one)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "1," * 20_000, "²" * 20_000, "\ud800", "½" * 9, "1/0", "1e99", "5 " + "m" * 90]
)
def test_hostile_text_is_merely_text(text: str) -> None:
    """Nothing overflows, divides by zero or takes long."""
    assert answer_key(text).kind in ("text", "number")


def test_all_non_answers_share_the_reserved_key() -> None:
    """Refusals are one meaning, and never any other."""
    texts = ["I don't know", "N/A", "", "?!", "I cannot answer this question."]
    assert {answer_key(text) for text in texts} == {NON_ANSWER}
    assert certainly_different(NON_ANSWER, answer_key("Paris"))


def test_keys_are_hashable_and_sortable() -> None:
    """Clustering groups by them and orders by them."""
    keys = {answer_key(text) for text in ["Paris", "5 km", "1998", "1 May"]}
    ordered = sorted(keys, key=lambda key: key.sort_key)
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=lambda key: key.sort_key) == ordered
