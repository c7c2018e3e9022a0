"""API keys: their written form, how they are found, what is refused."""

from __future__ import annotations

import hashlib
import hmac
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.access import keys as keys_module
from demur.access.keys import SCOPES, ApiKey, find_key, new_key, parse_keys, require_distinct

DIGEST = hashlib.sha256(b"secret").hexdigest()


def test_a_line_is_read() -> None:
    """id, digest, scopes."""
    key = ApiKey.parse(f" web : {DIGEST.upper()} : feedback , answer ")
    assert key == ApiKey("web", DIGEST, frozenset({"answer", "feedback"}))
    assert key.line == f"web:{DIGEST}:answer,feedback"


@given(st.sets(st.sampled_from(SCOPES), min_size=1), st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
def test_a_new_key_is_found_by_its_secret_and_no_other(scopes: set[str], key_id: str) -> None:
    """What `new_key` writes is read back the same, and only its own secret opens it."""
    secret, key = new_key(f"k{key_id}"[:64], ",".join(scopes))
    other, _ = new_key("other", "answer")
    (read,) = parse_keys(key.line)
    assert read == key
    assert key.scopes == scopes
    assert find_key([read], secret) == key
    assert find_key([read], other) is None
    assert secret not in key.line


def test_secrets_are_long_and_all_different() -> None:
    """256 bits each."""
    secrets = {new_key("web", "answer")[0] for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) >= len("demur_") + 43 for secret in secrets)


def test_comments_blank_lines_and_semicolons() -> None:
    """As people write files, and as they write environment variables."""
    text = f"# staff\na:{DIGEST}:answer # the web shop\n\n;b:{'0' * 64}:admin;"
    assert [key.id for key in parse_keys(text)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("web", "id:sha256"),
        (f"web:{DIGEST}", "id:sha256"),
        (f"web:{DIGEST}:answer:more", "id:sha256"),
        (f"we b:{DIGEST}:answer", "id is 1 to 64"),
        (f":{DIGEST}:answer", "id is 1 to 64"),
        (f"{'x' * 65}:{DIGEST}:answer", "id is 1 to 64"),
        (f"anonymous:{DIGEST}:answer", "anonymous"),
        ("web:secret-in-the-clear:answer", "64 hex digits"),
        (f"web:{DIGEST[:-1]}:answer", "64 hex digits"),
        (f"web:{DIGEST}:", "unknown scope ''"),
        (f"web:{DIGEST}:answer,root", "unknown scope 'root'"),
    ],
)
def test_a_wrong_line_is_named_without_repeating_it(line: str, words: str) -> None:
    """The complaint says what is wrong; it may be logged, so it holds no secret."""
    with pytest.raises(ValueError, match=words) as complaint:
        parse_keys(line)
    assert "secret-in-the-clear" not in str(complaint.value)


def test_two_keys_must_differ_in_id_and_secret() -> None:
    """One id is one tenant; one secret is one key."""
    a, b, c = (
        ApiKey.parse(f"a:{DIGEST}:answer"),
        ApiKey.parse(f"b:{DIGEST}:answer"),
        ApiKey.parse(f"a:{'1' * 64}:admin"),
    )
    with pytest.raises(ValueError, match="same secret"):
        require_distinct([a, b])
    with pytest.raises(ValueError, match="same id a"):
        require_distinct([a, c])


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the first matches, the last or none: as many comparisons, of digests of equal length."""
    compared: list[tuple[str, str]] = []

    def counting(a: str, b: str) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(keys_module, "hmac", SimpleNamespace(compare_digest=counting))
    made = [new_key(f"k{i}", "answer") for i in range(5)]
    known = [key for _, key in made]
    for presented in (made[0][0], made[4][0], "no key at all", "", "\ud800 é"):
        compared.clear()
        find_key(known, presented)
        assert len(compared) == 5
        assert all(len(a) == len(b) == 64 for a, b in compared)
