"""Reading quantities, and telling surely different ones apart."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.normalisation.quantities import Quantity, parse_quantity, surely_different


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5", 5, ""),
        ("-$20", -20, "$"),
        ("$5 million", 5_000_000, "$"),
        ("2 km", 2000, "m"),
        ("1 mile", 63_360, "in"),
        ("5 feet 9 inches", 69, "in"),
        ("2 weeks, 1 day", 15 * 86_400, "s"),
        ("1 decade", 120, "month"),
        ("3 sq ft", 432, "in^2"),
        ("36 km/h", 10, "m/s"),
        ("5 °C", 5, "°C"),
        ("twelve monkeys", 12, "n monkeys"),
    ],
)
def test_quantities_are_converted_exactly_within_a_system(text: str, value: int, unit: str) -> None:
    """Metric to metric, imperial to imperial; never across, where people round."""
    quantity = parse_quantity(text)
    assert quantity is not None
    assert (quantity.value, quantity.unit) == (value, unit)


@pytest.mark.parametrize(
    "text",
    [
        "about 5 km",
        "5 apples and 6 oranges",
        "2 hours, 3 hours",
        "1 hour 90 minutes",
        "5m",
        "km",
        "$$5",
        "5 km or 3 miles",
        "10:30",
    ],
)
def test_more_than_a_quantity_is_no_quantity(text: str) -> None:
    """Hedges, lists and alternatives are for the model to judge."""
    assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("12 km", "12 miles", True),
        ("12 miles", "19 km", False),
        ("2 hours", "120", False),
        ("2 hours", "3", True),
        ("5 kg", "5 km", False),
        ("0 km", "0 miles", False),
        ("12 books", "13", False),
        ("98.6 °F", "37 °C", False),
    ],
)
def test_difference_is_claimed_only_where_it_is_sure(a: str, b: str, expected: bool) -> None:
    """Conversions, missing units and unlike things stay open."""
    one, other = parse_quantity(a), parse_quantity(b)
    assert one is not None
    assert other is not None
    assert surely_different(one, other) is expected
    assert surely_different(other, one) is expected


@given(st.integers(1, 10**6), st.sampled_from(["km", "miles", "hours", "kg", "%", "dollars", "litres"]))
def test_a_quantity_is_never_different_from_itself_or_its_number(number: int, unit: str) -> None:
    """Nor from the bare number, which may be meant in that unit."""
    quantity, bare = parse_quantity(f"{number} {unit}"), parse_quantity(str(number))
    assert quantity is not None
    assert bare == Quantity(Fraction(number), "", Fraction(number))
    assert not surely_different(quantity, quantity)
    assert not surely_different(quantity, bare)
