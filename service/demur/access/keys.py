"""API keys: who may call, and for what. A key is 256 random bits; what is kept is its SHA-256 digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from demur.types import ANONYMOUS

Scope = Literal["answer", "feedback", "admin", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_FORM = "id:sha256-of-the-key:scope,scope"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`id` names the tenant; `digest` is the SHA-256 of the secret, in hex."""

    id: str
    digest: str
    scopes: frozenset[Scope]

    @classmethod
    def parse(cls, line: str) -> ApiKey:
        """From `id:sha256-of-the-key:scope,scope`. Raises ValueError, without repeating the line."""
        parts = [part.strip() for part in line.split(":")]
        if len(parts) != 3:
            raise ValueError(f"a key is written {_FORM}")
        key_id, digest, scopes = parts[0], parts[1].lower(), _scopes(parts[2])
        if not _ID.fullmatch(key_id) or key_id == ANONYMOUS:
            raise ValueError(f"an id is 1 to 64 letters, digits, dots, dashes, underscores, and not {ANONYMOUS!r}")
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"key {key_id}: the digest must be 64 hex digits, the SHA-256 of the key")
        return cls(key_id, digest, scopes)

    @property
    def line(self) -> str:
        return f"{self.id}:{self.digest}:{','.join(scope for scope in SCOPES if scope in self.scopes)}"


def new_key(key_id: str, scopes: str) -> tuple[str, ApiKey]:
    """A fresh secret, and the key that recognises it. Raises ValueError for a bad id or scope."""
    secret = f"demur_{secrets.token_urlsafe(32)}"
    return secret, ApiKey.parse(f"{key_id}:{_digest(secret)}:{scopes}")


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Keys, one a line or separated by semicolons; `#` begins a comment. Raises ValueError where one is wrong."""
    lines = [line.split("#")[0].strip() for line in re.split(r"[\n;]", text)]
    return tuple(ApiKey.parse(line) for line in lines if line)


def require_distinct(keys: Iterable[ApiKey]) -> None:
    """Raises ValueError where an id or a secret is given twice."""
    known = list(keys)
    for what, values in (("id", [k.id for k in known]), ("secret", [k.digest for k in known])):
        if twice := [value for value, n in Counter(values).items() if n > 1]:
            raise ValueError(f"two keys have the same {what}" + (f" {twice[0]}" if what == "id" else ""))


def find_key(keys: Sequence[ApiKey], presented: str) -> ApiKey | None:
    """The key that `presented` is the secret of. Takes the same time whichever key it is, and if it is none."""
    digest = _digest(presented)
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _scopes(text: str) -> frozenset[Scope]:
    named = {name.strip() for name in text.split(",")}
    if unknown := sorted(named.difference(SCOPES)):
        raise ValueError(f"unknown scope {unknown[0]!r}; there are {', '.join(SCOPES)}")
    return frozenset(scope for scope in SCOPES if scope in named)
