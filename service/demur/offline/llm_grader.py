"""A language model as grader."""

from __future__ import annotations

import re
from collections.abc import Sequence

from demur.errors import BackendError
from demur.evaluation.graders import matches_exactly
from demur.normalisation.non_answers import is_non_answer
from demur.offline.replies import reply
from demur.samplers.base import Sampler

PROMPT = """\
Question: {question}
Reference answers, each of them right:
{references}
Proposed answer: {answer}

Does the proposed answer say what one of the reference answers says? It may say more, but nothing that contradicts them.
Reply with yes or no, and nothing else."""

_MAX_TOKENS = 256  # some think aloud before they say it
_MAX_REFERENCES = 20
_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class LLMGrader:
    """Right where the normalised text is that of a reference, or where the model finds that it says the same.

    A model favours its own answers: let another one judge.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.name = f"llm ({sampler.model})"

    async def is_correct(self, question: str, answer: str, references: Sequence[str]) -> bool:
        """Raises BackendError where the reply is neither yes nor no, and as `Sampler.sample`."""
        if is_non_answer(answer):
            return False
        if matches_exactly(answer, references):
            return True
        listed = "\n".join(f"- {reference}" for reference in references[:_MAX_REFERENCES])
        asked = PROMPT.format(question=question, references=listed, answer=answer)
        said = await reply(self._sampler, asked, max_tokens=_MAX_TOKENS)
        return _read(said.text)


def _read(text: str) -> bool:
    """The last yes or no: what comes before may be thoughts."""
    found = _VERDICT.findall(text)
    if not found:
        raise BackendError(f"the judge said neither yes nor no: {text[:80]!r}")
    return bool(found[-1].lower() == "yes")
