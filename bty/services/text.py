"""The text fields of bodies: what each takes, and the words for who sent something else."""

from __future__ import annotations

import ast
from typing import Annotated

import msgspec

# \Z and not $, which a newline at the end would pass.
_REF = r"^[0-9a-f]{64}\Z"
_DIGEST = r"^[0-9a-fA-F]{64}\Z"
_LABEL = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*\Z"
_DRIVE = r"^0x[0-9a-fA-F]{1,2}\Z"
_PRINTABLE = r"^[^\x00-\x1f\x7f]*\Z"
_LINE = r"^ *[^ \x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z"
_URL = r"^(?:[hH][tT][tT][pP][sS]?://[^/\s]\S*|[oO][rR][aA][sS]://[^/\s]+/\S+)\Z"
_HTTP_URL = r"^[hH][tT][tT][pP][sS]?://[^/\s]\S*\Z"
_CATALOG_URL = r"^(?:|[hH][tT][tT][pP][sS]?://[^/\s@]+(?:/\S*)?|[oO][rR][aA][sS]://[^/\s]+/\S+)\Z"
_REPO = r"^(?:|[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+|[hH][tT][tT][pP][sS]?://[^/\s@]+(?:/\S*)?)\Z"
_TAG = r"^[A-Za-z0-9._-]+\Z"
_TAG_OR_NONE = r"^[A-Za-z0-9._-]*\Z"
TOKEN_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}\Z"

WORDS = {
    _REF: "64 of the digits 0-9 and a-f",
    _DIGEST: "a sha256: 64 of the digits 0-9 and a-f",
    _LABEL: "letters, digits, spaces and . _ - with a letter or digit first",
    _DRIVE: "a drive as iPXE calls it: 0x and one or two hex digits, such as 0x80",
    _PRINTABLE: "one line without control characters",
    _LINE: "one line without control characters, and not empty",
    _URL: "an address that begins with http://, https:// or oras://, without spaces",
    _HTTP_URL: "an address that begins with http:// or https://, without spaces",
    _CATALOG_URL: "an address that begins with http://, https:// or oras://, without spaces and passwords, or nothing",
    _REPO: "OWNER/NAME, or an address that begins with http:// or https://, without spaces and passwords, or nothing",
    _TAG: "letters, digits and . _ -",
    _TAG_OR_NONE: "letters, digits and . _ -, or nothing",
    TOKEN_NAME: "at most 64 letters, digits, spaces and . _ @ - with a letter or digit first",
}
"""What each pattern asks for, in the words of an error."""

Ref = Annotated[str, msgspec.Meta(pattern=_REF)]
Digest = Annotated[str, msgspec.Meta(pattern=_DIGEST)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_LABEL)]
Labels = Annotated[list[Label], msgspec.Meta(max_length=16)]
Drive = Annotated[str, msgspec.Meta(pattern=_DRIVE)]
Short = Annotated[str, msgspec.Meta(max_length=128, pattern=_PRINTABLE)]
Line = Annotated[str, msgspec.Meta(max_length=512, pattern=_LINE)]
Url = Annotated[str, msgspec.Meta(max_length=4096, pattern=_URL)]
HttpUrl = Annotated[str, msgspec.Meta(max_length=4096, pattern=_HTTP_URL)]
CatalogUrl = Annotated[str, msgspec.Meta(max_length=4096, pattern=_CATALOG_URL)]
Repo = Annotated[str, msgspec.Meta(max_length=1024, pattern=_REPO)]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=_TAG)]
TagOrNone = Annotated[str, msgspec.Meta(max_length=128, pattern=_TAG_OR_NONE)]
TokenName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=TOKEN_NAME)]

_MISMATCH = "Expected `str` matching regex "


def explain(message: str) -> str:
    """Return what msgspec says about a value, the pattern that it does not match in words."""
    if not message.startswith(_MISMATCH):
        return message
    shown, _, place = message.removeprefix(_MISMATCH).partition(" - at `")
    words = WORDS.get(ast.literal_eval(shown))
    if words is None:  # better a pattern than no answer
        return message
    return f"Expected {words}" + (f" - at `{place}" if place else "")
