"""Reads an answer that is nothing but a date."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

_MONTHS = "january february march april may june july august september october november december"
_NUMBER_OF = {name: n for n, name in enumerate(_MONTHS.split(), start=1)}
_NUMBER_OF |= {name[:3]: n for name, n in _NUMBER_OF.items()} | {"sept": 9}
_MONTH = rf"(?P<month>{'|'.join(_NUMBER_OF)})\.?"
_DAY = r"(?P<day>[1-9]|[12]\d|3[01]|0[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[12]\d{3})"
_FORMS = [
    re.compile(form, re.ASCII)
    for form in (
        rf"(?:the )?{_DAY}(?: of)? {_MONTH},? {_YEAR}",
        rf"{_MONTH} (?:the )?{_DAY}(?:,| ,|) {_YEAR}",
        rf"{_YEAR}-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])",
        rf"{_MONTH},?(?: of)? {_YEAR}",
        rf"(?:the )?{_DAY}(?: of)? {_MONTH}",
        rf"{_MONTH} (?:the )?{_DAY}",
    )
]


@dataclass(frozen=True, slots=True)
class CalendarDate:
    """A day, a month of a year, or a day of every year: a part that was not said is None."""

    year: int | None
    month: int
    day: int | None

    def contradicts(self, other: CalendarDate) -> bool:
        """Whether a part that both say differs; "October 1998" does not contradict "1 October 1998"."""
        parts = ((self.year, other.year), (self.month, other.month), (self.day, other.day))
        return any(a is not None and b is not None and a != b for a, b in parts)

    def __str__(self) -> str:
        """After ISO 8601: "1998-10-01", "1998-10", "--10-01"."""
        year = "-" if self.year is None else str(self.year)
        return f"{year}-{self.month:02}" + ("" if self.day is None else f"-{self.day:02}")


def parse_date(text: str) -> CalendarDate | None:
    """The date that `text` is, in words or ISO 8601; None for anything else.

    "01/02/1998" is left alone: half the world reads January, the other half February.
    """
    folded = text.casefold()
    match = next(filter(None, (form.fullmatch(folded) for form in _FORMS)), None)
    if not match:
        return None
    said = match.groupdict()
    year, day = said.get("year"), said.get("day")
    month = _NUMBER_OF[said["month"]] if said["month"] in _NUMBER_OF else int(said["month"])
    found = CalendarDate(int(year) if year else None, month, int(day) if day else None)
    return found if _exists(found) else None


def _exists(found: CalendarDate) -> bool:
    try:
        date(found.year or 2000, found.month, found.day or 1)  # 2000 has a 29 February
    except ValueError:
        return False
    return True
