"""Answers as bytes: a header that names the schema, then compressed JSON (even a short answer is over a kilobyte)."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from demur import __version__
from demur.types import Answer

MAX_BYTES = 32 * 1024 * 1024  # of the JSON: what claims to be more is not read
_MAGIC = b"demur:"


class Stale(Exception):
    """Written by a version of Demur whose answers look different."""


class Garbled(Exception):
    """Not written by Demur."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was put away; `kept_at` is Unix time in seconds, `ttl_seconds` how long it may be used."""

    answer: Answer
    kept_at: float
    ttl_seconds: float

    @property
    def age_seconds(self) -> float:
        """Clocks of replicas differ a little: never below 0, nor above the time to live."""
        return min(max(0.0, datetime.now(UTC).timestamp() - self.kept_at), self.ttl_seconds)


_ADAPTER = TypeAdapter(Kept)


def _schema() -> bytes:
    """Changes with every field of an answer, and with the version, by whose rules the numbers were computed."""
    described = json.dumps([__version__, _ADAPTER.json_schema()], sort_keys=True)
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest().encode()


SCHEMA = _schema()


def encode(kept: Kept) -> bytes:
    """Raises ValueError where an answer holds half a surrogate pair, which JSON cannot tell."""
    return _MAGIC + SCHEMA + zlib.compress(_ADAPTER.dump_json(kept), level=1)


def decode(data: bytes) -> Kept:
    """The inverse of `encode`, to the last bit. Raises Stale, Garbled."""
    header, body = data[: len(_MAGIC) + len(SCHEMA)], data[len(_MAGIC) + len(SCHEMA) :]
    if not header.startswith(_MAGIC):
        raise Garbled
    if header != _MAGIC + SCHEMA:
        raise Stale
    try:
        return _ADAPTER.validate_json(_inflated(body))
    except (ValidationError, zlib.error) as error:
        raise Garbled from error


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    document = inflater.decompress(data, MAX_BYTES)
    if not inflater.eof or inflater.unused_data:
        raise Garbled
    return document
