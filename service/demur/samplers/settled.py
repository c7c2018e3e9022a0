"""What of an answer that is being written will stay as it is."""

from __future__ import annotations

from collections.abc import Sequence

from demur.samplers.reasoning import may_be_thinking, strip_reasoning

_HALF_A_CHARACTER = "\ufffd"


def settled(text: str, stop: Sequence[str] = ()) -> str:
    """The part that no further token changes or takes back: of growing texts, growing parts of one answer.

    Held back are thinking, half a character, what may be the beginning of a stop string, and blanks at the end.
    """
    if may_be_thinking(text):
        return ""
    answer = strip_reasoning(text).rstrip(_HALF_A_CHARACTER)
    cut = first_stop(answer, stop)
    if cut is None:
        cut = len(answer) - max((_overlap(answer, each) for each in stop), default=0)
    return answer[:cut].strip()


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the stop string begins that is whole first, and so ended the text."""
    return min(((at + len(each), at) for each in stop if each and (at := text.find(each)) >= 0), default=(0, None))[1]


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` with which `stop` begins."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
