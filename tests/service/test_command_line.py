"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx2
import pytest


def demur(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", **env}
    command = [sys.executable, "-m", "demur", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.model
def test_ask_shows_the_verdict_the_meanings_and_the_signals() -> None:
    """`demur ask` without a service."""
    done = demur("ask", "What is the capital of France?", "--seed", "1")
    assert done.returncode == 0, done.stderr
    for word in ("Paris", "✔ Answer", "Meanings", "semantic entropy", "token confidence", "of answers wrong"):
        assert word in done.stdout


@pytest.mark.model
def test_ask_a_running_service(bundled: httpx2.Client) -> None:
    """`demur ask --url --json` prints the response."""
    done = demur("ask", "What is the capital of France?", "--url", str(bundled.base_url), "--json")
    assert "Paris" in json.loads(done.stdout)["answer"]


@pytest.mark.model
def test_doctor_finds_the_default_well() -> None:
    """Every part works on a fresh machine."""
    done = demur("doctor")
    assert done.returncode == 0, done.stdout
    assert "tells 'Paris' from 'Lyon'" in done.stdout


@pytest.mark.model
def test_doctor_names_a_broken_part() -> None:
    """A model that is not there: exit status 1, and the path is named."""
    done = demur("doctor", DEMUR_SAMPLER__MODEL="/no/such/model")
    assert done.returncode == 1
    assert "/no/such/model" in done.stdout.replace("\n", "")


@pytest.mark.model
def test_a_service_without_its_model_does_not_start() -> None:
    """The last line says which model and why; exit status 1."""
    done = demur("serve", "--port", "0", DEMUR_SAMPLER__MODEL="/no/such/model")
    assert done.returncode == 1
    assert "/no/such/model" in done.stderr.rsplit("demur:", 1)[1].replace("\n", "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://localhost:many/0", "DEMUR_STORE__URL cannot be understood"),
        ("sqlite:////dev/null/demur.sqlite3", "/dev/null/demur.sqlite3"),
    ],
)
def test_a_service_whose_store_cannot_be_opened_does_not_start(url: str, words: str) -> None:
    """Before any model is loaded; the last line says why, exit status 1."""
    done = demur("serve", "--port", "0", DEMUR_STORE__URL=url)
    assert done.returncode == 1
    assert words in done.stderr.rsplit("demur:", 1)[1].replace("\n", "")


def test_config_show_lists_every_setting() -> None:
    """Variable, value and meaning; what was changed is marked."""
    done = demur("config", "show", DEMUR_SERVER__PORT="9000")
    assert "DEMUR_SERVER__PORT *" in done.stdout
    assert "9000" in done.stdout
    assert json.loads(demur("config", "show", "--json").stdout)["server"]["port"] == 8000


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"DEMUR_SERVER__PORT": "many"}, "DEMUR_SERVER__PORT"),
        ({"DEMUR_SAMPLER__MODLE": "x"}, "DEMUR_SAMPLER__MODLE"),
        ({"DEMUR_SERVER__HOST": "0.0.0.0"}, "ALLOW_OPEN"),
        ({"DEMUR_DEFAULTS__PROMPT_TEMPLATE_FILE": "/no/such/file"}, "no such file"),
        ({"DEMUR_STORE__URL": "mysql://db"}, "sqlite:///"),
    ],
)
def test_wrong_settings_are_named(env: dict[str, str], words: str) -> None:
    """One line on standard error, no traceback, exit status 1."""
    done = demur("serve", **env)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_question_must_be_said() -> None:
    """A blank prompt is a usage error, not a traceback."""
    done = demur("ask", "  ")
    assert done.returncode == 1
    assert "blank" in done.stderr


def test_a_service_that_is_not_there_is_named() -> None:
    """`--url` to a closed port."""
    done = demur("ask", "q", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr.replace("\n", "")
