"""The exported model as a judge of short answers by the service's rules, and the simpler rules it is compared with."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from math import log
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder

from demur.normalisation.answer_keys import answer_key, certainly_different
from training.nli_model.encoder import LABELS
from training.nli_model.pairs import claim, normalized

ENTAILMENT = "entailment"
MAX_TOKENS = 256
Same = Callable[[str, str, str], bool]


class Judge:
    """Verdicts of the model in `folder`, each pair asked once.

    `dtype` float32 is what the service computes in on a CPU; bfloat16 judges several times as many pairs a second
    where the processor has matrix units for it.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        loaded = {"dtype": dtype, "attn_implementation": "eager"}
        self.model = CrossEncoder(str(folder), device="cpu", max_length=MAX_TOKENS, model_kwargs=loaded)
        named = self.model.config.id2label
        self.labels = [named[i].lower() for i in range(len(LABELS))]
        self._known: dict[tuple[str, str], str] = {}

    def labels_of(self, pairs: Iterable[tuple[str, str]]) -> list[str]:
        """The most probable label of each (premise, hypothesis)."""
        wanted = list(pairs)
        new = sorted(set(wanted) - self._known.keys())
        if new:
            logits = self.model.predict(new, batch_size=64, show_progress_bar=False, convert_to_tensor=True)
            self._known.update(zip(new, (self.labels[i] for i in logits.argmax(dim=1).tolist()), strict=True))
        return [self._known[pair] for pair in wanted]

    def entails(self, question: str, answer: str, other: str) -> bool:
        return self.labels_of([(claim(question, answer), claim(question, other))]) == [ENTAILMENT]

    def ask_ahead(self, questions: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Judge at once, in large batches, every ordered pair of answers that the rules leave open."""
        self.labels_of(
            (claim(question, a), claim(question, b))
            for question, answers in questions
            for a, b in permutations(dict.fromkeys(answers), 2)
            if by_rule(a, b) is None
        )

    def strict(self, question: str, a: str, b: str) -> bool:
        """The service's rule: each entails the other, where spelling, numbers and dates do not decide."""
        known = by_rule(a, b)
        return self.entails(question, a, b) and self.entails(question, b, a) if known is None else known

    def either(self, question: str, a: str, b: str) -> bool:
        """One entails the other, whichever, with the same free verdicts: the looser rule of some peers."""
        known = by_rule(a, b)
        return self.entails(question, a, b) or self.entails(question, b, a) if known is None else known


def by_rule(a: str, b: str) -> bool | None:
    """What spelling, numbers, dates and refusals decide without a model; None where they leave it open."""
    first, second = answer_key(a), answer_key(b)
    if first == second:
        return True
    return False if certainly_different(first, second) else None


def exact(question: str, a: str, b: str) -> bool:
    """Equal when normalised: lower case, no articles, accents, punctuation."""
    return normalized(a) == normalized(b)


def semantic_ids(question: str, answers: Sequence[str], same: Same) -> list[int]:
    """First-head greedy clustering: most frequent answers first, each joins the first head that means the same."""
    counts = Counter(map(normalized, answers))
    heads: list[str] = []
    ids: dict[str, int] = {}
    for answer in sorted(answers, key=lambda a: (-counts[normalized(a)], normalized(a))):
        if answer not in ids:
            ids[answer] = next((i for i, head in enumerate(heads) if same(question, head, answer)), len(heads))
            heads += [answer] if ids[answer] == len(heads) else []
    return [ids[answer] for answer in answers]


def semantic_entropy(ids: Sequence[int]) -> float:
    """Entropy of the cluster frequencies, in nats."""
    return -sum(n / len(ids) * log(n / len(ids)) for n in Counter(ids).values())
