"""Query strings: read into a type, or a 422 that says which parameter is wrong."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from bty.daemon.codec import problem
from bty.errors import InvalidBody

NUMBER_MAX = 2**63 - 1  # what the database takes

PageNumber = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
PerPage = Annotated[int, msgspec.Meta(ge=1, le=500)]
Words = Annotated[str, msgspec.Meta(max_length=200, description="looked for in the texts of each")]
RowId = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]

Values = TypeVar("Values", bound=msgspec.Struct)


class Direction(StrEnum):
    """The two ways to sort."""

    ASCENDING = "asc"
    DESCENDING = "desc"


def read_query(request: web.Request, query_type: type[Values]) -> Values:
    """Return the parameters that *query_type* names; others do not count, nor an empty one that is no number. Raises `InvalidBody`."""
    given: dict[str, str] = {}
    for field in msgspec.structs.fields(query_type):
        text = request.query.get(field.encode_name)
        if text or (text is not None and isinstance(field.default, int)):
            given[field.encode_name] = text
    try:
        return msgspec.convert(given, query_type, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidBody([problem(str(error), "query")]) from error


def is_asked(request: web.Request, query_type: type[msgspec.Struct]) -> bool:
    """Tell whether any of the parameters of *query_type* is there."""
    return any(field.encode_name in request.query for field in msgspec.structs.fields(query_type))
