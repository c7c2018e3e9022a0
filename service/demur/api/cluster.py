"""`POST /v1/cluster`: which texts mean the same. No language model is called."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from demur.api.answer import while_connected
from demur.api.desk import DeskDep
from demur.api.guard import requires
from demur.api.problems import CLIENT_CLOSED_REQUEST
from demur.api.reading import StrictRoute
from demur.api.requests import timeout_seconds
from demur.api.responses import NLIOut, shown_judgements
from demur.api.wire import Wire
from demur.engine.partitioning import Partition
from demur.errors import FieldError, ValidationFailed
from demur.estimators.semantic_entropy import rao_entropy, semantic_entropy, semantic_entropy_normalized
from demur.settings import DefaultsSettings
from demur.types import Degradation

MAX_TEXTS = 256
MAX_CHARS = 32_000

Weight = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]

EXAMPLES: dict[str, Example] = {
    "answers": {
        "summary": "Answers to a question",
        "value": {
            "texts": ["Paris", "It is Paris.", "Lyon"],
            "prompt": "What is the capital of France?",
            "weights": [0.5, 0.3, 0.2],
        },
    },
}

router = APIRouter(route_class=StrictRoute)


class ClusterRequest(Wire):
    """Texts, and the question that they answer where there is one."""

    model_config = ConfigDict(extra="forbid")

    texts: list[Annotated[str, StringConstraints(max_length=MAX_CHARS)]] = Field(min_length=2, max_length=MAX_TEXTS)
    prompt: str = Field("", description="The question: texts are compared as answers to it.")
    weights: list[Weight] | None = Field(None, description="Of each text: a probability, or how often it was found.")
    include: list[Literal["judgements"]] = Field(default=[], max_length=1, description="`nli.judgements`.")
    timeout_s: float | None = Field(None, ge=0.1, allow_inf_nan=False, description="60 when left out.")

    @model_validator(mode="after")
    def _one_weight_each(self) -> ClusterRequest:
        if self.weights is not None and len(self.weights) != len(self.texts):
            raise ValueError(f"{len(self.weights)} weights for {len(self.texts)} texts")
        return self

    def check(self, defaults: DefaultsSettings) -> None:
        """Raises ValidationFailed where it goes beyond the operator's bounds."""
        bounds = [("prompt", len(self.prompt), defaults.max_prompt_chars, "characters")]
        bounds += [("timeout_s", math.ceil(self.timeout_s or 0), math.floor(defaults.max_timeout_s), "seconds")]
        over = [
            FieldError(f"/{at}", f"{got} {unit} is over the limit of {top}")
            for at, got, top, unit in bounds
            if got > top
        ]
        if over:
            raise ValidationFailed(*over)


class TextClusterOut(BaseModel):
    index: int
    text: str
    size: int
    mass: float | None = Field(description="Share of the weights; null without them.")
    text_indices: list[int]


class ClusterResponse(BaseModel):
    """Texts by meaning. Entropies in nats."""

    object: Literal["clustering"] = "clustering"
    assignments: list[int] = Field(description="The cluster of each text.")
    num_clusters: int
    clusters: list[TextClusterOut]
    semantic_entropy: float = Field(description="Of the shares of texts; 0 = all mean the same.")
    semantic_entropy_normalized: float | None = Field(description="The same divided by ln(number of texts), in [0, 1].")
    semantic_entropy_weighted: float | None = Field(description="Of the shares of weight; null without weights.")
    nli: NLIOut
    degraded: list[Degradation] = Field(description="Why texts may have been compared less well.")

    @classmethod
    def from_domain(cls, partition: Partition, body: ClusterRequest, nli_model: str | None) -> ClusterResponse:
        clustering = partition.clustering
        return cls(
            assignments=list(clustering.semantic_ids),
            num_clusters=clustering.n_clusters,
            clusters=_clusters(partition, body.weights),
            semantic_entropy=semantic_entropy(clustering),
            semantic_entropy_normalized=semantic_entropy_normalized(clustering),
            semantic_entropy_weighted=_weighted(partition, body.weights),
            nli=_nli(partition, nli_model, with_judgements="judgements" in body.include),
            degraded=list(partition.degraded),
        )


def _clusters(partition: Partition, weights: list[float] | None) -> list[TextClusterOut]:
    clustering = partition.clustering
    found = []
    for index, text in enumerate(partition.representatives):
        members = clustering.members(index)
        mass = math.fsum(weights[i] for i in members) / math.fsum(weights) if weights else None
        found.append(TextClusterOut(index=index, text=text, size=len(members), mass=mass, text_indices=list(members)))
    return found


def _weighted(partition: Partition, weights: list[float] | None) -> float | None:
    return rao_entropy(partition.clustering.semantic_ids, [math.log(w) for w in weights]) if weights else None


def _nli(partition: Partition, model: str | None, *, with_judgements: bool) -> NLIOut:
    return NLIOut(
        model=model,
        pairs=partition.n_pairs,
        pairs_cached=partition.n_pairs_cached,
        pairs_speculative=0,
        truncated=partition.is_truncated,
        judgements=shown_judgements(partition.judgements) if with_judgements else None,
    )


@router.post("/v1/cluster", response_model=ClusterResponse, tags=["answer"], dependencies=[requires("answer")])
async def cluster(
    body: Annotated[ClusterRequest, Body(openapi_examples=EXAMPLES)],
    request: Request,
    desk: DeskDep,
) -> ClusterResponse | Response:
    """Group texts by meaning: two are the same when each entails the other."""
    body.check(desk.defaults)
    seconds = timeout_seconds(body.timeout_s, desk.defaults)
    partition = await while_connected(
        request, lambda: desk.answering.cluster(body.texts, body.prompt, tenant=desk.tenant, timeout_seconds=seconds)
    )
    if partition is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return ClusterResponse.from_domain(partition, body, desk.engine.nli_model)
