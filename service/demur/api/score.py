"""`POST /v1/score`: an answer made elsewhere, rated."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi.openapi.models import Example
from pydantic import Field, StringConstraints, field_validator

from demur.api.answer import verdict_headers, while_connected
from demur.api.desk import DeskDep
from demur.api.guard import requires
from demur.api.problems import CLIENT_CLOSED_REQUEST
from demur.api.reading import StrictRoute
from demur.api.requests import QuestionRequest, SamplingIn
from demur.api.responses import VerdictResponse
from demur.errors import FieldError, ValidationFailed
from demur.settings import DefaultsSettings
from demur.types import ANONYMOUS, Question, Rated, Sample, Sampling

MAX_SAMPLES = 64
MAX_CHARS = 32_000
_DRAWING = ("n", "max_tokens", "stop", "seed", "mode", "min_n")  # fields of `sampling`

Text = Annotated[str, StringConstraints(max_length=MAX_CHARS)]
Logprob = Annotated[float, Field(le=1e-6, allow_inf_nan=False)]  # a certain token may come out a hair above 0
Logprobs = Annotated[list[Logprob], Field(min_length=1, max_length=MAX_CHARS)]

EXAMPLES: dict[str, Example] = {
    "samples": {
        "summary": "With samples of your own: no language model is called",
        "value": {
            "prompt": "What is the capital of France?",
            "answer": "Paris",
            "samples": ["Paris", "It is Paris.", "Paris", "Lyon", "Paris"],
        },
    },
    "drawn": {
        "summary": "By samples that are drawn here",
        "value": {"prompt": "What is the capital of France?", "answer": "Lyon", "quality": "fast"},
    },
    "passages": {
        "summary": "Is it grounded in these passages?",
        "value": {
            "prompt": "Who founded Calverton Mills?",
            "answer": "Edda Marlow",
            "samples": ["Edda Marlow", "Edda Marlow", "Edda Marlow", "Edda Marlow", "Edda Marlow"],
            "context": [{"text": "Calverton Mills was founded by Edda Marlow."}],
            "policy": {"groundedness_min": 0.5},
        },
    },
}

router = APIRouter(route_class=StrictRoute)


class ScoreRequest(QuestionRequest):
    """An answer to rate by samples: by yours where you send any, else by samples that are drawn here."""

    answer: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARS)]
    samples: list[Text] | None = Field(
        None,
        min_length=1,
        max_length=MAX_SAMPLES,
        description="Other answers to the same question. `sampling.temperature` and `top_p` tell how they were drawn.",
    )
    answer_logprobs: Logprobs | None = Field(
        None, description="Of the answer's tokens: natural logarithms, before temperature and top_p."
    )
    sample_logprobs: list[Logprobs] | None = Field(
        None, max_length=MAX_SAMPLES, description="The same for each of `samples`, the end-of-sequence token included."
    )

    @field_validator("answer")
    @classmethod
    def _says_something(cls, answer: str) -> str:
        if not answer.strip():
            raise ValueError("must not be blank")
        return answer

    def to_domain(self, defaults: DefaultsSettings, model: str, tenant: str = ANONYMOUS) -> Question:
        """The question, with the answer to rate. Raises ValidationFailed, ModelNotFound."""
        self._refuse_what_has_no_place()
        question = super().to_domain(defaults, model, tenant)
        rated = Rated(_sample(self.answer, self.answer_logprobs), self._samples())
        sampling = self._elsewhere() if self.samples else question.sampling
        return replace(question, rated=rated, sampling=sampling, answer_strategy="greedy")

    def _refuse_what_has_no_place(self) -> None:
        """What would be ignored is refused."""
        samples, logprobs = self.samples or [], self.sample_logprobs
        idle = self._for_drawing() if samples else []
        wrong = [FieldError(f"/{name}", "nothing is drawn where `samples` are given") for name in idle]
        if logprobs is not None and len(logprobs) != len(samples):
            wrong.append(FieldError("/sample_logprobs", f"{len(logprobs)} lists for {len(samples)} samples"))
        if wrong:
            raise ValidationFailed(*wrong)

    def _for_drawing(self) -> list[str]:
        """What was set and matters only where samples are drawn."""
        plain = SamplingIn()
        own = [name for name in ("model", "quality") if getattr(self, name) is not None]
        sampling = [name for name in _DRAWING if getattr(self.sampling, name) != getattr(plain, name)]
        return [*own, *(f"sampling/{name}" for name in sampling)]

    def _samples(self) -> tuple[Sample, ...]:
        samples = self.samples or []
        logprobs = dict(enumerate(self.sample_logprobs or []))
        return tuple(_sample(text, logprobs.get(i), i) for i, text in enumerate(samples))

    def _elsewhere(self) -> Sampling:
        asked = self.sampling
        return Sampling(n=len(self.samples or []), temperature=asked.temperature or 1.0, top_p=asked.top_p)


def _sample(text: str, logprobs: list[float] | None, index: int = 0) -> Sample:
    return Sample(
        text=text.strip(),
        index=index,
        token_logprobs=tuple(logprobs) if logprobs else None,
        logprob_source="raw" if logprobs else "unknown",
    )


class ScoreResponse(VerdictResponse):
    """The answer that was sent, with the evidence for it, and what to do with it. Nothing of it is kept."""

    object: Literal["score"] = "score"
    model: str | None = Field(description="What drew the samples; null where they were sent.")
    answer_cluster: int | None = Field(
        description="Index of the answer's cluster; null where no sample agrees with it."
    )


@router.post("/v1/score", response_model=ScoreResponse, tags=["answer"], dependencies=[requires("answer")])
async def score(
    body: Annotated[ScoreRequest, Body(openapi_examples=EXAMPLES)],
    request: Request,
    response: Response,
    desk: DeskDep,
) -> ScoreResponse | Response:
    """Rate an answer that was made elsewhere: how many samples agree with it, is it grounded, should it be given?"""
    question = body.to_domain(desk.defaults, desk.engine.model, desk.tenant)
    answered = await while_connected(request, lambda: desk.answering.rate(question))
    if answered is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    response.headers.update(verdict_headers(answered))
    place = answered.answer.chosen_cluster
    return ScoreResponse.from_domain(answered, body.include, desk.defaults.abstain_text, answer_cluster=place)
