"""The keys in force follow their file; a broken file changes nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from demur.access import keyring as keyring_module
from demur.access.keyring import Keyring
from demur.access.keys import new_key
from demur.errors import KeysUnreadable
from demur.settings import AuthSettings

pytestmark = pytest.mark.anyio


def _keyring(text: str | None = None, file: Path | None = None) -> Keyring:
    return Keyring(AuthSettings(api_keys=SecretStr(text) if text is not None else None, api_keys_file=file))


def test_without_keys_nobody_needs_one() -> None:
    """An empty variable, as an unset one in a compose file, counts as none."""
    assert not _keyring().is_required
    assert not _keyring("").is_required
    assert not _keyring(" \n").is_required


def test_keys_of_setting_and_file_are_all_in_force(tmp_path: Path) -> None:
    """And one key may not be in both."""
    (one, key_one), (two, key_two) = new_key("one", "answer"), new_key("two", "admin")
    (tmp_path / "keys").write_text(key_two.line)
    both = _keyring(key_one.line, tmp_path / "keys")
    assert both.is_required
    assert (both.find(one), both.find(two), both.find("three")) == (key_one, key_two, None)
    with pytest.raises(KeysUnreadable, match="same id"):
        _keyring(key_two.line, tmp_path / "keys")


@pytest.mark.parametrize("text", ["nonsense", "# only a comment", ";"])
def test_a_service_with_broken_keys_does_not_start(text: str) -> None:
    """Rather than start without any."""
    with pytest.raises(KeysUnreadable):
        _keyring(text)


def _replace(file: Path, content: str | bytes) -> None:
    """A new file in the place of the old, as careful operators write it."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(fresh, file)


async def _until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - the keyring tells nobody
            await anyio.sleep(0.01)


@asynccontextmanager
async def _watched(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keyring]:
    monkeypatch.setattr(keyring_module, "WATCH_SECONDS", 0.01)
    keyring = _keyring(file=file)
    async with anyio.create_task_group() as group:
        group.start_soon(keyring.watch)
        yield keyring
        group.cancel_scope.cancel()


async def test_a_changed_file_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key comes in, the withdrawn one is out."""
    (old, old_key), (new, fresh_key) = new_key("old", "answer"), new_key("new", "answer")
    (tmp_path / "keys").write_text(old_key.line)
    async with _watched(tmp_path / "keys", monkeypatch) as keyring:
        _replace(tmp_path / "keys", fresh_key.line)
        await _until(lambda: keyring.find(new) and not keyring.find(old))


@pytest.mark.parametrize("broken", ["web:0123", "", b"\xff\xfe", "x" * ((1 << 20) + 1), None])
async def test_a_broken_file_changes_nothing(
    broken: str | bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line, no line, no UTF-8, too much, no file: said once, without secrets; mended, it counts again."""
    (old, old_key), (new, fresh_key) = new_key("old", "answer"), new_key("new", "answer")
    file = tmp_path / "keys"
    file.write_text(old_key.line)
    with capture_logs() as logs:
        async with _watched(file, monkeypatch) as keyring:
            file.unlink() if broken is None else _replace(file, broken)
            await _until(lambda: logs)
            assert keyring.find(old) == old_key
            _replace(file, fresh_key.line)
            await _until(lambda: keyring.find(new) and not keyring.find(old))
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert not any(secret in str(logs) for secret in (old, new, old_key.digest, fresh_key.digest))
