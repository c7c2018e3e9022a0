"""What keeps the prefix caches of callers apart."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from demur.samplers.cache_salt import CacheSalt


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_salt_tells_scopes_apart_and_nothing_else(one: str, other: str) -> None:
    """Of characters that vLLM takes, at most 128; the same for the same scope."""
    salt = CacheSalt("pepper")
    assert re.fullmatch("[0-9a-f]{64}", salt.of(one) or "")
    assert (salt.of(one) == salt.of(other)) is (one == other)


def test_nobody_guesses_a_salt_without_the_secret() -> None:
    """Which replicas share, or each process makes up."""
    assert CacheSalt("pepper").of("key-1") == CacheSalt("pepper").of("key-1")
    assert len({CacheSalt(secret).of("key-1") for secret in ("pepper", "salt", None, None)}) == 4


def test_without_a_scope_there_is_no_salt() -> None:
    assert CacheSalt("pepper").of(None) is None
