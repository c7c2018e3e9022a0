"""What is wrong with a command line or the environment, said so that the user can mend it."""

from __future__ import annotations

from typing import Any, NoReturn

from pydantic import ValidationError

from demur.errors import DemurError
from demur.settings import ServerSettings, Settings


class SettingOrUsageError(DemurError):
    """Something about the command line or the environment, for the user to mend."""

    code = "usage"


def read_settings(server: dict[str, Any] | None = None) -> Settings:
    """From the environment; `server` holds what the command line says of that group. Raises SettingOrUsageError."""
    try:
        settings = Settings()
        changed = ServerSettings.model_validate({**settings.server.model_dump(), **(server or {})})
        return settings.model_copy(update={"server": changed})
    except ValidationError as error:
        lines = [f"DEMUR_{'__'.join(map(str, e['loc']))}".upper() + f": {e['msg']}" for e in error.errors()]
        fail("a setting is wrong\n  " + "\n  ".join(lines))


def fail(message: str) -> NoReturn:
    raise SettingOrUsageError(message)
