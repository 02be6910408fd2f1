"""Why an exchange failed, in one line: what requests, urllib3, OpenSSL and the kernel raise, as an error of ours.

The libraries nest their exceptions in four ways; the innermost one that says something counts. Of TLS the reason is
named as somebody can act upon it: which certificate, and what is wrong with it.

Source: ssl (Python's documentation), openssl-verification-options(1) and x509_vfy.h for the codes, RFC 8446 section 6.
"""

from __future__ import annotations

import ssl
import time

from mkcore.errors import BadAnswer, MkError, TlsFailed, Unreachable
from mkcore.jsonfields import show

EXPIRED, NOT_YET_VALID = 10, 9
_UNKNOWN_CA = (2, 18, 19, 20, 21)
_WRONG_NAME = (62, 64)
# Alerts with which a server says what it thinks of our certificate; OpenSSL's names for them differ by version of TLS.
_OURS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR", "HANDSHAKE_FAILURE")
NO_TLS_YET = "timed out while TLS began (is it a port for http://?)"
_TUNNEL = "Tunnel connection failed: "
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def translate(error: BaseException, place: str) -> MkError:
    """Turn what requests raised into ours, by the innermost cause that says something."""
    causes = _causes(error)
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLZeroReturnError, ssl.SSLEOFError)):
            return _translate_tls(cause, place)
        if "handshake operation timed out" in str(cause):
            return Unreachable(f"{place}: {NO_TLS_YET}")
        if isinstance(cause, TimeoutError) or "timed out" in str(cause):
            return Unreachable(f"{place}: timed out")
        if isinstance(cause, OSError) and str(cause).startswith(_TUNNEL):
            return Unreachable(f"{place}: the proxy does not let it through: {show(str(cause)[len(_TUNNEL) :])}")
        if isinstance(cause, OSError) and cause.strerror:
            return Unreachable(f"{place}: {_what_the_peer_did(cause.strerror, place)}")
    names = {type(cause).__name__ for cause in causes}
    if "RemoteDisconnected" in names:
        return Unreachable(f"{place}: {_what_the_peer_did('the connection was closed without an answer', place)}")
    if names & {"IncompleteRead", "InvalidChunkLength", "ChunkedEncodingError"}:
        return BadAnswer(f"{place}: the answer ends before its end")
    text = str(causes[-1])
    return BadAnswer(f"{place}: not an HTTP answer ({type(causes[-1]).__name__}: {text[:120]})")


def _what_the_peer_did(text: str, place: str) -> str:
    """Add what a closed connection may mean where TLS has no time left to say it (RFC 8446: after the handshake)."""
    closed = "reset" in text or "closed" in text or "EOF" in text
    hint = " (a server that does not take this client certificate may do so)"
    return text + (hint if closed and place.startswith("https:") else "")


def _translate_tls(error: ssl.SSLError, place: str) -> TlsFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        return TlsFailed(f"{place}: {_judgement(code, error.verify_message)}", too_early=code == NOT_YET_VALID)
    reason = (error.reason or "").upper()
    said = reason.replace("_", " ").lower() or str(error)[:120]
    if "ALERT" in reason and any(word in reason for word in _OURS):
        said = said.split("alert ", 1)[-1]
        return TlsFailed(f"{place}: the server refuses the client certificate, or that there is none: {said}")
    if reason in _NO_TLS:
        return TlsFailed(f"{place}: does not speak TLS there ({said})")
    return TlsFailed(f"{place}: TLS failed: {said}")


def _judgement(code: int, message: str) -> str:
    """What is wrong with the certificate; by the day alone, as a line that changes each minute is said each minute."""
    clock = time.strftime("%Y-%m-%d", time.gmtime())
    if code == EXPIRED:
        return f"the server's certificate has expired (it is {clock} here)"
    if code == NOT_YET_VALID:
        return f"the server's certificate is not yet valid (it is {clock} here)"
    if code in _WRONG_NAME:
        return f"the server's certificate is for another name ({message.rstrip('.')})"
    if code in _UNKNOWN_CA:
        return f"the server's certificate is of no CA that is known here ({message})"
    return f"the server's certificate is refused: {message}"


def _causes(error: BaseException) -> list[BaseException]:
    """Return the exception and all that led to it, outermost first; libraries nest them in four ways."""
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending and len(found) < 32:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            pending += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
    return found
