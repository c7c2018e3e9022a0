"""What things are called where they are remembered. Braces keep names of one question on one node of a cluster."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pydantic import TypeAdapter

from demur.caching.codec import SCHEMA
from demur.types import Question

# What two callers may differ in and still get the same answer. A new field of Question matters until it is put here.
UNIMPORTANT = frozenset({"timeout_seconds", "on_abstain", "metadata", "cache", "quality", "user"})
_QUESTION = TypeAdapter(Question)


def question_digest(question: Question, fingerprint: str) -> str:
    """32 hex digits over all that changes the answer; `fingerprint` stands for the models and their settings."""
    told = _QUESTION.dump_python(question, mode="json", exclude=set(UNIMPORTANT))
    return digest(SCHEMA.decode(), fingerprint, json.dumps(told))


def digest(*parts: str) -> str:
    """32 hex digits; ("ab", "c") and ("a", "bc") differ."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Names:
    """Every name starts with `prefix`."""

    prefix: str

    def result(self, question: str) -> str:
        return f"{self.prefix}:{{{question}}}:res"

    def lock(self, question: str) -> str:
        """Held by the replica that works on it."""
        return f"{self.prefix}:{{{question}}}:lock"

    def done(self, question: str) -> str:
        """What came of the work, for the replicas that waited for it."""
        return f"{self.prefix}:{{{question}}}:done"

    def question_of(self, answer_id: str, tenant: str) -> str:
        """Leads from an answer to its question; another tenant is led nowhere."""
        return f"{self.prefix}:{{{digest(tenant, answer_id)}}}:of"

    def pairs(self, tenant: str, model: str) -> str:
        """What the names of one tenant's verdicts by one NLI model begin with."""
        return f"{self.prefix}:nli:{digest(tenant)[:16]}:{digest(model)[:8]}:"
