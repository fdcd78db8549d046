"""Why a connection failed, in words of people."""

from __future__ import annotations

import socket
import ssl

_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # older and newer OpenSSL
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_MOST_CHARACTERS = 300


def reason_of(error: Exception) -> str:
    """Return what *error* of a connection says, without its number; what a library wrapped around it is taken off."""
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
        return "it does not speak TLS"
    if isinstance(cause, socket.gaierror):
        return "nobody knows its name" if cause.errno in _NO_SUCH_NAME else "its name cannot be looked up"
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return words[:_MOST_CHARACTERS] or type(cause).__name__
