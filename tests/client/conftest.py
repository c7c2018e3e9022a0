from __future__ import annotations

from collections.abc import Iterator

import pytest

from demur.samplers.scripted import ScriptedAnswer
from demur.types import Sampling
from demur_client import AsyncDemur, Demur
from tests.client.twins import Twin
from tests.service.running import Service, serving


@pytest.fixture(params=[Demur, AsyncDemur], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> type[Demur] | type[AsyncDemur]:
    kind: type[Demur] | type[AsyncDemur] = request.param
    return kind


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """Wavers over `unsure` until it is given passages; never ends `endless`; is certain of everything else."""
    with serving(_answers) as running:
        yield running


def _answers(prompt: str, _: Sampling) -> list[str | ScriptedAnswer]:
    if prompt == "endless":
        return [ScriptedAnswer("Paris", delay_seconds=60)]
    return ["Paris", "Lyon", "Nice"] if "unsure" in prompt and "Context:" not in prompt else ["Paris"]


@pytest.fixture
def twin(kind: type[Demur] | type[AsyncDemur], service: Service) -> Twin:
    return Twin(kind, base_url=service.url)
