"""The operator's own things: API tokens, the password, settings, the configuration file, health."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing

import pytest

from bty.daemon import keys
from bty.services import health, tftp_probe
from tests.support.daemon import make_config, running
from tests.support.sse import listening

TOML = """# kept by hand
[server]
# the lab's port
port = 8080  # not 80

[flash]
max_attempts = 2
"""


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state", TOML)) as made:
        await made.log_in()
        yield made


async def make_token(daemon, name="ci") -> tuple[int, dict[str, str]]:
    status, body = await daemon.call("POST", "/tokens", json={"name": name})
    assert status == 201, body
    return body["id"], {"Authorization": f"Bearer {body['token']}"}


# --- tokens


async def test_a_token_is_shown_once_and_kept_as_a_digest(daemon):
    """The secret is in the answer that makes it, and then neither in the list, nor in the events, nor in the database."""
    status, body = await daemon.call("POST", "/tokens", json={"name": "ci"})
    secret = body["token"]
    listed = (await daemon.call("GET", "/tokens"))[1]["items"]
    with closing(sqlite3.connect(daemon.state_dir / "state.db")) as db:
        everything = "\n".join(db.iterdump())

    assert status == 201
    assert secret.startswith("bty_")
    assert listed == [{"id": body["id"], "name": "ci", "created_at": body["created_at"], "last_used_at": None}]
    assert secret not in everything
    assert (await daemon.events())[0]["kind"] == "auth.token.created"


async def test_a_token_opens_what_an_operator_may_do(daemon):
    """A request with a token needs no cookie, whatever page made it; its use is noted."""
    _, bearer = await make_token(daemon)
    async with listening(daemon, headers=bearer):
        pass
    daemon.client.session.cookie_jar.clear()

    assert (await daemon.call("GET", "/machines", headers=bearer))[0] == 200
    strange = {**bearer, "Origin": "http://elsewhere.example"}
    assert (await daemon.call("PUT", "/machines/52:54:00:00:00:01", json={}, headers=strange))[0] == 200
    await daemon.log_in()
    assert (await daemon.call("GET", "/tokens"))[1]["items"][0]["last_used_at"] is not None


async def test_a_token_cannot_make_itself_at_home(daemon):
    """With a token nobody makes tokens, changes the password or edits the configuration."""
    _, bearer = await make_token(daemon)
    calls = [
        ("POST", "/tokens", {"name": "x"}),
        ("GET", "/tokens", None),
        ("POST", "/account/password", {"current": "bty-lab", "new": "x"}),
        ("PUT", "/config/server.port", {"value": 1}),
    ]

    assert [(await daemon.call(method, path, json=body, headers=bearer))[0] for method, path, body in calls] == [403] * 4


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", "Bearer bty_x", "Basic YTpi", "bty_x", "Bearer bty_\N{SNOWMAN}"])
async def test_a_wrong_token_is_401_even_with_a_cookie(daemon, value):
    """Who shows a token is judged by it."""
    status, body = await daemon.call("GET", "/machines", headers={"Authorization": value})

    assert (status, "detail" in body) == (401, True)


async def test_a_revoked_token_ends_at_once(daemon):
    """After it is revoked a token opens nothing, also after a restart."""
    token_id, bearer = await make_token(daemon)
    await make_token(daemon, "other")
    assert (await daemon.call("DELETE", f"/tokens/{token_id}"))[0] == 204
    assert (await daemon.call("GET", "/machines", headers=bearer))[0] == 401
    assert [token["name"] for token in (await daemon.call("GET", "/tokens"))[1]["items"]] == ["other"]
    assert (await daemon.call("DELETE", f"/tokens/{token_id}"))[0] == 404


async def test_a_token_survives_a_restart(tmp_path):
    """What a pipeline logs in with keeps working."""
    config = make_config(tmp_path / "state")
    async with running(config) as daemon:
        await daemon.log_in()
        _, bearer = await make_token(daemon)
    async with running(config) as daemon:
        assert (await daemon.call("GET", "/machines", headers=bearer))[0] == 200


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 65}, {"name": "<b>"}, {"name": "a", "x": 1}])
async def test_a_malformed_token_is_422(daemon, body):
    """A name is a word of a few harmless letters."""
    assert (await daemon.call("POST", "/tokens", json=body))[0] == 422


async def test_a_name_is_used_once(daemon):
    """Two tokens of one name could not be told apart."""
    await make_token(daemon)

    assert (await daemon.call("POST", "/tokens", json={"name": "ci"}))[0] == 409


# --- the password


async def test_the_password_is_changed_and_other_logins_end(tmp_path):
    """The new password counts at once and after a restart; the one who changed it stays logged in, others do not."""
    state = tmp_path / "state"
    config = make_config(state, '# mine\n[admin]\npassword = "old"\n')
    async with running(config) as daemon, running_again(daemon) as other:
        await daemon.log_in("old")
        await other.log_in("old")
        status, _ = await daemon.call("POST", "/account/password", json={"current": "old", "new": "n\N{SNOWMAN}w"})
        assert status == 204
        assert (await daemon.call("GET", "/machines"))[0] == 200
        assert (await other.call("GET", "/machines"))[0] == 401
        assert (await other.call("POST", "/auth/login", json={"password": "old"}))[0] == 401
        await other.log_in("n\N{SNOWMAN}w")
        assert (await daemon.events(kind="auth.password.changed"))[0]["details"] is None
    text = (state / "bty.toml").read_text()
    assert "# mine" in text
    assert "old" not in text
    assert "scrypt$" in text
    async with running(config.reload()) as daemon:
        await daemon.log_in("n\N{SNOWMAN}w")


async def test_a_wrong_current_password_changes_nothing(daemon):
    """Who sits down at an open page cannot lock the operator out."""
    assert (await daemon.call("POST", "/account/password", json={"current": "x", "new": "y"}))[0] == 401
    await daemon.log_in()


async def test_the_account_says_where_the_password_is_from(daemon):
    """The page can say whether the well-known password is still set, and whether it can be changed here."""
    body = (await daemon.call("GET", "/account"))[1]

    assert body == {"password_from": "default", "is_default_password": True, "why_fixed": None, "sessions": 1}


def running_again(daemon):
    """A second client of the same daemon."""
    from contextlib import asynccontextmanager

    from aiohttp.test_utils import TestClient

    from tests.support.daemon import Daemon

    @asynccontextmanager
    async def other():
        client = TestClient(daemon.client.server)
        try:
            yield Daemon(daemon.app, client, daemon.state_dir)
        finally:
            await client.session.close()

    return other()


# --- settings


async def test_settings_are_changed_and_kept(tmp_path):
    """A PATCH changes what it names, says so in the audit log, and holds over a restart; an empty word is the default."""
    config = make_config(tmp_path / "state")
    async with running(config) as daemon:
        await daemon.log_in()
        before = (await daemon.call("GET", "/settings"))[1]
        change = {
            "upstream": {"catalog_url": "https://x.example/c.toml"},
            "backup": {"enabled": True, "cadence": "daily", "retention_count": 3},
        }
        status, body = await daemon.call("PATCH", "/settings", json=change)
        assert status == 200, body
        assert {event["kind"] for event in await daemon.events(subject_kind="settings")} == {
            "settings.upstream.updated", "settings.backup.updated",
        }  # fmt: skip
    async with running(config) as daemon:
        await daemon.log_in()
        assert (await daemon.call("GET", "/settings"))[1] == body
        assert body["backup"] == {"enabled": True, "cadence": "daily", "retention_count": 3, "last_run_at": None}
        back = await daemon.call("PATCH", "/settings", json={"upstream": {"catalog_url": ""}})
        assert back[1]["upstream"] == before["upstream"]


async def test_changes_at_the_same_time_lose_nothing(daemon):
    """Settings and keys of the configuration that are changed by several at once are all changed, in memory and on the disk."""
    changes = [
        ("PATCH", "/settings", {"upstream": {"netboot_tag": "v9"}}),
        ("PATCH", "/settings", {"backup": {"retention_count": 3}}),
        ("PATCH", "/settings", {"upstream": {"catalog_url": "http://a/c.toml"}}),
        ("PUT", "/config/flash.max_attempts", {"value": 7}),
        ("PUT", "/config/events.retention_days", {"value": 8}),
        ("PUT", "/config/events.max_rows", {"value": 9000}),
    ]
    answers = await asyncio.gather(*(daemon.call(method, path, json=body) for method, path, body in changes))
    _, settings = await daemon.call("GET", "/settings")
    _, config = await daemon.call("GET", "/config")
    values = {key["key"]: key["value"] for key in config["keys"]}

    assert [status for status, _ in answers] == [200] * 6
    assert (settings["upstream"]["netboot_tag"], settings["backup"]["retention_count"]) == ("v9", 3)
    assert settings["upstream"]["catalog_url"] == "http://a/c.toml"
    assert (values["flash.max_attempts"], values["events.retention_days"], values["events.max_rows"]) == (7, 8, 9000)


@pytest.mark.parametrize(
    "body",
    [
        {"upstream": {"netboot_repo": "x"}}, {"upstream": {"netboot_tag": "a/b"}}, {"upstream": {"catalog_url": "file:///etc/passwd"}},
        {"upstream": {"catalog_url": "http://u:p@x/"}}, {"backup": {"cadence": "hourly"}}, {"backup": {"retention_count": 0}},
        {"backup": {"last_run_at": "x"}}, {"else": {}}, [],
    ],
)  # fmt: skip
async def test_a_malformed_setting_is_422(daemon, body):
    """What makes no sense is refused before anything of it is stored."""
    before = (await daemon.call("GET", "/settings"))[1]

    assert (await daemon.call("PATCH", "/settings", json=body))[0] == 422
    assert (await daemon.call("GET", "/settings"))[1] == before


# --- the configuration


async def test_every_key_has_its_origin_and_no_secret_is_shown(tmp_path):
    """Each key says where its value is from; a secret only whether it is set."""
    config = make_config(tmp_path / "state", TOML + '[admin]\npassword = "hush-hush"\n')
    async with running(config) as daemon:
        await daemon.log_in("hush-hush")
        status, body = await daemon.call("GET", "/config")
        by_key = {entry["key"]: entry for entry in body["keys"]}

        assert status == 200
        assert "hush-hush" not in str(body)
        assert by_key["admin.password"]["is_set"] is True
        assert by_key["admin.password"]["value"] is None
        assert by_key["server.port"]["origin"] == f"toml({tmp_path / 'state' / 'bty.toml'})"
        assert by_key["events.max_rows"]["origin"] == "default"
        assert by_key["paths.state_dir"]["why_fixed"]
        assert body["file"] == str(tmp_path / "state" / "bty.toml")


async def test_a_key_is_edited_and_comments_stay(daemon):
    """The file keeps every comment; what the daemon looks at anew counts at once, the rest after a restart."""
    status, body = await daemon.call("PUT", "/config/server.port", json={"value": 9090})
    assert status == 200
    assert body["restart_needed"] is True
    status, body = await daemon.call("PUT", "/config/flash.max_attempts", json={"value": 7})

    assert (daemon.state_dir / "bty.toml").read_text() == TOML.replace("8080", "9090").replace("= 2", "= 7")
    assert daemon.app[keys.FLEET].rules.max_attempts == 7
    event = (await daemon.events(kind="settings.config.updated"))[0]
    assert event["details"] == {"key": "flash.max_attempts", "from": 2, "to": 7}


async def test_a_key_goes_back_to_its_default(daemon):
    """Null takes the key out of the file."""
    body = (await daemon.call("PUT", "/config/flash.max_attempts", json={"value": None}))[1]
    (entry,) = [entry for entry in body["keys"] if entry["key"] == "flash.max_attempts"]

    assert (entry["value"], entry["origin"]) == (3, "default")


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("server.port", 0, 422), ("server.port", "80", 422), ("server.port", True, 422), ("server.trusted_proxy", "(off)", 422),
        ("withcache.url", "ftp://x", 422), ("withcache.url", "http://x\n[admin]", 422), ("no.such", 1, 404), ("admin.password", "x", 409),
        ("server.session_secret", "x", 409), ("paths.state_dir", "x", 409), ("flash.verify", "yes", 422),
    ],
)  # fmt: skip
async def test_a_value_that_does_not_fit_is_refused(daemon, key, value, status):
    """The file is written only with what the daemon would take at its next start."""
    found, body = await daemon.call("PUT", f"/config/{key}", json={"value": value})

    assert found == status, body
    assert (daemon.state_dir / "bty.toml").read_text() == TOML


async def test_a_file_that_is_no_toml_is_left_alone(daemon):
    """What somebody broke by hand is reported, not overwritten."""
    (daemon.state_dir / "bty.toml").write_text("[server\n")
    status, body = await daemon.call("PUT", "/config/flash.max_attempts", json={"value": 7})

    assert status == 409, body
    assert (daemon.state_dir / "bty.toml").read_text() == "[server\n"


# --- health


async def test_health_says_what_is_missing_and_what_to_do(daemon):
    """A fresh daemon lacks artifacts, images and a password; each line says what to do."""
    body = (await daemon.call("GET", "/health"))[1]
    by_name = {check["name"]: check for check in body["checks"]}

    assert [by_name[name]["state"] for name in ("netboot", "catalog", "password", "events")] == ["failed", "failed", "failed", "ok"]
    assert all(check["hint"] for check in body["checks"] if check["state"] == "failed")
    assert body["ok"] < body["total"] == sum(check["state"] != "info" for check in body["checks"])


async def test_open_failures_count_until_they_are_acknowledged(daemon):
    """A failed event fails the check; marking all open failures mends it."""
    events = daemon.app[keys.EVENTS]
    for n in range(3):
        await events.record("machine.flash.failed", str(n))
    assert await state_of(daemon, "events") == "failed"
    assert len(await daemon.events(unacknowledged="1")) == 3
    assert await daemon.call("POST", "/events/acknowledge", json={"open_failures": True}) == (200, {"updated": 3, "acknowledged": True})

    assert await state_of(daemon, "events") == "ok"


async def test_health_waits_for_nobody(daemon, monkeypatch):
    """Where nobody answers, the check says that it is running; at its end it says what was found and when, and asks not at once again."""
    answer, asked = asyncio.Event(), []

    async def silent(host: str) -> str:
        asked.append(host)
        await answer.wait()
        return "unreachable"

    monkeypatch.setattr(health, "probe", silent)
    monkeypatch.setattr(health, "SOON_S", 0.01)
    first, second = await check_of(daemon, "tftp"), await check_of(daemon, "tftp")
    assert (first["state"], first["running"], first["checked_at"]) == ("info", True, None)
    assert second == first
    answer.set()
    while (found := await check_of(daemon, "tftp"))["running"]:
        pass
    assert (found["state"], bool(found["checked_at"]), bool(found["hint"])) == ("failed", True, True)
    assert await check_of(daemon, "tftp") == found
    assert asked == ["127.0.0.1"]


async def test_health_asks_each_time_where_the_answer_comes_at_once(daemon, monkeypatch):
    """A TFTP server that was started meanwhile is seen by the next look."""
    answers = ["missing", "present"]

    async def quick(host: str) -> str:
        return answers.pop(0)

    monkeypatch.setattr(health, "probe", quick)
    monkeypatch.setattr(health, "SOON_S", 10.0)
    found = [await check_of(daemon, "tftp") for _ in range(2)]

    assert [(check["state"], check["running"]) for check in found] == [("failed", False), ("ok", False)]


async def test_an_old_answer_is_told_while_the_next_is_waited_for(daemon, monkeypatch):
    """When the last answer has got old, it is told with its time, and that it is being looked at anew."""
    answer, asked = asyncio.Event(), []

    async def first_at_once(host: str) -> str:
        asked.append(host)
        if len(asked) > 1:
            await answer.wait()
        return "present"

    monkeypatch.setattr(health, "probe", first_at_once)
    before = await check_of(daemon, "tftp")
    monkeypatch.setattr(health, "SOON_S", 0.01)
    after = await check_of(daemon, "tftp")
    answer.set()

    assert (before["state"], before["running"]) == ("ok", False)
    assert after == {**before, "running": True}


async def check_of(daemon, name: str) -> dict:
    return next(check for check in (await daemon.call("GET", "/health"))[1]["checks"] if check["name"] == name)


async def state_of(daemon, name: str) -> str:
    return next(check["state"] for check in (await daemon.call("GET", "/health"))[1]["checks"] if check["name"] == name)


@pytest.mark.parametrize(
    ("answer", "found"), [(b"\0\x03\0\x01data", "present"), (b"\0\x05\0\x01no\0", "missing"), (b"x", "unreachable"), (None, "unreachable")]
)
async def test_a_tftp_server_is_asked_for_the_first_loader(answer, found, monkeypatch):
    """A server that sends the file, one that lacks it and one that is silent are told apart; the answer comes from another port."""
    monkeypatch.setattr(tftp_probe, "WAIT_S", 1.0 if answer else 0.05)
    loop = asyncio.get_running_loop()
    asked = []

    class Server(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            asked.append(data)
            if answer is not None:
                other.sendto(answer, addr)

    listening_at, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    other, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    try:
        assert await tftp_probe.probe("127.0.0.1", listening_at.get_extra_info("sockname")[1]) == found
        assert asked == [b"\0\x01ipxe.efi\0octet\0"]
    finally:
        listening_at.close()
        other.close()


def test_a_mounted_file_is_written_in_place(tmp_path, monkeypatch):
    """A configuration file that is mounted into a container cannot be replaced, so it is rewritten."""
    from bty.services.config_file import ConfigFile

    config = make_config(tmp_path / "state", TOML)
    path = tmp_path / "state" / "bty.toml"
    inode = path.stat().st_ino

    def busy(self, target):
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr("pathlib.Path.replace", busy)
    ConfigFile(config).edit("flash.max_attempts", 5)

    assert path.read_text() == TOML.replace("= 2", "= 5")
    assert path.stat().st_ino == inode
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".new")] == []
