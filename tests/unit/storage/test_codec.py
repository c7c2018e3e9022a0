"""Records as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from demur.errors import StoreUnavailable
from demur.storage.codec import ANSWERS, CALIBRATIONS, FEEDBACK, Codec
from tests.records import calibration, feedback, record


def test_what_is_written_is_strict_json_with_its_version() -> None:
    """Readable by any tool: no NaN, plain ASCII."""
    document = json.loads(ANSWERS.encode(record()), parse_constant=pytest.fail)
    assert document["schema"] == 1
    assert document["record"]["uncertainty"]["semantic_entropy"] == 0.5
    assert ANSWERS.encode(record()).isascii()


def test_a_number_that_json_has_not_is_refused() -> None:
    """Rather than written as null, which would read as missing."""
    with pytest.raises(ValueError, match="JSON"):
        ANSWERS.encode(record(confidence=math.nan))


@pytest.mark.parametrize(
    ("codec", "kept"), [(ANSWERS, record()), (FEEDBACK, feedback("a")), (CALIBRATIONS, calibration("c"))]
)
def test_a_newer_record_is_refused_with_words(codec: Codec[Any], kept: object) -> None:
    """It could hold what this version does not understand."""
    newer = codec.encode(kept).replace('{"schema":1', '{"schema":2', 1)
    with pytest.raises(StoreUnavailable, match=r"schema 2.*update Demur"):
        codec.decode(newer)


def test_a_record_of_the_first_schema_can_be_read() -> None:
    """As it was written by the first release: whoever changes a field must raise SCHEMA, or give it a default."""
    written = (
        '{"schema":1,"record":{"answer_id":"ans_1","source":"human","key":"alice","created":1795348860,'
        '"label":"correct","score":null,"reference":null,"comment":"schön"}}'
    )
    assert FEEDBACK.decode(written) == feedback("ans_1")
