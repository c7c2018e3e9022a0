from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.service.running import serve_process


@pytest.fixture(scope="session")
def bundled() -> Iterator[httpx2.Client]:
    """A client of `demur serve` on its embedded default: the real models, the real server."""
    with serve_process() as process, httpx2.Client(base_url=process.url, timeout=300) as client:
        yield client
