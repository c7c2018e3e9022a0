"""What the settings make of the caches."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from demur.caching.caches import open_caches
from demur.errors import BackendError, StoreUnavailable
from demur.observability.metrics import Metrics
from demur.settings import StoreSettings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("url", [None, "sqlite:///somewhere.db"])
async def test_without_redis_verdicts_are_not_shared(url: str | None) -> None:
    """There is nobody to share them with; the memory of the process is enough."""
    settings = StoreSettings(url=SecretStr(url) if url else None)
    async with open_caches(settings, Metrics()) as caches:
        assert caches.pairs("nli") is None


async def test_an_address_that_cannot_be_understood_is_named() -> None:
    """When the service starts, with the setting that is wrong."""
    with pytest.raises(StoreUnavailable, match="DEMUR_STORE__URL"):
        async with open_caches(StoreSettings(url=SecretStr("redis+sentinel://nobody")), Metrics()):
            pytest.fail("it was opened")


async def test_what_goes_wrong_inside_comes_out_as_it_was() -> None:
    """A model that cannot be loaded while the caches are open: the same error, in no group."""
    failure = BackendError("no such model")
    with pytest.raises(BackendError) as raised:
        async with open_caches(StoreSettings(), Metrics()):
            raise failure
    assert raised.value is failure
