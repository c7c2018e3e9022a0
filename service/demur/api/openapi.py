"""The OpenAPI document, with every problem that a caller may meet, and the page that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from demur.access.gate import Need
from demur.api.events import EVENTS
from demur.api.guard import open_to_all, requires
from demur.api.idempotency import MAX_KEY_CHARS
from demur.api.openai_errors import OPENAI_PATHS, OpenAIError, openai_status
from demur.api.reading import StrictRoute

_PROBLEM = "Problem"
_ALWAYS = {400, 408, 431, 500, 503}
_WITH_KEY = {401, 403, 429}
_WITH_PARAMETERS = {404, 422}
_WITH_BODY = {404, 409, 413, 415, 422, 502, 504, 507}
# The page fetches its script from where FastAPI points, and starts it inline.
_PAGE_POLICY = "default-src 'self' https: 'unsafe-inline'; img-src 'self' https: data:; frame-ancestors 'none'"


class FieldProblem(BaseModel):
    pointer: str = Field(description="JSON pointer (RFC 6901) to the field; empty for the whole body.")
    detail: str


class Problem(BaseModel):
    """What went wrong, and how to mend it (RFC 9457)."""

    type: str = Field(description="`/problems/{slug}`: a page that says more.")
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="Path of the request; left out where its head could not be read.")
    request_id: str | None = None
    errors: list[FieldProblem] | None = None
    retry_after_s: float | None = None


def install(app: FastAPI, docs: Literal["auto", "open", "off"], *, is_open: bool) -> None:
    """Describe the routes of `app`, and serve that where `docs` allows. `is_open`: there are no API keys."""

    def described() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    if docs != "off":
        app.include_router(_pages("nothing" if docs == "open" or is_open else "any key"))


def _pages(need: Need) -> APIRouter:
    allowed = [open_to_all if need == "nothing" else requires(need)]
    router = APIRouter(route_class=StrictRoute, include_in_schema=False, dependencies=[])

    @router.get("/openapi.json", dependencies=allowed)
    async def document(request: Request) -> JSONResponse:
        return JSONResponse(request.app.openapi())

    @router.get("/docs", dependencies=allowed)
    async def page(request: Request) -> HTMLResponse:
        root_path = request.scope.get("root_path", "").rstrip("/")
        html = get_swagger_ui_html(openapi_url=f"{root_path}/openapi.json", title=request.app.title)
        html.headers["Content-Security-Policy"] = _PAGE_POLICY
        return html

    return router


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    unnamed: list[type[BaseModel]] = [Problem, OpenAIError, *EVENTS.values()]
    _, defined = models_json_schema([(m, "validation") for m in unnamed], ref_template="#/components/schemas/{model}")
    schemas |= defined["$defs"]
    for path, method, operation in _operations(document):
        _add_problems(operation, path)
        if method == "post":
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            yield path, method, operation


def _add_problems(operation: dict[str, Any], path: str) -> None:
    """What the route itself declares stays, but for FastAPI's 422, which is not how we say it."""
    is_openai = path in OPENAI_PATHS
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    statuses = set(_ALWAYS)
    statuses |= _WITH_KEY if operation.get("security") else set()
    statuses |= _WITH_PARAMETERS if "{" in path or operation.get("parameters") else set()
    statuses |= _WITH_BODY if "requestBody" in operation else set()
    kind, schema = ("application/json", "OpenAIError") if is_openai else ("application/problem+json", _PROBLEM)
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    for status in sorted({openai_status(s) for s in statuses} if is_openai else statuses):
        responses.setdefault(str(status), {"description": "A problem.", "content": content})


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again with the same body, the first reply is replayed and nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
}
