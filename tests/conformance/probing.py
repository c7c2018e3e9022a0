"""What the tests of the openai sampler share."""

from __future__ import annotations

from collections.abc import Callable

from demur.samplers.openai_compatible import OpenAISampler
from demur.types import Sample
from tests.conformance.openai_server import Behaviour, OpenAIServer

Connect = Callable[..., OpenAISampler]


async def probed(sampler: OpenAISampler, server: OpenAIServer, then: Behaviour | None = None) -> OpenAISampler:
    """Let the server be probed, forget what it saw, and behave as told `then`."""
    await sampler.probe()
    server.bodies.clear()
    server.paths.clear()
    server.behaviour = then or server.behaviour
    return sampler


def sampled(samples: list[Sample]) -> list[Sample]:
    return [s for s in samples if not s.is_greedy]
