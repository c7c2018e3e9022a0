"""Who a caller is, and whether they may pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from demur.access.keyring import Keyring
from demur.access.keys import SCOPES, ApiKey, Scope
from demur.access.rate_limits import RateLimits
from demur.errors import Forbidden, Unauthenticated
from demur.types import ANONYMOUS

Need = Scope | Literal["nothing", "any key"]


@dataclass(frozen=True, slots=True)
class Caller:
    """`tenant` is the id of the key; nothing that one tenant keeps is shown to another."""

    tenant: str
    scopes: frozenset[Scope]


class Gate:
    """Lets in whoever holds a key with the scope that is needed, at the key's rate. Without keys, everybody."""

    def __init__(self, keyring: Keyring, limits: RateLimits) -> None:
        self._keyring = keyring
        self._limits = limits

    @property
    def is_open(self) -> bool:
        """Whether there are no keys."""
        return not self._keyring.is_required

    async def admit(self, headers: Mapping[str, str], need: Need) -> Caller:
        """Raises Unauthenticated, Forbidden, RateLimited."""
        if self.is_open:
            return Caller(ANONYMOUS, frozenset(SCOPES))
        if need == "nothing":
            return Caller(ANONYMOUS, frozenset())
        key = self._identify(headers)
        if need != "any key" and need not in key.scopes:
            raise Forbidden(f"key {key.id} lacks the scope {need!r}")
        if need not in ("any key", "metrics"):  # what operators watch with must not be shut out by a flood
            await self._limits.spend(key.id, "requests")
        return Caller(key.id, key.scopes)

    async def charge_samples(self, tenant: str, n: int, field: str) -> None:
        """Count samples that are about to be drawn or compared; `field` of the request says how many.

        Raises RateLimited, ValidationFailed.
        """
        if not self.is_open:
            await self._limits.spend(tenant, "samples", n, field)

    def _identify(self, headers: Mapping[str, str]) -> ApiKey:
        key = self._keyring.find(_presented(headers))
        if key is None:
            raise Unauthenticated("this API key is not known here")
        return key


def _presented(headers: Mapping[str, str]) -> str:
    """The secret in `Authorization: Bearer` or `X-API-Key`. Raises Unauthenticated."""
    authorization, plain = headers.get("authorization"), headers.get("x-api-key")
    if authorization is None and plain is None:
        raise Unauthenticated("send an API key: `Authorization: Bearer <key>`, or `X-API-Key: <key>`")
    if authorization is None:
        return plain or ""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("the Authorization header must be `Bearer <key>`")
    if plain is not None and plain != secret.strip():
        raise Unauthenticated("Authorization and X-API-Key hold different keys; send one of them")
    return secret.strip()
