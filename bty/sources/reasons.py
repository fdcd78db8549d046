"""Why a connection failed, in words of people."""

from __future__ import annotations

import http.client
import socket
import ssl

from bty.units import plain_text

CUT_OFF = "the connection was closed too early"
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # older and newer OpenSSL
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_MOST_CHARACTERS = 300


def reason_of(error: Exception, *, in_stream: bool = False) -> str:
    """Return what *error* of a connection says, without its number; what urllib wrapped around it is taken off.

    Words may be a server's: what a terminal would act upon is not in them. *in_stream*: the connection stood already.
    """
    told = None if isinstance(error, ssl.SSLError) else getattr(error, "reason", None)  # an exception or words
    cause = told if isinstance(told, Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return plain_text(f"its certificate is not trusted: {getattr(cause, 'verify_message', None) or cause}")
    if isinstance(cause, ssl.SSLError) and in_stream:
        return f"its TLS connection broke ({getattr(cause, 'reason', None) or type(cause).__name__})"
    if isinstance(cause, http.client.IncompleteRead):  # whose only argument is what has come of the body
        return CUT_OFF
    if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in _NOT_TLS:
        return "it does not speak TLS"
    if isinstance(cause, socket.gaierror):
        return "nobody knows its name" if cause.errno in _NO_SUCH_NAME else "its name cannot be looked up"
    words = told if isinstance(told, str) else cause.strerror if isinstance(cause, OSError) else None
    plain = str(cause.args[0]) if len(cause.args) == 1 else str(cause)  # ssl shows one argument as a tuple
    if cause.args and isinstance(cause.args[0], bytes):  # somebody's data is no reason
        plain = ""
    return plain_text(words or plain).strip()[:_MOST_CHARACTERS] or type(cause).__name__
