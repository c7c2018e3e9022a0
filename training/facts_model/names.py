"""Invented names and values, so that reading is learnt apart from knowing.

A name belongs to evaluation when its hash says so (one in eight); training never draws such a name.
"""

from __future__ import annotations

import hashlib
from random import Random

from training.facts_model.relations import word_list

_ONSETS = word_list("onsets")
_VOWELS = word_list("vowels")
_CODAS = ["", "", "", "n", "r", "l", "s", "m", "th", "nd", "rk", "st", "x", "ck", "lm"]
_WORDS = word_list("words")
_GIVEN = word_list("given names")
_FAMILY = word_list("family names")
_MONTHS = word_list("months")
_UNITS = word_list("units")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ENDINGS = word_list("endings")


def _syllable(rng: Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)


def _invented(rng: Random) -> str:
    name = "".join(_syllable(rng) for _ in range(rng.choice((1, 2, 2, 3))))
    return name + rng.choice(_ENDINGS) if rng.random() < 0.3 else name


def _letters(rng: Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(3, 8)))


def _compound(rng: Random) -> str:
    first, second = rng.choice(_WORDS), rng.choice(_WORDS)
    return rng.choice((first + second, f"{first.capitalize()} {second.capitalize()}", first.capitalize() + second))


def _place(rng: Random) -> str:
    kind = rng.random()
    word = _invented(rng) if kind < 0.6 else _compound(rng) if kind < 0.9 else _letters(rng)
    prefix = rng.choice(("", "", "", "", "", "", "New ", "Port ", "San ", "Saint ", "Lake ", "Upper "))
    return prefix + word[:1].upper() + word[1:]


def _person(rng: Random) -> str:
    given = rng.choice(_GIVEN) if rng.random() < 0.6 else _invented(rng).capitalize()
    family = rng.choice(_FAMILY) if rng.random() < 0.5 else _invented(rng).capitalize()
    return rng.choice(
        (f"{given} {family}", f"{given} {family}", family, given, f"{given} {rng.choice('ABCDEFGHKLMPRST')}. {family}")
    )


def _number(rng: Random) -> str:
    return str(rng.randint(1, 10 ** rng.randint(1, 5)))


def _amount(rng: Random) -> str:
    return f"{_number(rng)} {rng.choice(_UNITS)}"


def _year(rng: Random) -> str:
    return str(rng.randint(1000, 2100))


def _date(rng: Random) -> str:
    return rng.choice(
        (f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}", f"{rng.choice(_MONTHS)} {rng.randint(1, 28)}", _year(rng))
    )


def _code(rng: Random) -> str:
    letters = "".join(rng.choice(_LETTERS.upper()) for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(('-', '', ' '))}{rng.randint(1, 9999)}"


def _thing(rng: Random) -> str:
    word = rng.choice((_invented, _letters, lambda r: r.choice(_WORDS)))(rng)
    return f"{rng.choice(_WORDS)} {word}" if rng.random() < 0.4 else word


def _title(rng: Random) -> str:
    first, second = rng.choice(_WORDS).capitalize(), rng.choice(_WORDS).capitalize()
    return rng.choice(
        (f"The {first} {second}", f"The {first} of {_place(rng)}", f"{_place(rng)}", f"{first} and {second}")
    )


_KINDS = {
    "place": _place, "person": _person, "number": _number, "amount": _amount, "year": _year, "date": _date,
    "code": _code, "thing": _thing, "title": _title,
}  # fmt: skip
KINDS = tuple(_KINDS)


def is_for_evaluation(name: str) -> bool:
    """Whether `name` is kept from training: fixed by its hash, one name in eight; plain numbers never are."""
    return not name.isdigit() and hashlib.sha256(name.casefold().encode()).digest()[0] % 8 == 0


def invent(rng: Random, kind: str, *, evaluation: bool = False) -> str:
    """A name or value of a kind of KINDS, from the side that is asked for (numbers and years serve both)."""
    while True:
        name = _KINDS[kind](rng)
        if name.isdigit() or is_for_evaluation(name) == evaluation:
            return name
