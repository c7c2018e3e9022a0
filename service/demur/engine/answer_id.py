"""Identifiers that sort by time: `ans_` and a ULID (48 bits of milliseconds, 80 random bits, Crockford base 32)."""

from __future__ import annotations

import secrets
from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26


def answer_id(now: datetime) -> str:
    value = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "ans_" + "".join(_ALPHABET[(value >> 5 * k) & 31] for k in reversed(range(_LENGTH)))
