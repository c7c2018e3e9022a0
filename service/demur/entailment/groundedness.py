"""Do the given passages support the answer? Entailment of "question answer" by windows of the passages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from demur.entailment.base import EntailmentModel
from demur.types import Pair, Passage, Statement, Verdict

MAX_WINDOWS = 64

# Bytes of UTF-8, because they bound tokens in every script: some 190 tokens of English, at most 384 of Cyrillic or 256
# of Chinese, so that a window and a question with a short answer fit a model of 512.
MAX_WINDOW_BYTES = 768

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


@dataclass(frozen=True, slots=True)
class Groundedness:
    """`score` in [0, 1] is the best window's probability of entailing the answer; None without any context.

    `contradicts`: no window entails the answer, and one contradicts it. `n_pairs`: windows read, at most 64.
    `is_partial`: the passages had more windows, or a window and the answer did not fit the model. `by_passage`: the
    verdict of each passage's best window, None where none of it was read.
    """

    score: float | None
    contradicts: bool
    n_pairs: int
    is_partial: bool
    by_passage: tuple[Verdict | None, ...] = ()


async def groundedness(
    model: EntailmentModel, *, question: str, answer: str, passages: Sequence[Passage]
) -> Groundedness:
    """Raises: EntailmentUnavailable, Overloaded."""
    everything = [(place, window) for place, passage in enumerate(passages) for window in windows(passage.text)]
    read = [everything[i] for i in _most_related([window for _, window in everything], f"{question} {answer}")]
    hypothesis = Statement(answer, question)
    verdicts = await model.label([Pair(Statement(window), hypothesis) for _, window in read])
    by_window = [(place, verdict) for (place, _), verdict in zip(read, verdicts, strict=True)]
    labels = {verdict.label for verdict in verdicts}
    return Groundedness(
        score=max((verdict.entailment for verdict in verdicts), default=None),
        contradicts="contradiction" in labels and "entailment" not in labels,
        n_pairs=len(read),
        is_partial=len(read) < len(everything) or any(verdict.is_truncated for verdict in verdicts),
        by_passage=tuple(_best(v for at, v in by_window if at == place) for place in range(len(passages))),
    )


def _best(verdicts: Iterable[Verdict]) -> Verdict | None:
    return max(verdicts, key=lambda verdict: verdict.entailment, default=None)


def windows(text: str, max_bytes: int = MAX_WINDOW_BYTES) -> list[str]:
    """Runs of whole sentences of at most `max_bytes`; each begins with the last sentence of the one before, if it fits.

    The overlap keeps two sentences that belong together ("... Marie Curie. She ...") in one window. Only a sentence
    longer than a window is divided, between words; nothing is left out.
    """
    sentences = (part for whole in _SENTENCE_END.split(text) for part in _parts(whole, max_bytes))
    return list(_packed(sentences, max_bytes, n_overlap=1))


def _parts(sentence: str, max_bytes: int) -> Iterator[str]:
    """The sentence with single spaces, divided only as far as it is too long."""
    words = (piece for word in sentence.split() for piece in _pieces(word, max_bytes))
    return _packed(words, max_bytes, n_overlap=0)


def _packed(texts: Iterable[str], max_bytes: int, *, n_overlap: int) -> Iterator[str]:
    """Neighbouring texts joined by spaces while they fit into `max_bytes`."""
    run: list[str] = []
    n_bytes = 0
    for text in texts:
        n_more = _n_bytes(text) + 1
        if run and n_bytes + n_more > max_bytes + 1:
            yield " ".join(run)
            run = run[len(run) - n_overlap :]
            n_bytes = sum(_n_bytes(kept) + 1 for kept in run)
            if n_bytes + n_more > max_bytes + 1:
                run, n_bytes = [], 0
        run.append(text)
        n_bytes += n_more
    if run:
        yield " ".join(run)


def _pieces(word: str, max_bytes: int) -> Iterator[str]:
    """The word itself; where it is longer than a window (a script without spaces, a data URL), pieces of it."""
    step = len(word) if _n_bytes(word) <= max_bytes else max(1, max_bytes // 4)
    for start in range(0, len(word), step):
        yield word[start : start + step]


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _most_related(found: Sequence[str], statement: str) -> list[int]:
    """Which windows share most words with the statement, at most 64, in the order of the text."""
    wanted = _words(statement)
    ranked = sorted(range(len(found)), key=lambda i: len(wanted & _words(found[i])), reverse=True)
    return sorted(ranked[:MAX_WINDOWS])


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
