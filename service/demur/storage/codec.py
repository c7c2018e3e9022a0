"""Records as JSON, the same in every store: `{"schema": 1, "record": {...}}`."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from demur.errors import StoreUnavailable
from demur.storage.records import AnswerRecord, Calibration, Feedback, Suspension

SCHEMA = 1

T = TypeVar("T")


class Codec(Generic[T]):
    """Of one type of record. What was written by a newer Demur is refused with words rather than half understood."""

    def __init__(self, record_type: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(record_type)

    def encode(self, record: T) -> str:
        """Raises ValueError for NaN and infinities, which JSON has not."""
        body = self._adapter.dump_python(record, mode="json")
        return json.dumps({"schema": SCHEMA, "record": body}, allow_nan=False, separators=(",", ":"))

    def decode(self, text: str | bytes) -> T:
        """Raises StoreUnavailable where this version cannot read the record."""
        document: dict[str, Any] = json.loads(text)
        if document["schema"] != SCHEMA:
            raise StoreUnavailable(
                f"a record has schema {document['schema']} and this version of Demur reads {SCHEMA}: update Demur"
            )
        return self._adapter.validate_python(document["record"])


ANSWERS = Codec(AnswerRecord)
FEEDBACK = Codec(Feedback)
CALIBRATIONS = Codec(Calibration)
SUSPENSIONS = Codec(Suspension)
