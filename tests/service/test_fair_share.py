"""One key's flood, and the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import AuthSettings, ServerSettings, Settings, StoreSettings
from tests.service.running import serving, wait_for

FLOOD, FLOOD_KEY = new_key("flood", "answer")
QUIET, QUIET_KEY = new_key("quiet", "answer")


def test_a_flood_does_not_keep_others_out_nor_waiting() -> None:
    """One works at a time and ten may wait; thirty come with one key: the other's two are answered before the flood is
    through, and the flood is told when to come back."""
    settings = Settings(
        server=ServerSettings(max_inflight=1, max_queue=10),
        store=StoreSettings(cache_ttl_s=0),  # else one answer would do for all
        auth=AuthSettings(
            api_keys=SecretStr(f"{FLOOD_KEY.line};{QUIET_KEY.line}"), rate_limit="off", rate_limit_samples="off"
        ),
    )
    ended: list[str] = []
    with serving({"q": [ScriptedAnswer("Paris", delay_seconds=0.3)]}, settings=settings) as service:

        def ask(secret: str) -> httpx2.Response:
            headers = {"Authorization": f"Bearer {secret}"}
            response = httpx2.post(f"{service.url}/v1/answer", json={"prompt": "q"}, headers=headers, timeout=60)
            if response.status_code == 200:
                ended.append(secret)
            return response

        def n_waiting() -> float:
            return service.app.state.metrics.registry.get_sample_value("demur_queued_requests") or 0

        with ThreadPoolExecutor(40) as pool:
            flood = [pool.submit(ask, FLOOD) for _ in range(30)]
            wait_for(lambda: n_waiting() == 10, "the queue to be full")
            quiet = [pool.submit(ask, QUIET) for _ in range(2)]
            assert [each.result().status_code for each in quiet] == [200, 200]
            replies = [each.result() for each in flood]
    refused = [r for r in replies if r.status_code == 503]
    assert len(refused) >= 2, "the quiet two took two places of the flood, if no more came too late"
    assert len(refused) + ended.count(FLOOD) == 30
    assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
    assert ended.index(QUIET) < len(ended) - 3, "it had to wait for the flood"
