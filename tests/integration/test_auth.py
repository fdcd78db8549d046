"""Logging in and out: who gets in, for how long, and what a stranger, a guesser or another site's page gets."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import FormData

from bty.daemon import keys
from bty.daemon.guards import Guard
from bty.daemon.routes import ROUTES
from bty.errors import ConfigFailed, TooMany
from bty.services.auth import RENEW_AFTER, SESSION_LIFE, Auth
from bty.services.config import Admin
from bty.services.password import Password, hash_password
from bty.services.throttle import ADDRESS_BURST, ADDRESS_EVERY_S, TOTAL_BURST, Throttle
from tests.support.daemon import make_config, running


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state", "[admin]\npassword = 'sesame'\n[server]\ntrusted_proxy = ['127.0.0.1']\n")) as made:
        yield made


def concrete(path: str) -> str:
    for name, value in (("{mac}", "52:54:00:00:00:01"), ("{id}", "1"), ("{name}", "x"), ("{key}", "x"), ("{token}", "x"), ("{tag}", "x")):
        path = path.replace(name, value)
    return path


LOGGED_IN = (Guard.OPERATOR, Guard.SESSION)
OPERATOR_ROUTES = [(method, route.path) for route in ROUTES for method in route.method.split("|") if route.guard in LOGGED_IN]


def test_the_table_has_routes_for_the_operator():
    """The next test walks over something."""
    assert len(OPERATOR_ROUTES) > 15


@pytest.mark.parametrize(("method", "path"), OPERATOR_ROUTES)
@pytest.mark.parametrize("cookie", [None, "forged", "\u00e4"])
async def test_an_operator_route_needs_a_login(daemon, method, path, cookie):
    """Every route of the operator answers 401 without a session, whatever the cookie says, and before it looks at the body."""
    headers = {"Cookie": f"bty-token={cookie}"} if cookie else {}
    answer = await daemon.call(method, concrete(path), headers=headers, data=b"{")

    assert answer == (401, None if method == "HEAD" else {"detail": "login required"})


async def test_a_form_logs_in(daemon):
    """POST /ui/login with the password answers 303 to the dashboard and a cookie that scripts cannot read; the page is then skipped."""
    answer = await daemon.client.post("/ui/login", data={"password": "sesame"}, allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]

    assert (answer.status, answer.headers["Location"]) == (303, "/ui/dashboard")
    assert cookie.startswith("bty-token=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert (await daemon.call("GET", "/machines")) == (200, [])
    assert (await daemon.call("GET", "/ui/login"))[0] == 303


@pytest.mark.parametrize("path", ["/ui", "/ui/dashboard", "/ui/machines", "/ui/nix"])
async def test_a_page_sends_a_stranger_to_log_in(daemon, path):
    """Without a session a page is 303 to the login page, which leads back; with one it is the document, or 404 where there is none."""
    answer = await daemon.client.get(path, allow_redirects=False)
    back = "" if path in ("/ui", "/ui/dashboard") else f"?next={path}"
    assert (answer.status, answer.headers["Location"]) == (303, f"/ui/login{back}")
    await daemon.log_in("sesame")
    status, body = await daemon.call("GET", path)
    assert status == {"/ui": 303, "/ui/nix": 404}.get(path, 200)
    assert ("<!doctype html>" in body) == (status == 200)


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("/ui/machines?q=a%20b", "/ui/machines?q=a%20b"), ("/ui/logout", "/ui/dashboard"), ("//elsewhere.invalid/", "/ui/dashboard"),
        ("https://elsewhere.invalid", "/ui/dashboard"), ("/ui/x\r\nSet-Cookie: a=b", "/ui/dashboard"), ('/ui/"><b>', "/ui/dashboard"),
    ],
)  # fmt: skip
async def test_a_login_leads_back_to_a_page_of_ours_only(daemon, wanted, place):
    """The form keeps `next` where it is a page of the application, and drops anything else."""
    form = await daemon.client.get("/ui/login", params={"next": wanted})
    answer = await daemon.client.post("/ui/login", params={"next": wanted}, data={"password": "sesame"}, allow_redirects=False)

    assert ("next=" in await form.text()) == (place != "/ui/dashboard")
    assert answer.headers["Location"] == place


async def test_a_multipart_form_logs_in(daemon):
    """The form may be sent as multipart too."""
    form = FormData(default_to_multipart=True)
    form.add_field("password", "sesame")

    assert (await daemon.call("POST", "/ui/login", data=form))[0] == 303


async def test_a_wrong_password_is_a_page_that_says_so(daemon):
    """The form answers 200 with the reason and sets no cookie."""
    answer = await daemon.client.post("/ui/login", data={"password": "<b>nix"}, allow_redirects=False)
    text = await answer.text()

    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "wrong password" in text
    assert "nix" not in text
    assert "Set-Cookie" not in answer.headers


async def test_what_the_operator_sees_is_not_cached(daemon):
    """Answers behind the login forbid the browser to keep them."""
    await daemon.log_in("sesame")
    answer = await daemon.client.get("/machines")

    assert answer.headers["Cache-Control"] == "no-store"


async def test_json_logs_in_and_out(daemon):
    """POST /auth/login answers 204 and a cookie, a wrong password 401; after POST /auth/logout the token is worth nothing anywhere."""
    assert await daemon.call("POST", "/auth/login", json={"password": "nix"}) == (401, {"detail": "wrong password"})
    await daemon.log_in("sesame")
    token = next(iter(daemon.client.session.cookie_jar)).value
    assert (await daemon.call("POST", "/auth/logout"))[0] == 204
    assert len(daemon.client.session.cookie_jar) == 0
    assert (await daemon.call("GET", "/machines", headers={"Cookie": f"bty-token={token}"}))[0] == 401


async def test_the_form_logs_out(daemon):
    """POST /ui/logout ends the session and leads to the login page; without a session it does the same and records nothing."""
    await daemon.log_in("sesame")
    for _ in range(2):
        answer = await daemon.client.post("/ui/logout", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/login")
    await daemon.log_in("sesame")

    assert len(await daemon.events(kind="auth.logout")) == 1


async def test_logins_are_audited(daemon):
    """Success, failure and logout are events of the operator with the caller's address, and none holds a password."""
    await daemon.call("POST", "/auth/login", json={"password": "gue55"}, headers={"X-Forwarded-For": "192.0.2.7"})
    await daemon.log_in("sesame")
    await daemon.call("POST", "/auth/logout")
    await daemon.log_in("sesame")
    events = await daemon.events(subject_kind="auth")

    assert [event["kind"] for event in events] == ["auth.login.succeeded", "auth.logout", "auth.login.succeeded", "auth.login.failed"]
    assert events[-1]["source_ip"] == "192.0.2.7"
    assert "gue55" not in str(events)
    assert {(event["subject_id"], event["actor"]) for event in events} == {("operator", "operator")}


@pytest.mark.parametrize("body", [b"", b"{", b'{"password": 1}', b"{}", b'{"password": "x", "more": 1}', b"\xff"])
async def test_a_malformed_login_is_422(daemon, body):
    """A body that is no password is 422 with where and what, and counts as no attempt."""
    for _ in range(ADDRESS_BURST + 1):
        status, answer = await daemon.call("POST", "/auth/login", data=body)
        assert status == 422
        assert set(answer["detail"][0]) == {"loc", "msg", "type"}
    assert await daemon.call("POST", "/ui/login", data=b"other=1") == (
        422,
        {"detail": [{"loc": ["body", "password"], "msg": "Field required", "type": "missing"}]},
    )


async def test_passwords_are_any_text(tmp_path):
    """A password beyond ASCII works, and one with half a surrogate is merely wrong."""
    async with running(make_config(tmp_path / "state", "[admin]\npassword = 'Käse🧀'\n")) as daemon:
        await daemon.log_in("Käse🧀")
        status, _ = await daemon.call("POST", "/ui/login", data=b"password=%ED%A0%80")

        assert status == 200


async def test_a_hashed_password_logs_in(tmp_path):
    """With password_hash the password behind it opens, and nothing else, the hash itself neither."""
    digest = await asyncio.to_thread(hash_password, "sesame")
    async with running(make_config(tmp_path / "state", f"[admin]\npassword_hash = '{digest}'\n")) as daemon:
        assert (await daemon.call("POST", "/auth/login", json={"password": "bty-lab"}))[0] == 401
        assert (await daemon.call("POST", "/auth/login", json={"password": digest}))[0] == 401
        await daemon.log_in("sesame")


@pytest.mark.parametrize(
    "text",
    [
        "sesame",
        "scrypt$16384$8$1$c2FsdA==$",
        "scrypt$15$8$1$c2FsdA==$aGFzaGhhc2hoYXNoaGFzaA==",
        "scrypt$16777216$99$1$c2FsdA==$aGFzaGhhc2g=",
    ],
)
def test_a_hash_that_is_none_is_refused_at_start(text):
    """A malformed hash, or one whose parameters would eat the memory, is an error of the configuration."""
    with pytest.raises(ConfigFailed, match="password_hash"):
        Password.of(Admin(password_hash=text))


async def test_sessions_outlive_a_restart_but_not_the_password(tmp_path):
    """A session is good after a restart; with another password in the configuration it is not."""
    async with running(make_config(tmp_path / "state", "[admin]\npassword = 'one'\n")) as daemon:
        await daemon.log_in("one")
        cookie = {"Cookie": f"bty-token={next(iter(daemon.client.session.cookie_jar)).value}"}
    async with running(make_config(tmp_path / "state", "[admin]\npassword = 'one'\n")) as daemon:
        assert (await daemon.call("GET", "/machines", headers=cookie))[0] == 200
    async with running(make_config(tmp_path / "state", "[admin]\npassword = 'two'\n")) as daemon:
        assert (await daemon.call("GET", "/machines", headers=cookie))[0] == 401
    async with running(make_config(tmp_path / "state", "[admin]\npassword = 'one'\n")) as daemon:
        assert (await daemon.call("GET", "/machines", headers=cookie))[0] == 401


async def test_the_token_is_not_kept(daemon):
    """Neither the token nor the password is in any file of the state; the secret's file is not for everybody."""
    await daemon.log_in("sesame")
    token = next(iter(daemon.client.session.cookie_jar)).value.encode()
    files = [path for path in daemon.state_dir.rglob("*") if path.is_file() and path.name != "bty.toml"]

    assert [path for path in files if token in path.read_bytes() or b"sesame" in path.read_bytes()] == []
    assert stat.S_IMODE((daemon.state_dir / "session-secret").stat().st_mode) & 0o007 == 0


async def test_guessing_is_slowed_down(daemon):
    """After a few wrong passwords an address gets 429 with Retry-After, also for the right one; another address still gets in."""

    async def attempt(password: str, address: str = "192.0.2.1"):
        return await daemon.client.post("/auth/login", json={"password": password}, headers={"X-Forwarded-For": address})

    tried = [(await attempt(f"guess {number}")).status for number in range(ADDRESS_BURST)]
    refused = await attempt("sesame")
    form = await daemon.client.post(
        "/ui/login", data={"password": "sesame"}, headers={"X-Forwarded-For": "192.0.2.1"}, allow_redirects=False
    )

    assert tried == [401] * ADDRESS_BURST
    assert refused.status == form.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= ADDRESS_EVERY_S
    assert "too many" in (await refused.json())["detail"]
    assert (await attempt("sesame", "192.0.2.2")).status == 204


async def test_parallel_guesses_count_each(daemon):
    """A hundred guesses at once get no further than the same guesses one after the other."""
    answers = await asyncio.gather(*(daemon.call("POST", "/auth/login", json={"password": str(number)}) for number in range(100)))

    assert sorted(status for status, _ in answers) == [401] * ADDRESS_BURST + [429] * (100 - ADDRESS_BURST)


def test_tries_come_back_with_time():
    """An address gets one more try after a while, and many addresses together are limited too."""
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    for _ in range(ADDRESS_BURST):
        throttle.take("192.0.2.1")
    with pytest.raises(TooMany):
        throttle.take("192.0.2.1")
    now = ADDRESS_EVERY_S
    throttle.take("192.0.2.1")
    for number in range(TOTAL_BURST - 1):
        throttle.take(f"198.51.100.{number}")
    with pytest.raises(TooMany):
        throttle.take("198.51.100.200")


def test_an_ipv6_host_is_one_address():
    """The 2^64 addresses of one IPv6 network share their tries."""
    throttle = Throttle(clock=lambda: 0.0)
    for number in range(ADDRESS_BURST):
        throttle.take(f"2001:db8::{number}")
    with pytest.raises(TooMany):
        throttle.take("2001:db8::ffff")
    throttle.take("2001:db8:0:1::1")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
@pytest.mark.parametrize(("method", "path"), [("PUT", "/machines/52:54:00:00:00:01"), ("POST", "/auth/logout"), ("POST", "/auth/login")])
async def test_another_sites_page_can_change_nothing(daemon, headers, method, path):
    """A change with a cookie that a page of another site makes the browser send is 403."""
    await daemon.log_in("sesame")
    status, body = await daemon.call(method, path, headers=headers, json={"password": "sesame"} if "login" in path else {})

    assert (status, body) == (403, {"detail": "the request comes from a page of another site"})
    assert (await daemon.call("GET", "/machines")) == (200, [])


@pytest.mark.parametrize("proxied", [False, True])
async def test_our_own_pages_can(daemon, proxied):
    """A change from a page of this host is taken, behind a trusted proxy by the name that the proxy has."""
    await daemon.log_in("sesame")
    headers = {"Origin": f"http://{daemon.address}"}
    if proxied:
        headers = {"Origin": "https://bty.example", "X-Forwarded-Host": "bty.example"}

    assert (await daemon.call("PUT", "/machines/52:54:00:00:00:01", json={}, headers=headers))[0] == 200


async def test_the_cookie_is_secure_behind_tls(daemon):
    """Where a trusted proxy says that the request came by TLS, the cookie is for TLS only."""
    answer = await daemon.client.post("/auth/login", json={"password": "sesame"}, headers={"X-Forwarded-Proto": "https"})

    assert "Secure" in answer.headers["Set-Cookie"].split("; ")


async def test_forwarded_headers_of_strangers_do_not_count(tmp_path):
    """Without a trusted proxy neither the address nor the host nor TLS is taken from headers."""
    async with running(make_config(tmp_path / "state")) as daemon:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9", "X-Forwarded-Host": "evil", "Origin": "http://evil"}
        assert (await daemon.call("POST", "/auth/login", json={"password": "bty-lab"}, headers=headers))[0] == 403
        del headers["Origin"]
        answer = await daemon.client.post("/auth/login", json={"password": "bty-lab"}, headers=headers)

        assert "Secure" not in answer.headers["Set-Cookie"]
        assert (await daemon.events(kind="auth.login.succeeded"))[0]["source_ip"] == "127.0.0.1"


async def test_a_used_session_lives_on(daemon):
    """A session that is used is renewed, with its cookie, at most once an hour, and ends a week after its last use."""
    now = datetime.now(UTC)
    app = daemon.app
    app._state[keys.AUTH] = await Auth.load(app[keys.STORE], app[keys.EVENTS], app[keys.CONFIG], clock=lambda: now)
    await daemon.log_in("sesame")

    async def use() -> tuple[int, bool]:
        answer = await daemon.client.get("/events")
        return answer.status, "Set-Cookie" in answer.headers

    assert await use() == (200, False)
    now += RENEW_AFTER - timedelta(seconds=1)
    assert await use() == (200, False)
    now += timedelta(seconds=2)
    assert await use() == (200, True)
    assert await use() == (200, False)
    now += SESSION_LIFE - timedelta(seconds=1)
    assert await use() == (200, True)
    with closing(sqlite3.connect(daemon.state_dir / "state.db")) as db:
        ((kept,),) = db.execute("SELECT expires_at FROM sessions")
    assert kept == (now + SESSION_LIFE).isoformat(timespec="microseconds")
    now += SESSION_LIFE + timedelta(seconds=1)
    assert (await use())[0] == 401


async def test_the_well_known_password_is_warned_of(tmp_path):
    """The login page says that the default password is set, and does not where it is not."""
    async with running(make_config(tmp_path / "a")) as open_door:
        assert "well-known password" in (await open_door.call("GET", "/ui/login"))[1]
    async with running(make_config(tmp_path / "b", "[admin]\npassword = 'x'")) as closed_door:
        assert "well-known password" not in (await closed_door.call("GET", "/ui/login"))[1]
