"""For every test: one event loop library, and how long hypothesis searches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.loops import loop_scope

# Tables are as wide everywhere; read when the command line is imported.
os.environ["COLUMNS"] = "160"

# No deadline: a shared machine pauses now and then, which is no fault of the code.
settings.register_profile("default", deadline=None)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("default")


@pytest.fixture(scope=loop_scope)
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Services under test keep their records where no user's are; processes they start inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 400 KiB. Mounting needs a user who may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs a user who may mount a file system; the limit of pages below needs none")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
