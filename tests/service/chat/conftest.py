"""The OpenAI door over a real server and scripted answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.service.chat.asking import answers
from tests.service.running import Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(answers) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected
