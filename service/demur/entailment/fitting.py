"""Two statements into one window of tokens: questions are cut before answers are."""

from __future__ import annotations

from dataclasses import dataclass

from demur.types import Statement

# More characters than this per token of the window are never tokenised: a 5 MB question would cost seconds of work
# for text that is cut anyway. Ordinary text has 4 to 5 characters per token.
CHARACTERS_PER_TOKEN = 16


def shares(room: int, first: int, second: int) -> tuple[int, int]:
    """How many of `room` places two texts get: all they need where both fit, else each at least half, or all of it."""
    half = room // 2
    return min(first, max(half, room - second)), min(second, max(half, room - first))


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text, and where its tokens lie: (start, stop) in bytes of its UTF-8."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.spans)

    def first(self, n: int) -> str:
        if n >= len(self):
            return self.text
        return self._between(0, self.spans[n - 1][1] if n else 0)

    def last(self, n: int) -> str:
        if n >= len(self):
            return self.text
        return self._between(self.spans[len(self) - n][0], None) if n else ""

    def _between(self, start: int, stop: int | None) -> str:
        return self.text.encode()[start:stop].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class TokenizedStatement:
    """`is_cut`: its text was so long that not all of it was tokenised."""

    question: Tokens
    answer: Tokens
    is_cut: bool = False

    def __len__(self) -> int:
        return len(self.question) + len(self.answer)

    def fitted(self, n_question: int, n_answer: int) -> Statement:
        """Keeps the end of the question, where it usually is asked, and the beginning of the answer."""
        return Statement(self.answer.first(n_answer), self.question.last(n_question))


def fit(first: TokenizedStatement, second: TokenizedStatement, room: int) -> tuple[Statement, Statement, bool]:
    """Both statements in at most `room` tokens, and whether some text was left out.

    Questions are shortened first, at their beginning; an answer is cut, at its end, only where the two answers alone
    do not fit, and then keeps at least half the room.
    """
    answers = shares(room, len(first.answer), len(second.answer))
    questions = shares(room - sum(answers), len(first.question), len(second.question))
    is_cut = first.is_cut or second.is_cut or sum(answers) + sum(questions) < len(first) + len(second)
    return first.fitted(questions[0], answers[0]), second.fitted(questions[1], answers[1]), is_cut
