"""Reading numbers: exactly, or not at all."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.normalisation.numbers import format_number, may_be_rounded, parse_number

READ = {
    "0": 0,
    "-0": 0,
    "42": 42,
    "1,234,567": 1234567,
    ".5": Fraction(1, 2),
    "0.50": Fraction(1, 2),
    "-3.25": Fraction(-13, 4),
    "1/3": Fraction(1, 3),
    "2 3/4": Fraction(11, 4),
    "3 × 10^8": 300_000_000,
    "3x10^8": 300_000_000,
    "1.5e-3": Fraction(3, 2000),
    "twenty-one": 21,
    "a hundred": 100,
    "nineteen hundred": 1900,
    "two hundred and five": 205,
    "one million two hundred thousand and three": 1_200_003,
    "2.5 billion": 2_500_000_000,
    "two dozen": 24,
    "half": Fraction(1, 2),
    "two and a half": Fraction(5, 2),
    "minus four": -4,
}
LEFT_ALONE = [
    "",
    "-",
    ".",
    "3,14",
    "1,23,456",
    "1.234,5",
    "1 000",
    "007",
    "00",
    "5!",
    "6/8",
    "11/9",
    "1/0",
    "one two",
    "twenty twenty",
    "thousand million",
    "and",
    "a",
    "hundred and",
    "two dozen five",
    "12 13",
    "five million million",
    "NaN",
    "inf",
    "٣",
    "0,500",
    "1e999",
]


@pytest.mark.parametrize(("text", "value"), READ.items())
def test_numbers_are_read_exactly(text: str, value: Fraction | int) -> None:
    """Digits, words, powers and fractions."""
    assert parse_number(text) == value


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_can_be_read_in_two_ways_is_left_alone(text: str) -> None:
    """A number is read only where nobody would read another."""
    assert parse_number(text) is None


@given(st.fractions(max_denominator=10**6))
def test_formatting_is_one_text_per_number(number: Fraction) -> None:
    """The text gives the number back, as a decimal or as a fraction in lowest terms."""
    assert Fraction(format_number(number)) == number


@given(st.integers(0, 999_999))
def test_words_and_digits_agree(number: int) -> None:
    """Every whole number below a million, spelt out."""
    assert parse_number(_spell(number)) == number


@pytest.mark.parametrize(("a", "b"), [("3.3", "3.33"), ("66.67", "66.6666"), ("8800000", "8804190"), ("0.33", "1/3")])
def test_a_rounded_number_may_be_the_other(a: str, b: str) -> None:
    """Rounded or cut off, in either order."""
    assert may_be_rounded(Fraction(a), Fraction(b))
    assert may_be_rounded(Fraction(b), Fraction(a))


@pytest.mark.parametrize(("a", "b"), [("1990", "1988"), ("3", "3.33"), ("3.3", "3.5"), ("140", "138"), ("1/3", "2/3")])
def test_exact_numbers_are_not_rounded_ones(a: str, b: str) -> None:
    """Years and small counts mean what they say."""
    assert not may_be_rounded(Fraction(a), Fraction(b))
    assert not may_be_rounded(Fraction(b), Fraction(a))


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def _spell(number: int) -> str:
    if number < 20:
        return _ONES.split()[number]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" and {_spell(number % size)}" if number % size else ""
            return f"{_spell(number // size)} {name}{rest}"
    rest = f"-{_spell(number % 10)}" if number % 10 else ""
    return _TENS.split()[number // 10 - 2] + rest
