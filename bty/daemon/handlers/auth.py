"""Logging in and out: by a page without scripts, or by JSON."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs

import msgspec
from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import no_content, read_body, read_json
from bty.daemon.guards import COOKIE, check_origin, drop_cookie, login_address, set_cookie
from bty.daemon.spa import load_application
from bty.daemon.speech import FORM, HTML, speaks
from bty.errors import InvalidBody, NotAllowed, TooMany

# Not a part of the application: it works without scripts.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in - bty</title>
<link rel="icon" href="{icon}" type="image/svg+xml">
<link rel="stylesheet" href="{style}">
<body>
<main class="login">
<h1><span class="brand-mark" aria-hidden="true">b</span> bty</h1>
{notes}<form method="post" action="{action}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button type="submit" class="primary">Log in</button>
</form>
</main>
</body>
</html>
"""
# Where a login leads to: a page of ours, never another site.
_NEXT = re.compile(r"/ui/(?!log)[\w./?&=%:~+,-]*")
_DEFAULT_PASSWORD = "The well-known password is still set: anybody can log in. Set BTY_ADMIN_PASSWORD or [admin] password."


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /auth/login`."""

    password: str


@speaks(reply=HTML)
async def login_page(request: web.Request) -> web.Response:
    """Show the form, or go on where the operator is logged in."""
    if request.app[keys.AUTH].find(request.cookies.get(COOKIE)):
        return _go(_next(request))
    return _page(request)


@speaks(body=FORM, reply=HTML)
async def login_form(request: web.Request) -> web.Response:
    """Log in with the form's `password`."""
    check_origin(request)
    try:
        token = await request.app[keys.AUTH].log_in(await _read_password(request), ip=client_ip(request))
    except NotAllowed as error:
        return _page(request, problem=str(error))
    except TooMany as error:
        return _page(request, problem=str(error), status=error.status, headers={hdrs.RETRY_AFTER: str(error.retry_after_s)})
    response = _go(_next(request))
    set_cookie(request, response, token)
    return response


@speaks(status=303)
async def logout_form(request: web.Request) -> web.Response:
    """Log out and go to the login page."""
    await _log_out(request)
    response = _go("/ui/login")
    drop_cookie(response)
    return response


@speaks(body=Login, status=204)
async def login(request: web.Request) -> web.Response:
    """Log in with a JSON `password`."""
    check_origin(request)
    body = await read_json(request, Login)
    token = await request.app[keys.AUTH].log_in(body.password, ip=client_ip(request))
    response = no_content()
    set_cookie(request, response, token)
    return response


@speaks(status=204)
async def logout(request: web.Request) -> web.Response:
    """Log out."""
    await _log_out(request)
    response = no_content()
    drop_cookie(response)
    return response


async def _log_out(request: web.Request) -> None:
    check_origin(request)
    await request.app[keys.AUTH].log_out(request.cookies.get(COOKIE), ip=client_ip(request))


async def _read_password(request: web.Request) -> str:
    """Return the field `password` of a form, in either of the ways in which forms are sent. Raises `InvalidBody`."""
    value: object = None
    try:
        if request.content_type == "multipart/form-data":
            value = (await request.post()).get("password")
        else:
            form = (await read_body(request)).decode("utf-8", "replace")
            value = parse_qs(form, keep_blank_values=True, max_num_fields=16).get("password", [None])[-1]
    except (ValueError, AssertionError) as error:  # aiohttp asserts what a form must look like
        raise InvalidBody([{"loc": ["body"], "msg": f"not a form: {error}", "type": "form_invalid"}]) from error
    if not isinstance(value, str):
        raise InvalidBody([{"loc": ["body", "password"], "msg": "Field required", "type": "missing"}])
    return value


def _next(request: web.Request) -> str:
    """Return the page to go to after the login."""
    wanted = request.query.get("next", "")
    return wanted if _NEXT.fullmatch(wanted) else "/ui/dashboard"


def _page(request: web.Request, *, problem: str = "", status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    notes = [f'<p class="note bad" role="alert">{html.escape(problem)}</p>\n'] if problem else []
    if request.app[keys.AUTH].has_default_password:
        notes.append(f'<p class="note warn">{html.escape(_DEFAULT_PASSWORD)}</p>\n')
    place = _next(request)
    application = load_application()
    text = _PAGE.format(
        notes="".join(notes),
        action=login_address(place),
        style=application.address("app.css"),
        icon=application.address("icon.svg"),
    )
    return web.Response(text=text, status=status, headers={hdrs.CACHE_CONTROL: "no-store", **(headers or {})}, content_type="text/html")


def _go(place: str) -> web.Response:
    return web.Response(status=303, headers={hdrs.LOCATION: place})
