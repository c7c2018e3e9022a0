"""What must stay secret is nowhere to be read: not in logs, not in errors, not in what a command prints."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from demur.access.keys import new_key
from demur.settings import Settings
from tests.redis_server import free_port
from tests.service.running import serve_process
from tests.service.scripted_process import scripted_process
from tests.service.test_command_line import demur

SECRET, KEY = new_key("web", "answer,feedback,metrics")
CANARIES = {
    "DEMUR_AUTH__API_KEYS": KEY.line,
    "DEMUR_STORE__URL": "redis://user:canary-store@127.0.0.1:9/0",
    "DEMUR_SAMPLER__API_KEY": "canary-sampler",
    "DEMUR_NLI__API_KEY": "canary-nli",
}
_SECRETS = ["canary-", KEY.digest]


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "show", "--json")])
def test_settings_are_shown_without_their_secrets(arguments: tuple[str, ...]) -> None:
    """Masked, in the table and as JSON."""
    shown = demur(*arguments, **CANARIES)
    assert shown.returncode == 0, shown.stderr
    assert "**********" in shown.stdout
    assert not any(secret in shown.stdout + shown.stderr for secret in _SECRETS)


def test_settings_hide_their_secrets_when_somebody_prints_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a debugger, a traceback or a log line would."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.auth} {settings.store}"):
        assert not any(secret in text for secret in _SECRETS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEMUR_AUTH__API_KEYS", "web:canary-in-the-clear:answer"),
        ("DEMUR_AUTH__API_KEYS", "canary-without-any-form"),
        ("DEMUR_STORE__URL", "mysql://user:canary-store@host/db"),
    ],
)
def test_a_wrong_secret_is_not_repeated(name: str, value: str) -> None:
    """The service says what is wrong without saying the secret."""
    done = demur("serve", "--port", "0", **{name: value})
    assert done.returncode == 1
    assert "canary" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("level", ["debug", "info"])
def test_neither_keys_nor_prompts_are_logged(level: str, tmp_path: Path) -> None:
    """Good and bad keys, questions, passages, users, bodies that are no JSON: the log has none of it, at any level."""
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        scripted_process(stderr, DEMUR_AUTH__API_KEYS=KEY.line, DEMUR_OBSERVABILITY__LOG_LEVEL=level) as process,
        httpx2.Client(base_url=process.url, timeout=60) as client,
    ):
        bearer = {"Authorization": f"Bearer {SECRET}", "Idempotency-Key": "canary-idempotency"}
        body = {"prompt": "q canary-prompt", "user": "canary-user"}
        grounded = {"prompt": "q", "context": [{"text": "canary-passage"}]}  # the script has no answer to it
        statuses = [
            client.post("/v1/answer", json=body, headers=bearer).status_code,
            client.post("/v1/answer", json=grounded, headers={"X-API-Key": SECRET}).status_code,
            client.post("/v1/answer", json={"prompt": "q"}, headers={"X-API-Key": SECRET}).status_code,
            client.post("/v1/answer", json={"prompt": "q", "canary-field": 1}, headers=bearer).status_code,
            client.post("/v1/answer", content=b'{"canary-body', headers=bearer).status_code,
            client.post("/v1/answer", json={"prompt": "q"}, headers={"X-API-Key": "canary-key"}).status_code,
            client.get("/canary-path?canary-query=1", headers=bearer).status_code,
            client.get("/metrics", headers=bearer).status_code,
        ]
        metrics = client.get("/metrics", headers=bearer).text
    assert statuses == [200, 502, 200, 422, 415, 401, 404, 200]
    text = log.read_text()
    assert text.count('"request"') >= 6
    for secret in ("canary", SECRET, KEY.digest):
        assert secret not in text
        assert secret not in metrics


def test_a_new_key_is_printed_once_and_its_line_lets_it_in() -> None:
    """`demur keys new`: the key and the line on standard output, the words around them on standard error."""
    done = demur("keys", "new", "shop", "--scopes", "answer,metrics")
    assert done.returncode == 0, done.stderr
    secret, line = done.stdout.split()
    assert line.startswith("shop:")
    assert line.endswith(":answer,metrics")
    assert secret not in line
    assert done.stdout.count(secret) == 1
    assert secret not in done.stderr
    with scripted_process(DEMUR_AUTH__API_KEYS=line) as process:
        for key, status in ((secret, 200), ("wrong", 401)):
            assert httpx2.get(f"{process.url}/metrics", headers={"X-API-Key": key}).status_code == status


@pytest.mark.parametrize(("arguments", "words"), [(("a b",), "an id is"), (("x", "--scopes", "root"), "unknown scope")])
def test_a_wrong_key_is_not_made(arguments: tuple[str, ...], words: str) -> None:
    """One line that says why."""
    done = demur("keys", "new", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_a_service_that_strangers_could_reach_needs_keys(host: str) -> None:
    """It does not start, and says both ways out; an empty variable is no key."""
    done = demur("serve", "--host", host, "--port", "0", DEMUR_AUTH__API_KEYS="")
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "demur keys new" in told
    assert "DEMUR_SERVER__ALLOW_OPEN" in told


# Neither model is loaded: what is tried here is the door.
_NO_MODELS = {
    "DEMUR_SAMPLER__BACKEND": "openai",
    "DEMUR_SAMPLER__BASE_URLS": "http://127.0.0.1:9/v1",
    "DEMUR_SAMPLER__MODEL": "none",
    "DEMUR_NLI__BACKEND": "exact",
}


def test_with_keys_it_may_listen_to_all(tmp_path: Path) -> None:
    """As in the image. A broken key file keeps it from starting; a good one lets it. Metrics' own port asks no key."""
    keys = tmp_path / "keys"
    env = {**_NO_MODELS, "DEMUR_SERVER__HOST": "0.0.0.0", "DEMUR_AUTH__API_KEYS_FILE": str(keys)}
    env["DEMUR_OBSERVABILITY__METRICS_PORT"] = str(free_port())
    keys.write_text("nonsense")
    done = demur("serve", "--port", "0", **env)
    assert done.returncode == 1
    assert "API keys cannot be read" in done.stderr
    keys.write_text(KEY.line)
    with serve_process(**env) as process:
        url = process.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{url}/livez").status_code == 200
        assert httpx2.get(f"{url}/metrics").status_code == 401
        assert httpx2.get(f"{url}/metrics", headers={"X-API-Key": SECRET}).status_code == 200
        assert "demur_ready 1.0" in httpx2.get(f"http://127.0.0.1:{env['DEMUR_OBSERVABILITY__METRICS_PORT']}/").text
