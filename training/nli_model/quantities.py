"""Numbers, units and dates in their many spellings, and the near misses that mean something else."""

from calendar import month_name
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from training.nli_model import words
from training.nli_model.pairs import Label, Pair, claim

_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))


@dataclass(frozen=True, slots=True)
class Date:
    """A date as precise as it is known: year, year and month, or all three."""

    year: int
    month: int | None = None
    day: int | None = None

    def spellings(self) -> list[str]:
        if self.month is None:
            return [str(self.year), f"in {self.year}", f"the year {self.year}"]
        month = month_name[self.month]
        if self.day is None:
            return [
                f"{month} {self.year}",
                f"in {month} {self.year}",
                f"{month} of {self.year}",
                f"{month[:3]} {self.year}",
            ]
        return [
            f"{self.day} {month} {self.year}",
            f"{month} {self.day}, {self.year}",
            f"on {month} {self.day}, {self.year}",
            f"the {ordinal(self.day)} of {month} {self.year}",
            f"{self.year}-{self.month:02d}-{self.day:02d}",
            f"{month[:3]} {self.day}, {self.year}",
        ]

    def entails(self, other: "Date") -> bool:
        """Whether every part that the other states is stated here, with the same value."""
        mine, theirs = (self.year, self.month, self.day), (other.year, other.month, other.day)
        return all(b is None or a == b for a, b in zip(mine, theirs, strict=True))


def ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def in_words(n: int) -> str:
    """English words of a whole number from 0 to 999,999,999,999."""
    if n < 20:
        return words.ONES[n]
    if n < 100:
        return words.TENS[n // 10] + (f"-{words.ONES[n % 10]}" if n % 10 else "")
    size, name = next(scale for scale in _SCALES if n >= scale[0])
    rest = n % size
    joint = " and " if rest and rest < 100 else " "
    return f"{in_words(n // size)} {name}" + (f"{joint}{in_words(rest)}" if rest else "")


def number_spellings(n: int) -> list[str]:
    """Ways to write a whole number that all mean exactly it."""
    spelled = [str(n)] + ([f"{n:,}"] if n >= 1000 else [])
    if n <= 120 or n % 100 == 0 or (n < 3000 and n % 7 == 0):
        spelled.append(in_words(n))
    for size, name in _SCALES[:2]:
        if n >= size and n % (size // 100) == 0:
            spelled += [f"{n / size:g} {name}", f"{n / size:g}{name[0] if name == 'million' else 'bn'}"]
    return spelled


def near_number(n: int, rng: Random) -> int:
    """Another number that looks like this one: off by one, a digit changed or swapped, ten times as much."""
    digits = str(n)
    at = rng.randrange(len(digits))
    changed = int(digits[:at] + str(rng.randrange(1, 10)) + digits[at + 1 :])
    swapped = int(digits[:at] + digits[at:][::-1])
    near = rng.choice(
        [n + 1, max(n - 1, 0), n * 10, changed, changed, swapped, n + rng.randrange(2, 12), n * 2, max(n // 10, 1)]
    )
    return near if near != n else n + 1


def random_number(rng: Random) -> int:
    kind = rng.random()
    if kind < 0.45:
        return rng.randrange(1, 60)
    if kind < 0.65:
        return rng.randrange(60, 1000)
    if kind < 0.85:
        return rng.randrange(1, 100) * 10 ** rng.randrange(2, 8)
    return rng.randrange(1000, 10**7)


def random_date(rng: Random, precision: int) -> Date:
    year = rng.randrange(1900, 2026) if rng.random() < 0.8 else rng.randrange(1000, 1900)
    month, day = rng.randrange(1, 13), rng.randrange(1, 29)
    return Date(year, month if precision > 1 else None, day if precision > 2 else None)


def near_date(date: Date, rng: Random) -> Date:
    """A date that differs in one stated part."""
    part = rng.choice([p for p in ("year", "month", "day") if getattr(date, p) is not None])
    if part == "year":
        return Date(near_year(date.year, rng), date.month, date.day)
    if part == "month" and date.month is not None:
        return Date(date.year, (date.month - 1 + rng.randrange(1, 12)) % 12 + 1, date.day)
    return Date(date.year, date.month, (int(date.day or 1) + rng.randrange(1, 27)) % 28 + 1)


def near_year(year: int, rng: Random) -> int:
    return year + rng.choice([-100, -20, -10, -9, -5, -4, -3, -2, -1, -1, 1, 1, 2, 3, 4, 5, 9, 10, 20, 100])


def number_pairs(rng: Random, n_rounds: int) -> Iterator[Pair]:
    """The same number spelled in two ways, and a near one."""
    for _ in range(n_rounds):
        counted, number = rng.choice(words.COUNTED), random_number(rng)
        question = rng.choice(words.COUNT_QUESTIONS).format(n=counted, y=rng.randrange(1900, 2026))
        a, b = _counted(number, counted, rng), _counted(number, counted, rng)
        other = _counted(near_number(number, rng), counted, rng)
        yield Pair(claim(question, a), claim(question, b), Label.ENTAILMENT, "number")
        yield Pair(claim(question, a), claim(question, other), Label.CONTRADICTION, "number")
        yield Pair(claim(question, other), claim(question, b), Label.CONTRADICTION, "number")


def _counted(number: int, counted: str, rng: Random) -> str:
    spelled = rng.choice(number_spellings(number))
    forms = (
        "{x}",
        "{x}",
        "{x}",
        "{x} {c}",
        "There are {x} {c}.",
        "It has {x} {c}.",
        "It is {x}.",
        "The answer is {x}.",
        "{x}.",
    )
    return rng.choice(forms).format(x=spelled, c=counted)


def unit_pairs(rng: Random, n_rounds: int) -> Iterator[Pair]:
    """The same amount with the unit spelled or converted, another amount, and the same number of another unit."""
    for _ in range(n_rounds):
        unit = rng.choice(words.UNITS)
        amount = rng.choice([rng.randrange(1, 20), rng.randrange(1, 500), rng.randrange(1, 90) * 10])
        a, b = (f"{amount} {rng.choice(unit.spellings)}" for _ in range(2))
        converted = f"{amount * unit.factor:,g} {rng.choice(unit.smaller)}" if amount * unit.factor < 10**6 else b
        other = f"{near_number(amount, rng)} {rng.choice(unit.spellings)}"
        yield Pair(
            claim(unit.question, a), claim(unit.question, rng.choice([b, b, converted])), Label.ENTAILMENT, "unit"
        )
        yield Pair(claim(unit.question, a), claim(unit.question, other), Label.CONTRADICTION, "unit")
        if unit.factor > 1:
            wrong = f"{amount} {rng.choice(unit.smaller)}"
            yield Pair(claim(unit.question, a), claim(unit.question, wrong), Label.CONTRADICTION, "unit")


def date_pairs(rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Dates in other spellings, more and less precise, and near ones."""
    for _ in range(n_rounds):
        question = rng.choice(words.YEAR_QUESTIONS)
        full = random_date(rng, rng.randrange(1, 4))
        shorter = Date(full.year, full.month if rng.random() < 0.4 else None)
        for premise, hypothesis in (
            (full, full),
            (full, shorter),
            (shorter, full),
            (full, near_date(full, rng)),
            (near_date(shorter, rng), full),
        ):
            yield Pair(
                _dated(question, premise, rng),
                _dated(question, hypothesis, rng),
                _date_label(premise, hypothesis),
                "date",
            )
        decade = f"the {full.year // 10 * 10}s"
        yield Pair(_dated(question, full, rng), claim(question, decade), Label.ENTAILMENT, "date")
        yield Pair(claim(question, decade), _dated(question, full, rng), Label.NEUTRAL, "date")


def _dated(question: str, date: Date, rng: Random) -> str:
    forms = ("{x}", "{x}", "{x}", "It was {x}.", "It happened {x}.", "The answer is {x}.", "{x}.")
    return claim(question, rng.choice(forms).format(x=rng.choice(date.spellings())))


def _date_label(premise: Date, hypothesis: Date) -> Label:
    if premise.entails(hypothesis):
        return Label.ENTAILMENT
    return Label.NEUTRAL if hypothesis.entails(premise) else Label.CONTRADICTION
