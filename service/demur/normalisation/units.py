"""Units of measure and money, as far as they can be converted exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

Size = int | Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """`size` of this unit in units of `base`; `dimension` is what is measured.

    `si` is the size of the base in SI units, None where it has none. Two bases of one dimension (metres and inches)
    are kept apart, because people round when they convert between them.
    """

    base: str
    dimension: str
    size: Fraction = Fraction(1)
    si: Fraction | None = Fraction(1)

    def __pow__(self, power: int) -> Unit:
        si = None if self.si is None else self.si**power
        return Unit(f"{self.base}^{power}", f"{self.dimension}^{power}", self.size**power, si)

    def __truediv__(self, other: Unit) -> Unit:
        si = None if self.si is None or other.si is None else self.si / other.si
        base, dimension = f"{self.base}/{other.base}", f"{self.dimension}/{other.dimension}"
        return Unit(base, dimension, self.size / other.size, si)


def _family(base: str, dimension: str, si: Size | None, names: Mapping[Size, str]) -> dict[str, Unit]:
    in_si = None if si is None else Fraction(si)
    return {
        name.replace("_", " "): Unit(base, dimension, Fraction(size), in_si)
        for size, listed in names.items()
        for name in listed.split()
    }


_METRIC = {"milli": Fraction(1, 1000), "centi": Fraction(1, 100), "": Fraction(1), "kilo": Fraction(1000)}


def _metric(base: str, dimension: str, si: Size, *names: str) -> dict[str, Unit]:
    """Milli-, centi- and kilo- forms of the long names and of the symbol `base`."""
    listed: dict[Size, str] = {
        size: " ".join([prefix[:1] + base, *(f"{prefix}{name} {prefix}{name}s" for name in names)])
        for prefix, size in _METRIC.items()
    }
    return _family(base, dimension, si, listed)


_UNITS: dict[str, Unit] = {
    **_family(
        "s",
        "time",
        1,
        {
            Fraction(1, 1000): "ms millisecond milliseconds",
            1: "s sec secs second seconds",
            60: "min mins minute minutes",
            3600: "h hr hrs hour hours",
            86_400: "day days",
            604_800: "week weeks wk wks",
        },
    ),
    **_family(
        "month", "time", 2_629_746, {1: "month months", 12: "year years yr yrs", 120: "decade decades", 1200: "century"}
    ),
    **_metric("m", "length", 1, "metre", "meter"),
    **_family(
        "in",
        "length",
        Fraction(254, 10_000),
        {1: "in inch inches", 12: "ft foot feet", 36: "yd yds yard yards", 63_360: "mi mile miles"},
    ),
    **_metric("g", "mass", 1, "gram", "gramme"),
    **_family("oz", "mass", Fraction("28.349523125"), {1: "oz ounce ounces", 16: "lb lbs pound pounds"}),
    **_metric("l", "volume", 1, "litre", "liter"),
    **_family("pint", "volume", None, {1: "pint pints", 2: "quart quarts", 8: "gal gallon gallons"}),
    **_family("W", "power", 1, {Fraction(1, 1000): "mW milliwatt milliwatts", 1: "W watt watts"}),
    **_family("W", "power", 1, {10**3: "kW kilowatt kilowatts", 10**6: "MW megawatt megawatts", 10**9: "GW"}),
    **_family(
        "Hz", "frequency", 1, {1: "Hz hertz", 10**3: "kHz", 10**6: "MHz", 10**9: "GHz", Fraction(1, 1000): "mHz"}
    ),
    **_family("Mb", "data", None, {1: "Mb Mbit megabit megabits"}),
    **_family("MB", "data", None, {1: "MB megabyte megabytes"}),
    **_family("Gb", "data", None, {1: "Gb Gbit gigabit gigabits"}),
    **_family("GB", "data", None, {1: "GB gigabyte gigabytes"}),
    **_family("$", "money", None, {1: "$ dollar dollars"}),
    **_family("€", "money", None, {1: "€ euro euros"}),
    **_family("£", "money", None, {1: "£ pounds_sterling"}),
    **_family("₹", "money", None, {1: "₹ rupee rupees"}),
    **_family("¢", "cents", None, {1: "¢ cent cents"}),
    **_family("%", "share", None, {1: "% percent per_cent"}),
    **_family("°", "angle", None, {1: "° degree degrees"}),
    **_family("°C", "celsius", None, {1: "°C degrees_celsius degree_celsius celsius"}),
    **_family("°F", "fahrenheit", None, {1: "°F degrees_fahrenheit degree_fahrenheit fahrenheit"}),
    **_family("K", "kelvin", None, {1: "K kelvin kelvins"}),
}
_UNITS |= {"L": _UNITS["l"], "mL": _UNITS["ml"], "mph": _UNITS["mile"] / _UNITS["hour"]}
_UNITS |= dict.fromkeys(("kph", "kmh"), _UNITS["km"] / _UNITS["hour"])

_FOLDED = {name.casefold(): unit for name, unit in _UNITS.items()}
# Where the case of a symbol decides (mW and MW), or a capital means something else (5 M, 5 G), it must be exact.
_CASE_DECIDES = {
    name for name in _FOLDED if len(name) == 1 or name in ("mw", "gw", "mb", "gb", "mm", "ml", "ms", "mhz")
}
_BASES = {unit.base: unit for unit in _UNITS.values()}
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "cu.": 3}
_RAISED = re.compile(r"(?P<name>[^\W\d_]{1,3})\^?(?P<power>[23])")


def find_unit(text: str) -> Unit | None:
    """The unit that `text` names: "km", "square feet", "miles per hour", "cm^2"; None where it is not known."""
    simple = _find_simple(text)
    if simple:
        return simple
    top, separator, bottom = text.replace(" per ", "/").partition("/")
    upper, lower = _find_simple(top.strip()), _find_simple(bottom.strip())
    return upper / lower if separator and upper and lower else None


def find_base(base: str) -> Unit | None:
    """A unit with this base; None for things that were counted, and for compound units that no table lists."""
    return _BASES.get(base)


def sizes(base: str) -> frozenset[Fraction]:
    """Sizes of the units of one base: what a number without a unit may have been meant in."""
    shares = {Fraction(100)} if base == "%" else set()
    cents = {Fraction(1, 100)} if base in "$€" else set()
    return frozenset({Fraction(1)} | {u.size for u in _UNITS.values() if u.base == base} | shares | cents)


def _find_simple(text: str) -> Unit | None:
    named = _find_named(text)
    if named:
        return named
    prefix, _, name = text.partition(" ")
    if prefix.casefold() in _POWERS:
        unit = _find_named(name)
        return unit ** _POWERS[prefix.casefold()] if unit else None
    raised = _RAISED.fullmatch(text)
    unit = _find_named(raised["name"]) if raised else None
    return unit ** int(raised["power"]) if raised and unit else None


def _find_named(name: str) -> Unit | None:
    folded = name.casefold()
    return _UNITS.get(name) or (_FOLDED.get(folded) if folded not in _CASE_DECIDES else None)
