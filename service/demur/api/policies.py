"""`/v1/policies`: by which thresholds it is decided, what is promised with them, and what others would do."""

from __future__ import annotations

from fastapi import APIRouter

from demur.api.calibrated import PolicyList, PolicyResponse
from demur.api.calibrations import RecalibrationDep
from demur.api.guard import requires
from demur.api.reading import StrictRoute
from demur.types import Policy

router = APIRouter(route_class=StrictRoute, tags=["calibration"])


@router.get("/v1/policies", dependencies=[requires("answer")])
async def list_policies(recalibration: RecalibrationDep) -> PolicyList:
    """The policy `default`: once for each way of asking that is calibrated, and first for all others."""
    calibrated = [PolicyResponse.from_domain(kept) for kept in recalibration.in_force()]
    return PolicyList(data=[PolicyResponse.uncalibrated(Policy()), *calibrated])
