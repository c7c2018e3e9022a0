"""Keeps callers from learning, by how fast an answer comes, what others have asked."""

from __future__ import annotations

import hmac
import secrets


class CacheSalt:
    """Turns a scope, such as the id of an API key, into a salt for vLLM's prefix cache.

    Prompts share cached prefixes only under the same salt. Without a secret, each process makes up its own.
    """

    def __init__(self, secret: str | None = None) -> None:
        self._secret = (secret or secrets.token_hex(32)).encode()

    def of(self, scope: str | None) -> str | None:
        """64 hexadecimal digits; None, which shares the cache with everybody, where there is no scope."""
        return None if scope is None else hmac.new(self._secret, scope.encode(), "sha256").hexdigest()
