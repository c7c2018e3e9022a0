"""Have a running service fit a calibration on answers that were judged here, and keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from demur.errors import NotCalibratable
from demur.evaluation.fitting import Target
from demur.evaluation.judged import JudgedAnswer
from demur.usage import fail

_SECONDS = 300.0


def upload(
    url: str, api_key: str | None, answers: Sequence[JudgedAnswer], target: Target, *, activate: bool
) -> dict[str, Any]:
    """The calibration as the service shows it. Raises NotCalibratable, SettingOrUsageError."""
    import httpx2

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        reply = httpx2.post(
            f"{url.rstrip('/')}/v1/calibrations",
            json=request_body(answers, target, activate=activate),
            headers=headers,
            timeout=_SECONDS,
        )
    except httpx2.HTTPError as error:
        fail(f"cannot reach {url}: {error}")
    if reply.status_code == 422 and reply.json()["type"].endswith("/not-calibratable"):
        raise NotCalibratable(reply.json()["detail"])
    if reply.status_code != 201:
        fail(f"{url} answered {reply.status_code}: {reply.text[:500]}")
    kept: dict[str, Any] = reply.json()
    return kept


def request_body(answers: Sequence[JudgedAnswer], target: Target, *, activate: bool) -> dict[str, Any]:
    """What `POST /v1/calibrations` takes. Raises NotCalibratable where answers were asked for in several ways."""
    whole = [answer for answer in answers if not answer.is_voided]
    if len({answer.key for answer in whole}) != 1:
        raise NotCalibratable(
            "a profile is for one way of asking, and these answers were asked for in several, or none"
        )
    templates = {answer.prompt_template for answer in whole if answer.stage == "with_context"}
    if len(templates) > 1:
        raise NotCalibratable("these answers from passages were asked for with several prompt templates")
    return {
        "source": "dataset",
        "method": target.method,
        "max_risk": target.max_risk,
        "delta": target.delta,
        "certificate": target.wants_certificate,
        "population": target.population,
        "retrieval_id": target.retrieval_id,
        "cascade": target.cascade,
        "retrieval_cost": target.retrieval_cost,
        "wrong_cost": target.wrong_cost,
        "activate": activate,
        "dataset": {
            "key": asdict(whole[0].key),
            "prompt_template": next(iter(templates), None),
            "grader": target.grader,
            "answers": [_answer(answer) for answer in (answers if target.cascade else whole)],
        },
    }


def _answer(answer: JudgedAnswer) -> dict[str, Any]:
    told: dict[str, Any] = {"id": answer.id, "correct": answer.is_correct, "signals": dict(answer.signals)}
    if answer.stage == "with_context":
        told["stage"] = answer.stage
    if answer.is_refusal:
        told["refusal"] = True
    if answer.is_voided:
        told["degraded"] = True
    if answer.greedy is not None:
        told["greedy"] = {"correct": answer.greedy.is_correct, "refusal": answer.greedy.is_refusal}
    return told
