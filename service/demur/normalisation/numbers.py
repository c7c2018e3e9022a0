"""Reads an answer that is nothing but a number: "1,000", "one thousand", "3 1/2", "3 × 10^8"."""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

MAX_CHARACTERS = 80  # longer than any number that people write; bounds the work on hostile input

_INTEGER = r"(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,29}|0)"
_ENDLESS = 10**6  # digits of 1/3
_PLAIN = re.compile(rf"(?P<sign>-?)(?P<whole>{_INTEGER})?(?P<decimals>\.\d{{1,30}})?", re.ASCII)
_POWER = re.compile(r"(?:(?P<factor>-?[\d,.]+) ?[x×*·⋅] ?)?10\^(?P<exponent>-?\d{1,2})", re.ASCII)
_SCIENTIFIC = re.compile(r"(?P<factor>-?[\d.]+)e(?P<exponent>[+-]?\d{1,2})", re.ASCII | re.IGNORECASE)
_FRACTION = re.compile(
    r"(?P<sign>-?)(?:(?P<whole>[1-9]\d{0,8}) )?(?P<top>[1-9]\d{0,8}) ?[/⁄] ?(?P<bottom>[1-9]\d{0,8})"
)

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: n for n, word in enumerate(_ONES.split())} | {word: 20 + 10 * n for n, word in enumerate(_TENS.split())}
_SCALES = {"trillion": 10**12, "billion": 10**9, "million": 10**6, "thousand": 1000, "hundred": 100, "dozen": 12}


def parse_number(text: str) -> Fraction | None:
    """The number that `text` is, exactly; None where it is anything else, or could be read in two ways.

    Left alone because people read them differently: "3,14" and "1.234,5" (decimal comma), "1 000" (or a list),
    "007" (a code), "6/8" (a time signature, not "3/4"), "12/25" with a larger top part (a date), "5!" (a factorial).
    """
    if len(text) > MAX_CHARACTERS:
        return None
    for parse in (_parse_plain, _parse_power, _parse_fraction, _parse_words):
        number = parse(text)
        if number is not None:
            return number
    return None


def format_number(number: Fraction) -> str:
    """One text per number: "0.5", "1000", "1/3"."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return str(number) if rest > 1 else _format_decimal(number)


def _format_decimal(number: Fraction) -> str:
    places = 0
    while (number * 10**places).denominator > 1:
        places += 1
    digits = str(abs(int(number * 10**places))).zfill(places + 1)
    sign = "-" if number < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def may_be_rounded(a: Fraction, b: Fraction) -> bool:
    """Whether the one with fewer digits could be the other one rounded: 3.3 and 3.33, 8.8 million and 8,804,190.

    Whole numbers below 10,000 are taken as exact (1990 is not a rounded 1988), and so is a single digit.
    """
    if _is_exact(a) and _is_exact(b):
        return False
    coarse, fine = sorted((a, b), key=_significant_digits)
    n_digits = _significant_digits(coarse)
    if not 2 <= n_digits < _ENDLESS or _is_exact(coarse):
        return False
    return _is_rounded(coarse, fine)


def _is_exact(number: Fraction) -> bool:
    return number.denominator == 1 and abs(number) < 10_000


def _is_rounded(coarse: Fraction, fine: Fraction) -> bool:
    """Whether `fine` lies within one unit in the last place of `coarse`: covers rounding and cutting off."""
    return abs(fine - coarse) < _last_place(coarse)


def _last_place(number: Fraction) -> Fraction:
    place = Fraction(1)
    while number % place:
        place /= 10
    while number % (place * 10) == 0:
        place *= 10
    return place


def _significant_digits(number: Fraction) -> int:
    written = format_number(abs(number))
    if "/" in written:
        return _ENDLESS
    return len(written.replace(".", "").lstrip("0").rstrip("0" if "." not in written else ""))


def _parse_plain(text: str) -> Fraction | None:
    match = _PLAIN.fullmatch(text)
    if not match or not (match["whole"] or match["decimals"]):
        return None
    return Fraction(match["sign"] + (match["whole"] or "0").replace(",", "") + (match["decimals"] or ""))


def _parse_power(text: str) -> Fraction | None:
    match = _POWER.fullmatch(text) or _SCIENTIFIC.fullmatch(text)
    if not match:
        return None
    factor = _parse_plain(match["factor"]) if match["factor"] else Fraction(1)
    return None if factor is None else factor * Fraction(10) ** int(match["exponent"])


def _parse_fraction(text: str) -> Fraction | None:
    match = _FRACTION.fullmatch(text)
    if not match:
        return None
    top, bottom = int(match["top"]), int(match["bottom"])
    if top >= bottom or gcd(top, bottom) > 1:
        return None
    value = int(match["whole"] or 0) + Fraction(top, bottom)
    return -value if match["sign"] else value


def _parse_words(text: str) -> Fraction | None:
    words = text.casefold().replace("-", " ").split()
    if not words:
        return None
    if words[0] in ("minus", "negative"):
        number = _read(words[1:])
        return None if number is None else -number
    if words[-3:] == ["and", "a", "half"]:
        number = _read(words[:-3])
        return None if number is None or number.denominator > 1 else number + Fraction(1, 2)
    return _read(words)


def _read(words: list[str]) -> Fraction | None:
    """Value of number words in their usual order; None for "one two" or "twenty twenty"."""
    if words in (["half"], ["a", "half"], ["one", "half"]):
        return Fraction(1, 2)
    scale = next((scale for scale in _SCALES if scale in words), None)
    if scale is None:
        return _read_small(words)
    at = words.index(scale)
    factor, rest = _read_factor(words[:at], scale), _read_rest(words[at + 1 :], scale)
    return None if factor is None or rest is None else factor * _SCALES[scale] + rest


def _read_small(words: list[str]) -> Fraction | None:
    """Below one hundred."""
    values = [_SMALL.get(word, -1) for word in words]
    match values:
        case [n] if n >= 0:
            return Fraction(n)
        case [tens, ones] if tens >= 20 and 1 <= ones <= 9:
            return Fraction(tens + ones)
    return None


def _read_factor(words: list[str], scale: str) -> Fraction | None:
    """What stands before "million": words below one thousand, "a", or digits such as 1.5."""
    if words == ["a"]:
        return Fraction(1)
    number = _parse_plain(words[0]) if len(words) == 1 else None
    if number is None:
        number = _read(words)
    return number if number is not None and abs(number) < (100 if scale == "hundred" else 1000) else None


def _read_rest(words: list[str], scale: str) -> Fraction | None:
    """What stands after "million": nothing, or words for less than a million."""
    if not words:
        return Fraction(0)
    number = _read(words[1:] if words[0] == "and" else words)
    return number if number is not None and number.denominator == 1 and number < _SCALES[scale] != 12 else None
