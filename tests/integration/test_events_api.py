"""The audit log over HTTP: what is listed, by what filter, and what is marked as seen."""

from __future__ import annotations

import pytest

from bty.daemon import keys
from tests.support.daemon import make_config, running


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        events = made.app[keys.EVENTS]
        for n in range(9):
            await events.record(
                "machine.flash.failed" if n % 3 == 0 else "machine.flashed",
                f"number {n}",
                subject=("machine", f"m{n % 2}"),
                actor="pxe-client",
                source_ip=f"192.0.2.{n}",
                details={"n": n, "nested": {"list": [None, True]}} if n else None,
            )
        yield made


async def numbers(daemon, **query) -> list[str]:
    return [event["summary"].removeprefix("number ") for event in await daemon.events(**query)]


async def test_events_come_newest_first(daemon):
    """The newest event is the first, each with every field, details as the object that they are."""
    events = await daemon.events()

    assert [event["summary"] for event in events] == [*(f"number {n}" for n in range(8, -1, -1)), "the operator logged in"]
    assert events[0] == {
        "id": 10, "ts": events[0]["ts"], "kind": "machine.flashed", "subject_kind": "machine", "subject_id": "m0", "actor": "pxe-client",
        "source_ip": "192.0.2.8", "summary": "number 8", "details": {"n": 8, "nested": {"list": [None, True]}}, "acknowledged": False,
    }  # fmt: skip
    assert events[8]["details"] is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"kind": "machine.flash.failed"}, "630"), ({"subject_id": "m1", "kind": "machine.flashed"}, "751"),
        ({"source_ip": "192.0.2.4"}, "4"),
        ({"actor": "pxe-client", "limit": "2"}, "87"), ({"failed": "0"}, "630"), ({"failed": "x", "subject_kind": "machine"}, "630"),
        ({"failed": "", "limit": "1"}, "8"), ({"kind": "machine"}, ""), ({"before_id": "4"}, ["1", "0", "the operator logged in"]),
        ({"limit": "0"}, "8"), ({"limit": "-5"}, "8"), ({"kind": "' OR 1=1"}, ""),
    ],
)  # fmt: skip
async def test_events_are_filtered(daemon, query, found):
    """Filters are exact and add up; `failed` with any text means failures; `before_id` goes on; `limit` is at least one."""
    assert await numbers(daemon, **query) == list(found)


async def test_a_list_is_bounded(daemon):
    """Without a limit fifty events come, and never more than five hundred."""
    events = daemon.app[keys.EVENTS]
    for n in range(520):
        await events.record("machine.flashed", str(n))

    assert len(await daemon.events()) == 50
    assert len(await daemon.events(limit="100000")) == 500


@pytest.mark.parametrize("query", ["limit=x", "before_id=-1", "before_id=1.5", "limit=99999999999999999999", "before_id=%00"])
async def test_a_malformed_query_is_422(daemon, query):
    """A number that is none is refused with the name of the parameter."""
    status, body = await daemon.call("GET", f"/events?{query}")

    assert status == 422
    assert body["detail"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_an_event_is_acknowledged(daemon):
    """POST /events/{id}/ack marks it, again and again, and leaves the others."""
    for _ in range(2):
        assert await daemon.call("POST", "/events/5/ack") == (200, {"id": 5, "acknowledged": True})

    assert [event["id"] for event in await daemon.events() if event["acknowledged"]] == [5]


@pytest.mark.parametrize("event_id", ["0", "999", "x", "-1", "99999999999999999999", "5.0"])
async def test_an_unknown_event_is_404(daemon, event_id):
    """An id that no event has is not acknowledged."""
    status, body = await daemon.call("POST", f"/events/{event_id}/ack")

    assert (status, body) == (404, {"detail": f"no event {event_id}"})


@pytest.mark.parametrize(
    ("text", "found"), [("NUMBER 7", "7"), ("192.0.2.3", "3"), ("m1", "7531"), ("%", ""), ("_", ""), ("flash.failed", "630"), ("\\", "")]
)
async def test_events_are_searched(daemon, text, found):
    """A text is looked for in everything that a person reads of an event, to the letter, whatever the case."""
    assert await numbers(daemon, q=text, subject_kind="machine") == list(found)


async def test_a_search_looks_at_a_bounded_number_and_goes_on(daemon, monkeypatch):
    """Where the newest events are searched without enough being found, the answer says from where to go on."""
    monkeypatch.setattr("bty.store.events.SEARCH_ROWS", 4)
    seen, query = [], {"q": "number 1"}
    for _ in range(10):
        body = (await daemon.call("GET", "/events", params=query))[1]
        seen += [event["summary"] for event in body["events"]]
        if body["searched_to"] is None:
            break
        query["before_id"] = str(body["searched_to"])

    assert seen == ["number 1"]
    assert query["before_id"] == "3"


async def test_many_events_are_marked_at_once(daemon):
    """Marked as seen, and as new again; unknown ids are passed over."""
    assert await daemon.call("POST", "/events/acknowledge", json={"ids": [3, 4, 999]}) == (200, {"updated": 2, "acknowledged": True})
    assert await daemon.call("POST", "/events/acknowledge", json={"ids": [4], "acknowledged": False}) == (
        200, {"updated": 1, "acknowledged": False},
    )  # fmt: skip
    assert [event["id"] for event in await daemon.events() if event["acknowledged"]] == [3]


@pytest.mark.parametrize(
    "body", [{}, {"ids": [-1]}, {"ids": [1], "open_failures": True}, {"open_failures": True, "acknowledged": False}, {"ids": ["1"]}]
)
async def test_a_malformed_marking_is_422(daemon, body):
    """Either ids or all open failures."""
    assert (await daemon.call("POST", "/events/acknowledge", json=body))[0] == 422
