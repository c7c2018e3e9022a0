"""Streams through both clients: from a real service, and from servers that misbehave."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest

import demur_client
from demur_client import AsyncDemur, Demur, ProgressEvent, ResultEvent, SampleEvent, StartEvent, UnknownEvent
from tests.client.twins import Reply, Twin, misbehaving
from tests.service.running import Service, metric, wait_for

Kind = type[Demur] | type[AsyncDemur]
EVENTS = {"content-type": "text/event-stream"}
START = b'event: start\ndata: {"id": "ans_1", "n": 2}\n\n'


def result_of(service: Service) -> bytes:
    return b"event: result\ndata: " + service.ask().content + b"\n\n"


def streamed(kind: Kind, *replies: Reply, **options: Any) -> list[Any]:
    with misbehaving(*replies) as server:
        found: list[Any] = Twin(kind, base_url=server.url, **options).do(lambda c: c.answer_stream("q"))
        return found


def test_events_are_typed_and_come_in_order(twin: Twin) -> None:
    events = twin.do(lambda c: c.answer_stream("unsure", sampling={"n": 2}, cache={"mode": "bypass"}))
    kinds = [type(event) for event in events]
    assert (kinds[0], kinds[-1]) == (StartEvent, ResultEvent)
    assert {SampleEvent, ProgressEvent} == set(kinds[1:-1])
    result = events[-1].result
    assert (result.id, result.sampling.completed) == (events[0].id, 2)
    last = next(event for event in reversed(events) if isinstance(event, ProgressEvent))
    assert (last.completed, last.assignments, last.type) == (2, [0, 1], "progress")


def test_nothing_is_sent_before_the_first_event_is_asked_for(kind: Kind) -> None:
    with misbehaving(Reply()) as server:
        kind(base_url=server.url).answer_stream("q")
        assert server.requests == []


def test_leaving_early_hangs_up(kind: Kind, service: Service) -> None:
    """With a block, and without one: the service stops working on it."""

    def leave(client: Any) -> None:
        with client.answer_stream("endless") as stream:
            assert next(stream).type == "start"
        stream.close()
        for event in client.answer_stream("endless"):
            assert event.type == "start"
            break

    async def leave_async(client: Any) -> None:
        async with client.answer_stream("endless") as stream:
            assert (await anext(stream)).type == "start"
        await stream.close()
        async for event in client.answer_stream("endless"):
            assert event.type == "start"
            break
        gc.collect()

    async def run() -> None:
        async with AsyncDemur(base_url=service.url) as client:
            await leave_async(client)

    if kind is Demur:
        with Demur(base_url=service.url) as client:
            leave(client)
    else:
        asyncio.run(run())
    wait_for(lambda: service.sampler.n_running == 0, "the draws to be cancelled")
    wait_for(lambda: metric(service, "demur_inflight_requests") == 0, "the places to be free")


def test_refusals_are_the_same_errors(twin: Twin) -> None:
    with pytest.raises(demur_client.ValidationFailedError, match="/sampling/n"):
        twin.do(lambda c: c.answer_stream("q", sampling={"n": 1}))
    with pytest.raises(TypeError):
        twin.do(lambda c: c.answer_stream())


def test_what_goes_wrong_on_the_way_is_raised(kind: Kind) -> None:
    """With the status of the problem, and the class that it has otherwise."""
    problem = json.dumps({"type": "/problems/deadline-exceeded", "status": 504, "detail": "too late"}).encode()
    body = START + b"event: error\ndata: " + problem + b"\n\n"
    with pytest.raises(demur_client.DeadlineExceededError, match="too late") as raised:
        streamed(kind, Reply(200, body, EVENTS))
    assert raised.value.status_code == 504


def test_what_fails_before_it_begins_is_tried_again(kind: Kind, service: Service) -> None:
    full = Reply(503, b'{"type": "/problems/overloaded"}', {"retry-after": "0"})
    well = Reply(200, START + result_of(service) + b"event: done\ndata: {}\n\n", EVENTS)
    assert [event.type for event in streamed(kind, full, Reply(502, headers={"retry-after": "0"}), well)] == [
        "start",
        "result",
    ]
    with pytest.raises(demur_client.OverloadedError):
        streamed(kind, full, max_retries=1)


def test_a_stream_that_breaks_off_is_not_begun_again(kind: Kind) -> None:
    """Nobody would know that the samples are others."""
    with misbehaving(Reply(200, START, EVENTS)) as server:
        twin = Twin(kind, base_url=server.url)
        with pytest.raises(demur_client.APIConnectionError, match="broke off"):
            twin.do(lambda c: c.answer_stream("q"))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>", {"content-type": "text/html"}),
        Reply(200, b"event: start\ndata: {\n\n", EVENTS),
        Reply(200, b"event: start\ndata: 7\n\n", EVENTS),
        Reply(200, b'event: result\ndata: {"id": 7}\n\n', EVENTS),
        Reply(200, b"event: error\ndata: []\n\n", EVENTS),
    ],
    ids=["a page", "half a document", "a number", "no answer", "no problem"],
)
def test_what_is_no_event_of_demur_is_refused(kind: Kind, reply: Reply) -> None:
    with pytest.raises(demur_client.APIResponseError):
        streamed(kind, reply)


def test_a_newer_service_and_a_proxy_are_understood(kind: Kind, service: Service) -> None:
    """Unknown events and fields are kept; comments, CRLF, ids and data in two lines are read as they are meant."""
    body = (
        b': ping\n\nid: 7\r\nevent: start\r\ndata: {"id": "a",\r\ndata: "n": 2, "hue": 1}\r\n\r\n'
        + b'event: weather\ndata: {"sun": true}\n\n'
        + 'event: sample\ndata: {"index": 0, "text": "a\u2028b\x85", "finish_reason": "cut"}\n\n'.encode()
        + result_of(service)
        + b"event: done\ndata: {}\n\n"
    )
    start, weather, sample, result = streamed(kind, Reply(200, body, EVENTS))
    assert (start.n, start.hue) == (2, 1)
    assert (type(weather), weather.type, weather.data) == (UnknownEvent, "weather", {"sun": True})
    assert (sample.text, sample.finish_reason) == ("a\u2028b\x85", "cut")
    assert result.result.answer == "Paris"
