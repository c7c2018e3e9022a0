"""The keys in force: those of the settings, and those of a file that is read again when it changes."""

from __future__ import annotations

from pathlib import Path

import anyio
from anyio import to_thread

from demur.access.keys import ApiKey, find_key, parse_keys, require_distinct
from demur.errors import KeysUnreadable
from demur.observability.logging import logger
from demur.settings import AuthSettings

WATCH_SECONDS = 1.0
_MAX_BYTES = 1 << 20

Stamp = tuple[int, int, int]


class Keyring:
    """Knows every key. Once keys are configured, nobody comes in without one, not even while their file is broken."""

    def __init__(self, settings: AuthSettings) -> None:
        """Raises KeysUnreadable, naming what is wrong."""
        self._given = settings.api_keys.get_secret_value() if settings.api_keys else ""
        self._file = settings.api_keys_file
        self.is_required = settings.needs_key
        self._stamp: Stamp | None = None
        self._keys: tuple[ApiKey, ...] = ()
        if self.is_required:
            self._load()

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        return self._keys

    def find(self, presented: str) -> ApiKey | None:
        return find_key(self._keys, presented)

    async def watch(self) -> None:
        """Take up a changed file within a second; a broken one is logged, and the keys before it stay in force."""
        while self._file is not None:
            await anyio.sleep(WATCH_SECONDS)
            await to_thread.run_sync(self._reload, self._file)

    def _reload(self, file: Path) -> None:
        stamp = _stamp(file)
        if stamp == self._stamp:
            return
        try:
            self._load()
            logger.info("keys reloaded", file=str(file), n_keys=len(self._keys))
        except KeysUnreadable as error:
            self._stamp = stamp  # said once for each change
            logger.error("keys not reloaded; those before stay in force", reason=str(error))

    def _load(self) -> None:
        stamp = _stamp(self._file) if self._file else None
        try:
            keys = parse_keys(self._given) + (parse_keys(_read(self._file)) if self._file else ())
            require_distinct(keys)
        except (OSError, ValueError) as error:
            raise KeysUnreadable(f"API keys cannot be read: {error}") from error
        if not keys:
            raise KeysUnreadable("API keys are configured, but there is none: nobody could call")
        self._keys, self._stamp = keys, stamp


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{file} is over {_MAX_BYTES} bytes")
    return content.decode("utf-8")


def _stamp(file: Path) -> Stamp | None:
    """Changes whenever the file does, also where it is replaced; None where it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
