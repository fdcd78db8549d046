"""What a handler reads and answers, said where the handler is: the OpenAPI document is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

HTML, TEXT, TOML, BYTES = "text/html", "text/plain", "application/toml", "application/octet-stream"
FORM, SSE = "application/x-www-form-urlencoded", "text/event-stream"

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """The types of body, query and answer; a media type where body or answer are no JSON. `status` is that of a success.

    `later` is the answer, with status 202, to who sends `Prefer: respond-async`.
    """

    body: Any = None
    query: Any = None
    reply: Any = None
    status: int = 200
    later: Any = None


_NOTHING = Speech()


def speaks(*, body: Any = None, query: Any = None, reply: Any = None, status: int = 200, later: Any = None) -> Callable[[Handler], Handler]:
    """Say what a handler reads and answers."""

    def note(handler: Handler) -> Handler:
        setattr(handler, "speech", Speech(body=body, query=query, reply=reply, status=status, later=later))  # noqa: B010 - functions have no such field
        return handler

    return note


def speech_of(handler: Callable[..., Any]) -> Speech:
    """Return what *handler* said about itself."""
    found = getattr(handler, "speech", _NOTHING)
    assert isinstance(found, Speech)
    return found
