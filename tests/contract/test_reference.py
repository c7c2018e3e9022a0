"""The committed interface is that of the code, and the Python client knows all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

import demur_client
from clients.openapi.build import DOCUMENT, texts
from demur_client import _options as options

SCHEMAS: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))["components"]["schemas"]

# What each of the client's models reads.
MODELS: dict[str, type[BaseModel]] = {
    "AnswerResponse": demur_client.AnswerResult,
    "CacheOut": demur_client.Cache,
    "CalibrationOut": demur_client.Calibration,
    "ClusterOut": demur_client.Cluster,
    "ClusterResponse": demur_client.Clustering,
    "GuaranteeOut": demur_client.Guarantee,
    "JudgementOut": demur_client.Judgement,
    "AnswerNLIOut": demur_client.AnswerNLI,
    "NLIOut": demur_client.NLI,
    "VerdictOut": demur_client.PassageVerdict,
    "PolicyOut": demur_client.Policy,
    "ProgressEvent": demur_client.ProgressEvent,
    "SampleEvent": demur_client.SampleEvent,
    "SampleOut": demur_client.Sample,
    "SamplingOut": demur_client.Sampling,
    "ScoreResponse": demur_client.ScoreResult,
    "StartEvent": demur_client.StartEvent,
    "TextClusterOut": demur_client.TextCluster,
    "TimingsOut": demur_client.Timings,
    "TokenConfidenceOut": demur_client.TokenConfidence,
    "TokenOut": demur_client.Token,
    "UncertaintyOut": demur_client.Uncertainty,
    "UsageOut": demur_client.Usage,
}
REQUESTS: dict[str, tuple[Any, set[str]]] = {
    "AnswerRequest": (options.AnswerOptions, {"prompt", "messages"}),
    "ScoreRequest": (options.ScoreOptions, {"prompt", "messages", "answer"}),
    "ClusterRequest": (options.ClusterOptions, {"texts"}),
    "CacheIn": (options.CacheOption, set()),
    "CalibrationRequest": (options.CalibrationOptions, set()),
    "MessageIn": (options.MessageOption, set()),
    "PassageIn": (options.PassageOption, set()),
    "PolicyIn": (options.PolicyOption, set()),
    "RetrievalIn": (options.RetrievalOption, set()),
    "SamplingIn": (options.SamplingOption, set()),
}


@pytest.mark.parametrize("path", sorted(texts()), ids=lambda path: path.name)
def test_what_is_committed_is_what_the_code_says(path: Path) -> None:
    """After a change of the interface that is meant: `make reference`, and look at the difference."""
    assert path.read_text(encoding="utf-8") == texts()[path]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_clients_models_read_what_is_sent(name: str) -> None:
    """The same fields of the same types; a value that may be null may be None; enumerations may grow."""
    sent = SCHEMAS[name]["properties"]
    described = MODELS[name].model_json_schema(mode="validation")
    read = {key: value for key, value in described["properties"].items() if key != "type" or "type" in sent}
    assert read.keys() == sent.keys()
    kinds = {f"{model.__name__}": schema for schema, model in MODELS.items()}
    for key, schema in sent.items():
        assert _shape(read[key], kinds) == _shape(schema, {}), key


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_the_clients_options_are_what_may_be_asked(name: str) -> None:
    """All but what has a parameter of its own, and what is no part of the body."""
    kind, others = REQUESTS[name]
    offered = set(get_type_hints(kind)) - {"idempotency_key", "extra_body"}
    assert offered | others == set(SCHEMAS[name]["properties"])


def _shape(schema: dict[str, Any], names: dict[str, str]) -> Any:
    """A type without its words and bounds. An enumeration is a text: newer services may say more."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target = names.get(name, name)
        return "string" if "enum" in SCHEMAS.get(target, {}) else target
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        shapes = {json.dumps(_shape(each, names)) for each in choices}
        return sorted(shapes) if len(shapes) > 1 else json.loads(shapes.pop())
    if "const" in schema or "enum" in schema:
        return "string"
    if schema.get("type") == "array":
        return ["array", _shape(schema["items"], names)]
    if schema.get("type") == "object":
        return ["object", _shape(schema.get("additionalProperties", {}), names)]
    return schema.get("type", "any")
