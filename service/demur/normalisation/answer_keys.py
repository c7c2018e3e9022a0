"""Decides, without asking a model, which answers surely mean the same, and which surely do not.

Every rule here is meant to be certain; whatever it leaves open goes to the entailment model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from demur.normalisation.dates import CalendarDate, parse_date
from demur.normalisation.non_answers import is_non_answer
from demur.normalisation.numbers import format_number
from demur.normalisation.quantities import Quantity, parse_quantity, surely_different

Kind = Literal["non_answer", "number", "date", "text"]

_QUOTES = str.maketrans("‘’‚‛“”„‟«»′″`–—−‐‑‒", '\'\'\'\'""""""\'"\'------')
_PAIRED = ('"', "'", "**", "__")
_FACTORIAL = re.compile(r"(?:[\d)]|\b[^\W\d_])!+$")
_TERMINAL = ".,;:!?… "
_ANSWER_IS = re.compile(
    r"(?:so |thus |therefore,? )?(?:the |my )?(?:final |correct |right )?answer(?: is:?|:) ?(.+)", re.I
)
_IT_IS = re.compile(r"(?:it is|it's|it was|that is|that's|=) ?(.+)", re.I)
_SCRIPTS = {"<super>": "^", "<sub>": "_", "<fraction>": " "}
_MILLI_OR_MEGA = re.compile(r"[\d.,]+ ?[mM][A-Za-z]{1,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """Two answers with equal keys mean the same.

    `value` is canonical for its kind; numbers with a `unit` are in the base unit ("12 km" is 12000 m). `meaning` is
    what was read, where the kind is number or date.
    """

    kind: Kind
    value: str
    unit: str = ""
    meaning: Quantity | CalendarDate | None = field(default=None, compare=False)

    @property
    def sort_key(self) -> tuple[str, str, str]:
        return self.kind, self.value, self.unit


NON_ANSWER = AnswerKey("non_answer", "")


def answer_key(text: str) -> AnswerKey:
    """The key of one answer, whatever else was answered."""
    if is_non_answer(text):
        return NON_ANSWER
    plain = _trim(_fold_characters(text))
    bare = _without_wrapper(plain)
    return _value_key(bare) or _wrapped_value_key(bare) or AnswerKey("text", _fold_case(bare))


def answer_keys(texts: Sequence[str], key: Callable[[str], AnswerKey] = answer_key) -> list[AnswerKey]:
    """Keys of answers to one question, in order; `key` reads one of them, and may remember what it has read.

    A number without a unit takes the unit that the same number carries elsewhere in the set ("140" beside
    "140 minutes"), if that is one unit only: "12" beside "12 km" and "12 miles" stays a bare number.
    """
    keys = [key(text) for text in texts]
    return [_completed(one, keys) for one in keys]


def certainly_different(a: AnswerKey, b: AnswerKey) -> bool:
    """Whether the two cannot mean the same, so that no model need be asked."""
    if a == b:
        return False
    if "non_answer" in (a.kind, b.kind):
        return True
    if isinstance(a.meaning, Quantity) and isinstance(b.meaning, Quantity):
        return surely_different(a.meaning, b.meaning)
    if isinstance(a.meaning, CalendarDate) and isinstance(b.meaning, CalendarDate):
        return a.meaning.contradicts(b.meaning)
    return False


def _completed(key: AnswerKey, others: Sequence[AnswerKey]) -> AnswerKey:
    if not isinstance(key.meaning, Quantity) or key.unit:
        return key
    same = {other for other in others if _is_measured(other, key.meaning.value)}
    return same.pop() if len(same) == 1 else key


def _is_measured(key: AnswerKey, number: Fraction) -> bool:
    """Whether the key is this number of some unit of measure, as it was written."""
    return isinstance(key.meaning, Quantity) and key.meaning.is_measured and key.meaning.written == number


def _value_key(text: str) -> AnswerKey | None:
    date = parse_date(text)  # first: "1 October" is not one of the things called "October"
    if date:
        return AnswerKey("date", str(date), meaning=date)
    quantity = parse_quantity(text)
    return AnswerKey("number", format_number(quantity.value), quantity.unit, quantity) if quantity else None


def _wrapped_value_key(text: str) -> AnswerKey | None:
    """ "It is 42": only in front of a value is the wrapper surely empty."""
    match = _IT_IS.fullmatch(text)
    return _value_key(match[1]) if match else None


def _fold_characters(text: str) -> str:
    """NFKC, but "10²" stays "10^2", "3½" becomes "3 1/2"; plain quotes and dashes; single spaces."""
    marked = text if unicodedata.is_normalized("NFKC", text) else "".join(map(_mark_script, " " + text, text))
    folded = unicodedata.normalize("NFKC", marked).translate(_QUOTES).replace("⁄", "/").replace("\u200b", "")
    return " ".join(folded.split())


def _mark_script(before: str, character: str) -> str:
    """Put a mark where NFKC would join a raised, lowered or fraction character to a digit beside it."""
    script, script_before = _script(character), _script(before)
    if script in _SCRIPTS and script != script_before and (script == "<super>" or before.isdecimal()):
        return _SCRIPTS[script] + character
    return f" {character}" if script_before in _SCRIPTS and character.isdecimal() else character


def _script(character: str) -> str:
    return unicodedata.decomposition(character).partition(" ")[0]


def _trim(text: str) -> str:
    """Without terminal punctuation and surrounding quotes; "5!" and "n!" keep their factorial."""
    while True:
        trimmed = text.strip() if _FACTORIAL.search(text) else text.strip().rstrip(_TERMINAL)
        for mark in _PAIRED:
            inner = trimmed[len(mark) : -len(mark)]
            if inner and trimmed.startswith(mark) and trimmed.endswith(mark) and mark not in inner:
                trimmed = inner
        if trimmed == text:
            return text
        text = trimmed


def _without_wrapper(text: str) -> str:
    match = _ANSWER_IS.fullmatch(text)
    return _trim(match[1]) if match else text


def _fold_case(text: str) -> str:
    if _MILLI_OR_MEGA.fullmatch(text):
        return text
    return unicodedata.normalize("NFKC", text.casefold())
