"""Strict JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.api.reading import read_json
from demur.errors import MalformedJSON

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(DOCUMENTS)
def test_every_json_document_is_read(document: object) -> None:
    """What json.dumps writes comes back equal."""
    assert read_json(json.dumps(document, ensure_ascii=False).encode()) == document


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(body: bytes) -> None:
    """Nothing but MalformedJSON is raised, and what is read can be written again as UTF-8."""
    try:
        document = read_json(body)
    except MalformedJSON:
        return
    assert read_json(json.dumps(document, ensure_ascii=False, allow_nan=False).encode()) == document


@pytest.mark.parametrize("body", [b"1e999", b'{"a": -1e999}'])
def test_numbers_beyond_floats_are_refused(body: bytes) -> None:
    """1e999 would become Infinity."""
    with pytest.raises(MalformedJSON, match="not JSON"):
        read_json(body)
