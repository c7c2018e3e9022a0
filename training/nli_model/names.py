"""Pairs of names that the model need not know: what is spelled otherwise is another thing, however like it looks."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from random import Random

import torch
from transformers import BertModel, PreTrainedTokenizerBase

from training.nli_model import words
from training.nli_model.pairs import Judged, Label, Pair, claim, normalized
from training.nli_model.variations import Seed, contains_all, dressed, either_way, respelled, share_a_word

NAMING_SOURCES = ("newprot_base", "newprot_contrast", "conjnli_adv", "mnli_train20k")
MAX_LIKENESS = 0.7  # share of letters in common, above which two names may be one name misspelled
N_NEAREST = 25
BEGINNING = 3
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w-]{2,}(?: [A-Z][\w-]+){0,2}(?!\w|'s)")


def names_of(pairs: Sequence[Pair]) -> list[str]:
    """Distinct capitalised names inside the premises of the sets that tell of real people, places and things."""
    told = dict.fromkeys(p.premise for p in pairs if p.source in NAMING_SOURCES)
    return list(dict.fromkeys(name for premise in told for name in _NAME.findall(premise)))


def stranger_pairs(seeds: Sequence[Seed], names: Sequence[str], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """A name in two wordings, and two names: any two, two that begin alike, two that share a word."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[name[:BEGINNING].lower()].append(name)
        alike[name.split()[0]].append(name)
        alike[name.split()[-1]].append(name)
    questions = [s.question for s in seeds if s.kind in ("person", "place", "thing")]
    for _ in range(n_rounds):
        question, name = rng.choice(questions), rng.choice(names)
        same = rng.choice([dressed(question, name, rng), respelled(name, "person", rng)])
        yield Pair(*either_way(claim(question, name), claim(question, same), rng), Label.ENTAILMENT, "stranger")
        key = rng.choice([name[:BEGINNING].lower(), name.split()[0], name.split()[-1]])
        for other, label in (
            (rng.choice(names), Label.CONTRADICTION),
            (rng.choice(alike[key]), Label.NOT_ENTAILMENT),
        ):
            if are_unlike(name, other):
                first, second = dressed(question, name, rng), dressed(question, other, rng)
                yield Pair(*either_way(claim(question, first), claim(question, second), rng), label, "stranger")


def are_unlike(name: str, other: str) -> bool:
    """Whether two names are neither spelled nearly alike nor one within the other, nor initials of it."""
    if contains_all(name, other) or contains_all(other, name):
        return False
    a, b = normalized(name).replace(" ", ""), normalized(other).replace(" ", "")
    return len(a) > 2 < len(b) and SequenceMatcher(None, a, b).ratio() < MAX_LIKENESS


class Nearest:
    """For an answer, the other questions' answers that the untrained encoder finds nearest in meaning."""

    def __init__(self, rows: Sequence[Judged], seeds: Sequence[Seed]) -> None:
        self._asked: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            for reference in row.references:
                self._asked[normalized(reference)].add(row.question)
        self.answers = list(dict.fromkeys(s.answer for s in seeds))
        self.nearest: dict[str, list[str]] = {}

    def find(self, encoder: BertModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Look up the nearest answers of each; the mean of the token vectors, by cosine."""
        vectors = _vectors(self.answers, encoder, tokenizer)
        for start in range(0, len(vectors), 512):
            rows = (vectors[start : start + 512] @ vectors.T).topk(N_NEAREST + 1).indices.tolist()
            for i, row in enumerate(rows, start):
                self.nearest[self.answers[i]] = [self.answers[j] for j in row if j != i]

    def rivals(self, answer: str) -> list[str]:
        """Near answers that mean something else: no list of references holds both, and they are spelled otherwise."""
        own = self._asked[normalized(answer)]
        return [x for x in self.nearest[answer] if are_unlike(answer, x) and not own & self._asked[normalized(x)]]


def rival_pairs(seeds: Sequence[Seed], nearest: Nearest, rng: Random, rounds: int) -> Iterator[Pair]:
    """An answer against a near answer to another question, as "Tuvalu" and "Nauru"."""
    for seed in (s for s in seeds for _ in range(rounds)):
        rivals = nearest.rivals(seed.answer)
        if not rivals:
            continue
        other = rng.choice(rivals)
        label = Label.NOT_ENTAILMENT if share_a_word(other, seed.answer) else Label.CONTRADICTION
        first, second = dressed(seed.question, seed.answer, rng), dressed(seed.question, other, rng)
        yield Pair(*either_way(claim(seed.question, first), claim(seed.question, second), rng), label, "rival")


def class_pairs(seeds: Sequence[Seed], rng: Random, n_rounds: int) -> Iterator[Pair]:
    """A class and a member of it, as "fly" and "fruit fly": the member is of the class, the class is not the member."""
    common = [s.answer for s in seeds if s.kind == "thing" and s.answer.islower() and s.answer.count(" ") < 2]
    common += [member for members in words.FAMILIES.values() for member in members if member.islower()]
    questions = [s.question for s in seeds if s.kind == "thing"]
    for _ in range(n_rounds):
        question, thing = rng.choice(questions), rng.choice(common).removeprefix("the ")
        narrow, other = (f"{word} {thing}" for word in rng.sample(words.NARROWER, 2))
        asked = [claim(question, dressed(question, answer, rng)) for answer in (thing, narrow, other)]
        yield Pair(asked[1], asked[0], Label.ENTAILMENT, "class")
        yield Pair(asked[0], asked[1], Label.NOT_ENTAILMENT, "class")
        yield Pair(asked[1], asked[2], Label.NOT_ENTAILMENT, "class")


@torch.inference_mode()
def _vectors(texts: Sequence[str], encoder: BertModel, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    found = []
    for start in range(0, len(texts), 256):
        inputs = tokenizer(
            list(texts[start : start + 256]), truncation=True, max_length=24, padding=True, return_tensors="pt"
        )
        hidden, mask = encoder(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
        found.append(torch.nn.functional.normalize((hidden * mask).sum(dim=1), dim=-1))
    return torch.cat(found)
