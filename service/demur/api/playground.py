"""`/playground`: one static page, served from the package; it calls the same API as everybody."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from demur.api.guard import open_to_all
from demur.api.reading import StrictRoute
from demur.errors import NotFound

# The page may run its own modules and call the service that it came from. Nothing inline, nothing from elsewhere.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
}
_FOLDER = Path(__file__).parent.parent / "playground"
_FILES = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _MEDIA}

router = APIRouter(route_class=StrictRoute, include_in_schema=False)


@router.get("/playground", dependencies=[open_to_all])
async def page() -> Response:
    """Open although there are keys: it holds nothing but itself, and whoever asks types a key into it."""
    return _reply("index.html")


@router.get("/playground/{name}", dependencies=[open_to_all])
async def part(name: str) -> Response:
    """A style, a script or the words of the page."""
    if name not in _FILES:
        raise NotFound("the playground has no such part")
    return _reply(name)


def _reply(name: str) -> Response:
    headers = {"Content-Security-Policy": PAGE_POLICY}
    return Response(_FILES[name], media_type=_MEDIA[Path(name).suffix], headers=headers)
