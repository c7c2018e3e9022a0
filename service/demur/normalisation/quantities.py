"""Reads an answer that is nothing but a number or a quantity, and tells which of two are surely different."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from demur.normalisation.numbers import MAX_CHARACTERS, may_be_rounded, parse_number
from demur.normalisation.units import Unit, find_base, find_unit, sizes

CONVERSION_TOLERANCE = Fraction(1, 20)  # people round when they convert: "12 miles" may be "19 km", not "12 km"

_GLUED = re.compile(r"(?<=\d)(?=[%$€£₹¢°]|[^\W\d_]{2})")
_PREFIXED_MONEY = re.compile(r"(?P<sign>-?)(?P<unit>[$€£₹]) ?(?P<number>-?[\d.][^$€£₹%]*)")
_THINGS = re.compile(r"[^\W\d_]{2,}(?: [^\W\d_]{2,})?")
_MILLI_OR_MEGA = re.compile(r"[mM][A-Za-z]{1,2}")
_COMPOUND = re.compile(r"(\S+ [^\W\d_]+)(?:,? and |, | )(\S+ [^\W\d_]+)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """`value` in units of `unit`, which is "" for a bare number; `written` is the number as it stands in the text.

    "2 km" is 2000 m, written 2; "12 monkeys" is 12 of the things called "n monkeys".
    """

    value: Fraction
    unit: str
    written: Fraction

    @property
    def is_measured(self) -> bool:
        """Whether the unit is one of measure or money, rather than the things that were counted."""
        return self.unit != "" and not self.unit.startswith("n ")


def parse_quantity(text: str) -> Quantity | None:
    """The number, amount of money or quantity that `text` is; None where it is more than that, or ambiguous."""
    if len(text) > MAX_CHARACTERS:
        return None
    number = parse_number(text)
    if number is not None:
        return Quantity(number, "", number)
    spaced = _with_unit_behind(text)
    return _parse_simple(spaced) or _parse_compound(spaced)


def surely_different(a: Quantity, b: Quantity) -> bool:
    """Whether the two cannot mean the same.

    Same unit: by value, unless one may be the other one rounded. A bare number differs from a quantity that it equals
    in no unit ("140" from "150 minutes", not from "2 hours 20 minutes"). Counted things and unrelated units are left
    open: "5" may be "5 or more", and a small difference may come from converting.
    """
    if a.unit == b.unit:
        return _different_in_one_unit(a, b)
    if a.unit and b.unit:
        return _different_across_units(a, b)
    bare, measured = (b, a) if a.unit else (a, b)
    return measured.is_measured and not any(
        _is_close(bare.value * size, measured.value) for size in sizes(measured.unit)
    )


def _different_in_one_unit(a: Quantity, b: Quantity) -> bool:
    if a.value * b.written == b.value * a.written:  # both written in the same unit
        return a.written != b.written and not may_be_rounded(a.written, b.written)
    return not _is_close(a.value, b.value)


def _different_across_units(a: Quantity, b: Quantity) -> bool:
    one, other = find_base(a.unit), find_base(b.unit)
    if one is None or other is None or one.dimension != other.dimension:
        return False
    if one.dimension == "money":
        return True
    if one.si is None or other.si is None:
        return False
    return not _is_close(a.value * one.si, b.value * other.si)


def _is_close(x: Fraction, y: Fraction) -> bool:
    return abs(x - y) <= CONVERSION_TOLERANCE * max(abs(x), abs(y))


def _with_unit_behind(text: str) -> str:
    """ "$5" -> "5 $", "12km" -> "12 km"."""
    match = _PREFIXED_MONEY.fullmatch(text)
    return f"{match['sign']}{match['number']} {match['unit']}" if match else _GLUED.sub(" ", text)


def _parse_simple(text: str) -> Quantity | None:
    """A number with everything behind it read as one unit."""
    words = text.split()
    for n in range(len(words) - 1, 0, -1):
        number = parse_number(" ".join(words[:n]))
        if number is not None:
            return _measured(number, " ".join(words[n:]).removesuffix(" old"))
    return None


def _measured(number: Fraction, named: str) -> Quantity | None:
    unit = find_unit(named)
    if unit:
        return Quantity(number * unit.size, unit.base, number)
    if _THINGS.fullmatch(named) and not _MILLI_OR_MEGA.fullmatch(named):
        return Quantity(number, f"n {named.casefold()}", number)
    return None


def _parse_compound(text: str) -> Quantity | None:
    """ "1 hour and 30 minutes": a unit, then a smaller one of the same base that does not fill the first."""
    match = _COMPOUND.fullmatch(text)
    if not match:
        return None
    (large, large_unit), (small, small_unit) = (_split(part) for part in match.groups())
    if large is None or small is None or large_unit is None or small_unit is None:
        return None
    if large_unit.base != small_unit.base or large < 1 or not 0 < small * small_unit.size < large_unit.size:
        return None
    total = large * large_unit.size + small * small_unit.size
    return Quantity(total, large_unit.base, total / small_unit.size)


def _split(part: str) -> tuple[Fraction | None, Unit | None]:
    number, unit = part.split()
    return parse_number(number), find_unit(unit)
