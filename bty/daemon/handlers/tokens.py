"""API tokens and the account: what an operator may do only when logged in by password, not by a token."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import no_content, read_json, reply
from bty.daemon.guards import set_cookie
from bty.daemon.speech import speaks
from bty.errors import NotFound
from bty.model.session import ApiToken
from bty.services.text import TokenName

PasswordText = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class NewToken(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /tokens`."""

    name: TokenName


class TokenRow(msgspec.Struct, kw_only=True):
    """A token, without its secret."""

    id: int
    name: str
    created_at: str
    last_used_at: str | None


class TokenList(msgspec.Struct, kw_only=True):
    """The tokens, the oldest first."""

    items: list[TokenRow]


class MadeToken(TokenRow, kw_only=True):
    """A new token. `token` is its secret, shown this once."""

    token: str


class PasswordChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /account/password`."""

    current: str
    new: PasswordText


class Account(msgspec.Struct, kw_only=True):
    """The one operator. `password_from` says where the password is set; `why_fixed` why it cannot be changed here."""

    password_from: str
    is_default_password: bool
    why_fixed: str | None
    sessions: int


@speaks(reply=TokenList)
async def list_tokens(request: web.Request) -> web.Response:
    """List the tokens."""
    return reply(TokenList(items=[_row(token) for token in await request.app[keys.TOKENS].all()]))


@speaks(body=NewToken, reply=MadeToken, status=201)
async def create_token(request: web.Request) -> web.Response:
    """Make a token; its secret is in this answer and nowhere else."""
    body = await read_json(request, NewToken)
    token, secret = await request.app[keys.TOKENS].create(body.name, ip=client_ip(request))
    made = MadeToken(id=token.id, name=token.name, created_at=token.created_at, last_used_at=None, token=secret)
    return reply(made, status=201)


@speaks(status=204)
async def revoke_token(request: web.Request) -> web.Response:
    """End a token."""
    text = request.match_info["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"no token {text[:20]}")
    await request.app[keys.TOKENS].revoke(int(text), ip=client_ip(request))
    return no_content()


@speaks(reply=Account)
async def get_account(request: web.Request) -> web.Response:
    """Tell where the password is from and whether it can be changed here."""
    auth = request.app[keys.AUTH]
    found = request.app[keys.ACCOUNT]
    return reply(
        Account(
            password_from=found.origin,
            is_default_password=auth.has_default_password,
            why_fixed=found.why_fixed,
            sessions=auth.count,
        )
    )


@speaks(body=PasswordChange, status=204)
async def change_password(request: web.Request) -> web.Response:
    """Change the password; every other login ends, this one gets a new cookie."""
    body = await read_json(request, PasswordChange)
    token = await request.app[keys.ACCOUNT].change_password(body.current, body.new, ip=client_ip(request))
    response = no_content()
    set_cookie(request, response, token)
    return response


def _row(token: ApiToken) -> TokenRow:
    return TokenRow(id=token.id, name=token.name, created_at=token.created_at, last_used_at=token.last_used_at)
