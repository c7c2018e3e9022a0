"""Every case runs through both clients, against a real service or a real server that misbehaves."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import demur_client
from demur.api.problems import PROBLEMS
from demur_client import AsyncDemur, Demur
from demur_client import _async_client as asynchronous
from demur_client import _client as synchronous
from tests.client.twins import Reply, Twin, misbehaving
from tests.service.running import Service

Kind = type[Demur] | type[AsyncDemur]
OVERLOADED = Reply(503, b'{"type": "/problems/overloaded", "detail": "full"}', {"retry-after": "0"})


def answer_body(service: Service) -> bytes:
    return service.ask().content


def test_an_answer_has_its_evidence(twin: Twin) -> None:
    result = twin.do(lambda c: c.answer("Capital of France?", quality="fast", include=["clusters", "timings"]))
    assert (result.answer, result.decision, result.sampling.completed) == ("Paris", "answer", 5)
    assert result.uncertainty.semantic_entropy == 0.0
    assert result.clusters[0].size == 5
    assert result.timings.total_s > 0


def test_a_result_is_true_where_the_decision_is_answer(twin: Twin) -> None:
    assert twin.do(lambda c: c.answer("q"))
    assert not twin.do(lambda c: c.answer("unsure"))


def test_passages_may_be_plain_texts(twin: Twin) -> None:
    both = ["Paris is the capital.", {"text": "Lyon is not.", "id": "p2"}]
    assert twin.do(lambda c: c.answer("unsure", context=both)).decision == "answer"


def test_an_answer_made_elsewhere_is_rated(twin: Twin) -> None:
    """By samples that are sent, and by samples that are drawn."""
    sent = twin.do(lambda c: c.score("q", answer="Lyon", samples=["Paris", "Paris", "Lyon"], context=["Paris is."]))
    assert (sent.answer_cluster, sent.model, sent.uncertainty.agreement, bool(sent)) == (1, None, 1 / 3, False)
    drawn = twin.do(lambda c: c.score(messages=[{"role": "user", "content": "q"}], answer="Paris", quality="fast"))
    assert (drawn.answer_cluster, drawn.model, drawn.object, bool(drawn)) == (0, "scripted", "score", True)
    assert twin.do(lambda c: c.with_raw_response.score("q", answer="Nice")).parse().answer_cluster is None


def test_texts_are_grouped_by_meaning(twin: Twin) -> None:
    found = twin.do(lambda c: c.cluster(["Paris", "Lyon", "paris."], prompt="q", weights=[1, 2, 1]))
    assert (found.assignments, [c.mass for c in found.clusters], found.nli.judgements) == ([0, 1, 0], [0.5, 0.5], None)
    judged = twin.do(lambda c: c.with_raw_response.cluster(["Paris", "Lyon"], include=["judgements"])).parse()
    assert judged.nli.judgements[0].contradiction == 0.98


def test_messages_take_the_place_of_a_prompt(twin: Twin) -> None:
    assert twin.do(lambda c: c.answer(messages=[{"role": "user", "content": "q"}])).answer == "Paris"


def test_prompt_and_messages_together_are_refused_before_anything_is_sent(twin: Twin) -> None:
    with pytest.raises(TypeError, match="either a prompt or messages"):
        twin.do(lambda c: c.answer("q", messages=[{"role": "user", "content": "q"}]))


def test_an_option_that_the_service_does_not_know_names_its_field(twin: Twin) -> None:
    with pytest.raises(demur_client.ValidationFailedError, match="/tempratue") as raised:
        twin.do(lambda c: c.answer("q", extra_body={"tempratue": 1}))
    assert raised.value.errors[0]["pointer"] == "/tempratue"
    assert raised.value.request_id


def test_a_raw_response_has_headers_and_the_same_result(twin: Twin) -> None:
    raw = twin.do(lambda c: c.with_raw_response.answer("q"))
    assert raw.headers["x-demur-decision"] == "answer"
    assert raw.parse().id == raw.headers["x-demur-answer-id"]


def test_feedback_is_kept_and_listed_page_after_page(twin: Twin) -> None:
    answers = [twin.do(lambda c, i=i: c.answer(f"feedback {i}")) for i in range(3)]
    for answer, verdict in zip(answers, ("correct", "incorrect", 0.5), strict=True):
        kept = twin.do(lambda c, a=answer, v=verdict: c.feedback.create(a.id, v, source="human", comment="seen"))
        assert kept.answer_id == answer.id
    listed = twin.do(lambda c: c.feedback.list(page_size=1))
    assert {answer.id for answer in answers} <= {row["answer_id"] for row in listed}


def test_feedback_on_an_unknown_answer_is_refused(twin: Twin) -> None:
    with pytest.raises(demur_client.NotFoundError):
        twin.do(lambda c: c.feedback.create("ans_unknown", "correct"))


def test_a_stored_answer_is_shown_and_forgotten(twin: Twin) -> None:
    answer = twin.do(lambda c: c.answer("forget me"))
    assert answer.stored
    assert twin.do(lambda c: c.answers.retrieve(answer.id))["id"] == answer.id
    assert twin.do(lambda c: c.answers.delete(answer.id)) is None
    with pytest.raises(demur_client.NotFoundError):
        twin.do(lambda c: c.answers.retrieve(answer.id))


def test_audits_are_listed(twin: Twin) -> None:
    assert twin.do(lambda c: c.audits.list()) == []


def test_calibrations_are_fitted_from_labels(twin: Twin) -> None:
    """Without labels the error says what is missing. The first policy is that of whoever is not calibrated."""
    with pytest.raises(demur_client.NotCalibratableError):
        twin.do(lambda c: c.calibrations.create(max_risk=0.1))
    with pytest.raises(demur_client.NotFoundError):
        twin.do(lambda c: c.calibrations.activate("cal_unknown"))
    assert "demur-facts" in {each["applies_to"]["model"] for each in twin.do(lambda c: c.calibrations.list())}
    policy, *_ = twin.do(lambda c: c.policies.list())
    assert (policy["name"], policy["calibration"]) == ("default", None)


def test_version_says_what_runs(twin: Twin) -> None:
    assert twin.do(lambda c: c.version()).model == "scripted"


def test_fields_and_decisions_of_a_newer_service_are_kept(kind: Kind, service: Service) -> None:
    newer = json.loads(answer_body(service)) | {"decision": "ask_a_friend", "friends": ["Ada"]}
    with misbehaving(Reply(body=json.dumps(newer).encode())) as server:
        result = Twin(kind, base_url=server.url).do(lambda c: c.answer("q"))
    assert (result.decision, result.friends, bool(result)) == ("ask_a_friend", ["Ada"], False)


def test_what_fails_twice_is_asked_a_third_time_with_its_key(kind: Kind, service: Service) -> None:
    with misbehaving(OVERLOADED, Reply(status=0), Reply(body=answer_body(service))) as server:
        result = Twin(kind, base_url=server.url, timeout=0.5).do(lambda c: c.answer("q", idempotency_key="k1"))
    assert result.answer == "Paris"
    assert [request["idempotency-key"] for request in server.requests] == ["k1"] * 3


def test_retries_end(kind: Kind) -> None:
    with misbehaving(OVERLOADED) as server, pytest.raises(demur_client.OverloadedError, match="full"):
        Twin(kind, base_url=server.url, max_retries=1).do(lambda c: c.answer("q"))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "headers"),
    [(422, {}), (404, {}), (503, {"x-should-retry": "false"}), (429, {"retry-after": "3600"})],
    ids=["wrong", "missing", "told not to", "too long a wait"],
)
def test_what_cannot_pass_is_not_repeated(kind: Kind, status: int, headers: dict[str, str]) -> None:
    with misbehaving(Reply(status, headers=headers)) as server, pytest.raises(demur_client.APIStatusError):
        Twin(kind, base_url=server.url).do(lambda c: c.answer("q"))
    assert len(server.requests) == 1


def test_the_servers_word_comes_before_the_status(kind: Kind, service: Service) -> None:
    insists = Reply(400, headers={"x-should-retry": "true", "retry-after": "0"})
    with misbehaving(insists, Reply(body=answer_body(service))) as server:
        assert Twin(kind, base_url=server.url).do(lambda c: c.answer("q"))


@pytest.mark.parametrize("slug", sorted(PROBLEMS))
def test_every_problem_has_a_class_of_its_own(kind: Kind, slug: str) -> None:
    body = json.dumps({"type": f"/problems/{slug}", "detail": "because"}).encode()
    with (
        misbehaving(Reply(PROBLEMS[slug].status, body)) as server,
        pytest.raises(demur_client.APIStatusError) as raised,
    ):
        Twin(kind, base_url=server.url, max_retries=0).do(lambda c: c.answer("q"))
    assert slug in type(raised.value).codes
    assert raised.value.code == slug


def test_a_proxys_page_is_no_answer(kind: Kind) -> None:
    with misbehaving(Reply(200, b"<html>welcome</html>")) as server, pytest.raises(demur_client.APIResponseError):
        Twin(kind, base_url=server.url).do(lambda c: c.answer("q"))
    with misbehaving(Reply(502, b"<html>bad gateway</html>")) as server, pytest.raises(demur_client.BackendError):
        Twin(kind, base_url=server.url, max_retries=0).do(lambda c: c.answer("q"))


def test_a_redirect_is_not_followed_with_the_key(kind: Kind) -> None:
    away = Reply(307, headers={"location": "http://127.0.0.1:9/elsewhere"})
    with misbehaving(away) as server, pytest.raises(demur_client.APIResponseError, match="base_url"):
        Twin(kind, base_url=server.url, api_key="secret").do(lambda c: c.answer("q"))


def test_nobody_there(kind: Kind) -> None:
    with pytest.raises(demur_client.APIConnectionError, match="cannot reach"):
        Twin(kind, base_url="http://127.0.0.1:9", max_retries=0).do(lambda c: c.answer("q"))


def test_a_reply_that_never_ends_times_out(kind: Kind) -> None:
    with misbehaving(Reply(hangs=True)) as server, pytest.raises(demur_client.APITimeoutError):
        Twin(kind, base_url=server.url, timeout=0.3, max_retries=0).do(lambda c: c.answer("q"))


def test_options_change_on_a_copy(kind: Kind, service: Service) -> None:
    client: Any = kind(base_url=service.url, headers={"x-request-id": "a"})
    changed = client.with_options(timeout=5, api_key="k", headers={"x-request-id": "b"})
    assert (changed._config.timeout, changed._config.api_key, changed._config.headers["x-request-id"]) == (5, "k", "b")
    assert (client._config.timeout, client._config.api_key, client._config.headers["x-request-id"]) == (120, None, "a")


def test_the_key_is_sent_and_never_shown(kind: Kind, service: Service) -> None:
    with misbehaving(Reply(body=answer_body(service))) as server:
        Twin(kind, base_url=server.url, api_key="dmr_secret").do(lambda c: c.answer("q"))
    assert server.requests[0]["authorization"] == "Bearer dmr_secret"
    assert "secret" not in repr(kind(api_key="dmr_secret")._config)


def test_address_and_key_come_from_the_environment(
    kind: Kind, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMUR_BASE_URL", service.url + "/")
    monkeypatch.setenv("DEMUR_API_KEY", "from-env")
    assert Twin(kind).do(lambda c: c.answer("q")).answer == "Paris"


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"max_retries": -1}])
def test_impossible_options_are_refused(kind: Kind, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_both_clients_offer_the_same_calls() -> None:
    """Same names, same parameters, same defaults; results differ only in being awaited."""
    for name in (
        "Demur",
        "RawDemur",
        "FeedbackResource",
        "AnswersResource",
        "AuditsResource",
        "AnswerStream",
        "CalibrationsResource",
        "PoliciesResource",
    ):
        one, other = _signatures(getattr(synchronous, name)), _signatures(getattr(asynchronous, f"Async{name}"))
        assert one == other


def _signatures(kind: type) -> dict[str, Any]:
    public = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]
        if callable(member)
        else "property"
        for name, member in public.items()
    }
