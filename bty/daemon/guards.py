"""Who may call a route, and how large a body it takes: decided before anything of the body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import quote

from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.codec import check_length
from bty.errors import Forbidden, NotAllowed
from bty.model.session import ApiToken, Session
from bty.services.auth import SESSION_LIFE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE = "bty-token"
_SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


class Guard(StrEnum):
    """Who may call.

    Anybody; a machine, which is anybody on its network; the operator, logged in or with an API token; the operator logged
    in by password, which no token stands for; and a browser, which is sent to log in.
    """

    OPEN = "open"
    MACHINE = "machine"
    OPERATOR = "operator"
    SESSION = "session"
    PAGE = "page"


def guarded(handler: Handler, guard: Guard, max_body: int) -> Handler:
    """Return *handler* behind its guard and the cap of its body."""
    handle = _invited(handler, max_body)

    async def admit(request: web.Request) -> web.StreamResponse:
        if guard is not Guard.PAGE and hdrs.AUTHORIZATION in request.headers:
            return await _admit_token(request, handle, guard)
        session = _session(request)
        if session is None:
            if guard is Guard.PAGE:
                raise web.HTTPSeeOther(login_address(request.path_qs))
            raise NotAllowed("login required")
        if request.method not in _SAFE:
            check_origin(request)
        response = await handle(request)
        if not response.prepared:
            response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")  # a shared browser shows nothing after the logout
            await _renew(request, response, session)
        return response

    return handle if guard in (Guard.OPEN, Guard.MACHINE) else admit


async def _admit_token(request: web.Request, handle: Handler, guard: Guard) -> web.StreamResponse:
    """Let in who has an API token. A browser never sends one by itself, so the page that made it send does not matter."""
    token = await _token(request)
    if token is None:
        raise NotAllowed("the token is not known: it was revoked, or is no bearer token")
    if guard is Guard.SESSION:
        raise Forbidden("an API token may not do this", hint="log in with the password")
    await request.app[keys.TOKENS].note_use(token)
    response = await handle(request)
    if not response.prepared:
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    return response


async def is_admitted(request: web.Request) -> bool:
    """Tell whether who opened a connection that lives on may still have what it gives."""
    return _session(request) is not None or await _token(request) is not None


def login_address(page: str) -> str:
    """Return where to log in and come back to *page*."""
    return "/ui/login" if page in ("/ui", "/ui/dashboard") else f"/ui/login?next={quote(page, safe='/')}"


def check_origin(request: web.Request) -> None:
    """Refuse what a page of another site makes a browser send. Raises `Forbidden`."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
            return
    elif origin.partition("://")[2].lower() == _host(request).lower():
        return
    raise Forbidden("the request comes from a page of another site")


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Have the client keep *token*."""
    proto = request.headers.get("X-Forwarded-Proto", "") if _is_from_proxy(request) else ""
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=request.secure or proto.lower() == "https",
    )


def drop_cookie(response: web.StreamResponse) -> None:
    """Have the client forget its token."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")


async def expect(request: web.Request) -> None:
    """Leave `Expect: 100-continue` to `guarded`: a body is asked for only once its sender may send it."""


def _invited(handler: Handler, max_body: int) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        check_length(request, max_body)
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise web.HTTPUnsupportedMediaType
        if hdrs.EXPECT in request.headers:
            await _invite(request)
        return await handler(request)

    return handle


async def _invite(request: web.Request) -> None:
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    if request.version >= (1, 1):
        writer = request._payload_writer  # aiohttp keeps the only way to write an interim answer to itself
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.output_size = 0


def _session(request: web.Request) -> Session | None:
    return request.app[keys.AUTH].find(request.cookies.get(COOKIE))


async def _token(request: web.Request) -> ApiToken | None:
    scheme, _, secret = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return await request.app[keys.TOKENS].find(secret.strip()) if scheme.lower() == "bearer" else None


async def _renew(request: web.Request, response: web.StreamResponse, session: Session) -> None:
    """Let a session that is used live on, and tell the client so while its answer can still say it."""
    auth = request.app[keys.AUTH]
    token = request.cookies.get(COOKIE, "")
    if auth.is_stale(session) and auth.find(token):
        await auth.renew(session)
        set_cookie(request, response, token)


def _host(request: web.Request) -> str:
    forwarded = request.headers.get("X-Forwarded-Host") if _is_from_proxy(request) else None
    return forwarded or request.headers.get(hdrs.HOST) or ""


def _is_from_proxy(request: web.Request) -> bool:
    """Tell whether the connection comes from a proxy whose forwarded headers count."""
    trusted = request.app[keys.CONFIG].trusted_proxy
    if not trusted or not request.remote:
        return False
    peer = ip_address(request.remote.partition("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in trusted)
