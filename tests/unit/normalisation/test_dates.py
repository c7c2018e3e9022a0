"""Reading dates: in words or ISO 8601, never by guessing the order of numbers."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.normalisation.dates import CalendarDate, parse_date

MONTHS = "January February March April May June July August September October November December"


@given(st.dates(date(1000, 1, 1), date(2999, 12, 31)))
def test_every_wording_of_a_day_is_the_same_date(day: date) -> None:
    """British, American and ISO order."""
    month = MONTHS.split()[day.month - 1]
    wordings = [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{month[:3]} {day.day} {day.year}",
        day.isoformat(),
    ]
    assert {parse_date(wording) for wording in wordings} == {CalendarDate(day.year, day.month, day.day)}


@pytest.mark.parametrize(
    "text",
    ["01/02/1998", "1998", "31 February 1998", "2 Octember 1998", "1998-13-01", "May", "October 32", "in May 1998"],
)
def test_anything_else_is_no_date(text: str) -> None:
    """Ambiguous, impossible or incomplete."""
    assert parse_date(text) is None


def test_the_leap_day_needs_a_leap_year() -> None:
    """Without a year it exists."""
    assert parse_date("29 February") == CalendarDate(None, 2, 29)
    assert parse_date("29 February 2000") == CalendarDate(2000, 2, 29)
    assert parse_date("29 February 1999") is None


def test_only_parts_that_both_say_can_contradict() -> None:
    """A month does not contradict a day of it; another month does."""
    day, month, other = parse_date("1 October 1998"), parse_date("October 1998"), parse_date("November 1998")
    assert day is not None
    assert month is not None
    assert other is not None
    assert not day.contradicts(month)
    assert day.contradicts(other)
    assert (str(day), str(month), str(parse_date("1 October"))) == ("1998-10-01", "1998-10", "--10-01")
