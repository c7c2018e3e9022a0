"""Pairs of picture captions by rule, in the manner of SNLI: the captions are premises of the training sets."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from training.nli_model import words
from training.nli_model.pairs import Label, Pair, general_pairs, normalized

CAPTION_SOURCES = ("mpe", "cf_snli", "joci")
_NEXT_SENTENCE = re.compile(r"(?<=\w)\. +(?=[A-Z])")
_TAIL = re.compile(r" (?:in|on|at|with|near|while|by|next to|in front of|through|during|under|behind|along) ")
_SUBJECT = re.compile(
    r"(?:a|an|the|one)(?: [\w-]+)?? (?P<noun>man|woman|boy|girl|child|person|lady|guy|kid|dog)\b"
    r"(?: (?:in|with) [\w ]+?)?,? (?:is )?"
    r"(?P<deed>(?!\w*(?:thing|string|ring|king|clothing|building|during)\b)\w{2,}ing\b.*)"
)
Made = tuple[str, str, Label]
Rule = Callable[[str, Random], Iterator[Made]]


def with_two_captions(pair: Pair, rng: Random) -> Pair:
    """An MPE pair with two of its premise's four captions, which are of one picture and each nearly enough alone."""
    told = _NEXT_SENTENCE.split(pair.premise)
    return replace(pair, premise=f"{'. '.join(rng.sample(told, min(2, len(told))))}.")


def captions_of(data: Path) -> list[str]:
    """Distinct captions among the training premises, without any that a development set shows."""
    shown = {normalized(s) for p in general_pairs(data, "dev") for s in _NEXT_SENTENCE.split(p.premise)}
    told = (p.premise for p in general_pairs(data, "train") if p.source in CAPTION_SOURCES)
    found = dict.fromkeys(s.strip().rstrip(".") for premise in told for s in _NEXT_SENTENCE.split(premise))
    return [c for c in found if 4 <= len(c.split()) <= 24 and normalized(c) not in shown]


def caption_pairs(captions: Sequence[str], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """Every rule on captions drawn at random, and two captions that begin alike: two pictures, so a contradiction."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for caption in captions:
        alike[_beginning(caption)].append(caption)
    for _ in range(n_rounds):
        for rule in RULES:
            for premise, hypothesis, label in rule(rng.choice(captions), rng):
                yield Pair(_ended(premise, rng), _ended(hypothesis, rng), label, "caption")
        caption = rng.choice(captions)
        other = rng.choice(alike[_beginning(caption)] if rng.random() < 0.7 else captions)
        if _differ(caption, other):
            yield Pair(_ended(caption, rng), _ended(shortened(other) or other, rng), Label.CONTRADICTION, "caption")


def widened(caption: str, rng: Random) -> Iterator[Made]:
    """A word for a wider one: entailed; the other way round it says more."""
    other = _exchanged(caption, words.WIDER, rng)
    if other:
        yield caption, other, Label.ENTAILMENT
        yield other, caption, Label.NEUTRAL


def renamed(caption: str, rng: Random) -> Iterator[Made]:
    """A word for its synonym: entailed both ways."""
    other = _exchanged(caption, words.SYNONYMS, rng)
    if other:
        yield caption, other, Label.ENTAILMENT


def exchanged(caption: str, rng: Random) -> Iterator[Made]:
    """A word for one that excludes it."""
    rivals = {word: [w for w in group if w != word] for group in words.EXCLUSIVE for word in group}
    other = _exchanged(caption, rivals, rng)
    if other:
        yield (
            caption,
            rng.choice([other, shortened(other) or other]) if _holds_change(caption, other) else other,
            (Label.CONTRADICTION),
        )


def cut(caption: str, rng: Random) -> Iterator[Made]:
    """A caption without its last words follows from it; the whole says more than the part."""
    part = shortened(caption)
    if part:
        yield caption, part, Label.ENTAILMENT
        if rng.random() < 0.5:
            yield part, caption, Label.NEUTRAL


def added(caption: str, rng: Random) -> Iterator[Made]:
    """What no picture shows: reasons, relations, what comes next."""
    yield caption, f"{shortened(caption) or caption} {rng.choice(words.UNSEEN_TAILS)}", Label.NEUTRAL


def restated(caption: str, rng: Random) -> Iterator[Made]:
    """ "The man is sitting" from "A man in a hat sitting on a bench", and what the man is said to do instead."""
    match = _SUBJECT.match(caption.lower())
    if match is None:
        return
    subject, deed = f"The {match['noun']}", match["deed"]
    part = _TAIL.split(f"{deed} ")[0].split(" is ")[0].split(" and ")[0].split(",")[0].strip()
    if len(part.split()) > 1 or part in words.DEEDS_ALONE:
        yield caption, f"{subject} is {part}", Label.ENTAILMENT
    yield caption, f"{subject} {rng.choice(words.UNSEEN)}", Label.NEUTRAL
    instead = rng.choice(words.DEEDS_INSTEAD)
    if not {*instead.split()} & {*caption.lower().split()} - {"a", "the", "in", "on", "is", "at"}:
        yield caption, f"{subject} is {instead}", Label.CONTRADICTION


RULES: tuple[Rule, ...] = (widened, renamed, exchanged, cut, added, restated)


def shortened(caption: str) -> str | None:
    """The caption up to a place where a preposition begins its last part; None unless a deed stands before it."""
    ends = [m.start() for m in _TAIL.finditer(caption)]
    for end in reversed(ends):
        if re.search(r"\b(?:is|are)\b \w+|\b\w{2,}ing\b", caption[:end]) and len(caption[:end].split()) >= 4:
            return caption[:end].rstrip(",")
    return None


def _exchanged(caption: str, table: dict[str, list[str]], rng: Random) -> str | None:
    """The caption with one word of the table, at its first place, replaced by one of those that stand for it there."""
    found = [w for w in caption.split() if w.lower() in table]
    if not found:
        return None
    word = rng.choice(found)
    new = rng.choice(table[word.lower()])
    changed = re.sub(rf"\b{re.escape(word)}\b", new, caption, count=1)
    changed = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", changed)
    changed = re.sub(r"\b([Aa])n (?=[^aeiouAEIOUhH])", r"\1 ", changed)
    return changed[:1].upper() + changed[1:]


def _holds_change(caption: str, changed: str) -> bool:
    part = shortened(changed)
    return part is not None and normalized(part) not in normalized(caption)


def _beginning(caption: str) -> str:
    return " ".join(caption.lower().split()[:2])


def _differ(caption: str, other: str) -> bool:
    """Whether two captions share so few words that they are no two tellings of one picture."""
    first, second = {*normalized(caption).split()}, {*normalized(other).split()}
    return len(first & second) <= 0.4 * min(len(first), len(second))


def _ended(sentence: str, rng: Random) -> str:
    return f"{sentence}." if rng.random() < 0.8 else sentence
