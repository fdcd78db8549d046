"""The API's description of itself, against what it answers."""

from __future__ import annotations

import msgspec
import pytest

from bty.daemon import keys
from bty.daemon.routes import ROUTES
from bty.daemon.speech import speech_of
from bty.model.catalog import Entry
from bty.units import utc_now
from tests.support.daemon import make_config, running

MAC = "52:54:00:00:00:01"
ENTRY = Entry(bty_image_ref="a" * 64, src="http://127.0.0.1:9/d.img", name="debian", added_at=utc_now())


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        await made.app[keys.CATALOG].insert([ENTRY])
        await made.call("GET", f"/pxe/{MAC}")
        await made.call("GET", f"/boot/kernel?mac={MAC}")
        await made.call("POST", f"/pxe/{MAC}/progress", json={"stage": "write", "bytes": 1})
        await made.call("POST", f"/pxe/{MAC}/done", json={"error": "no"})
        await made.call("POST", f"/pxe/{MAC}/inventory", json={"disks": [{"path": "/dev/sda"}], "lshw": {"id": "x"}})
        yield made


async def test_the_description_is_open_and_complete(daemon):
    """Anybody may read the document; it names its version and the ways to log in."""
    daemon.client.session.cookie_jar.clear()
    status, document = await daemon.call("GET", "/openapi.json")

    assert status == 200
    assert document["openapi"] == "3.1.0"
    assert set(document["components"]["securitySchemes"]) == {"session", "token"}
    assert document["components"]["schemas"]["MachineBody"]["additionalProperties"] is False
    assert "\\Z" not in str(document)


PLAIN = [route for route in ROUTES if route.method.startswith("GET") and "stream" not in route.path and route.path != "/openapi.json"]


@pytest.mark.parametrize("path", sorted(route.path for route in PLAIN if not isinstance(speech_of(route.handler).reply, (str, type(None)))))
async def test_an_answer_is_what_its_description_says(daemon, path):
    """What a route answers has the fields and types of its described answer, and none besides."""
    (route,) = [route for route in PLAIN if route.path == path]
    status, body = await daemon.call("GET", path.replace("{mac}", MAC).replace("{id}", "1"))
    if status == 404:
        return
    wanted = speech_of(route.handler).reply

    assert status == 200, body
    found = msgspec.json.decode(msgspec.json.encode(body), type=wanted)
    assert msgspec.json.decode(msgspec.json.encode(found)) == body
