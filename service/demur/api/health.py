"""Probes, metrics, version, and the pages that problem types point to."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from demur import __version__
from demur.api.guard import open_to_all, requires
from demur.api.problems import PROBLEMS
from demur.api.reading import StrictRoute
from demur.engine.engine import Engine
from demur.errors import NotFound
from demur.observability.metrics import Metrics
from demur.storage.base import Store

# Without the detail, which names hosts and paths: probes are open to all. `demur doctor` and the log tell it.
_STORE_STATES = {
    "ok": "records are durable",
    "filling": "records are durable, but there is little room for more",
    "not_durable": "records could be lost, so none are kept: answers say `stored: false`, feedback is refused",
    "away": "no records are kept now: answers say `stored: false`, feedback is refused",
}

router = APIRouter(route_class=StrictRoute)


class StoreStatus(BaseModel):
    state: Literal["ok", "filling", "not_durable", "away"]
    means: str


class Status(BaseModel):
    status: Literal["ok", "draining", "nli_stuck"]


class ReadyStatus(Status):
    store: StoreStatus


class VersionResponse(BaseModel):
    version: str
    model: str
    nli_model: str | None


DRAINING: dict[int | str, Any] = {503: {"model": Status}}


@router.get("/livez", response_model=Status, tags=["probes"], dependencies=[open_to_all])
@router.get("/startupz", response_model=Status, tags=["probes"], dependencies=[open_to_all])
async def alive() -> Status:
    """The process runs. The socket opens only after the models are loaded, so that started means ready."""
    return Status(status="ok")


@router.get("/readyz", response_model=ReadyStatus, responses=DRAINING, tags=["probes"], dependencies=[open_to_all])
@router.get("/health", response_model=ReadyStatus, responses=DRAINING, tags=["probes"], dependencies=[open_to_all])
async def ready(request: Request) -> Response:
    """200 while new requests are welcome; 503 while draining, and while the NLI model hangs: it compares answers by
    exact match then, and another replica can do better. Without its store the service answers all the same."""
    engine: Engine = request.app.state.engine
    if engine.is_draining:
        return JSONResponse({"status": "draining"}, 503)
    if engine.is_nli_stuck:
        return JSONResponse({"status": "nli_stuck"}, 503)
    store: Store = request.app.state.store
    state = (await store.health()).state
    return JSONResponse({"status": "ok", "store": {"state": state, "means": _STORE_STATES[state]}})


@router.get(
    "/metrics",
    tags=["operations"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
    dependencies=[requires("metrics")],
)
async def metrics(request: Request) -> Response:
    """Prometheus metrics, as text or OpenMetrics by `Accept`."""
    known: Metrics = request.app.state.metrics
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(known.registry), media_type=content_type)


@router.get("/version", tags=["operations"], dependencies=[open_to_all])
async def version(request: Request) -> VersionResponse:
    """What runs here."""
    engine: Engine = request.app.state.engine
    return VersionResponse(version=__version__, model=engine.model, nli_model=engine.nli_model)


@router.get("/problems/{slug}", tags=["operations"], response_class=HTMLResponse, dependencies=[open_to_all])
async def problem_page(slug: str) -> HTMLResponse:
    """What a problem type means, and how to mend it."""
    known = PROBLEMS.get(slug)
    if known is None:
        raise NotFound("there is no such problem")
    return HTMLResponse(
        f"<!doctype html><html lang=en><title>{known.title}</title><h1>{known.title}</h1>"
        f"<p>HTTP status {known.status}, type <code>{slug}</code>.</p><p>{known.mend}</p></html>"
    )
