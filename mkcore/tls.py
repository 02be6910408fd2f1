"""By what an https:// server is known, and what this machine shows of itself.

A server is known by the system's CAs, or by a CA of the site *instead*, or by the SHA-256 of its own certificate. The
last needs neither CA, name nor clock, and is what `openssl x509 -fingerprint -sha256` prints of the file that the
server has; a sum over the public key alone would outlive a renewal, but nothing that every administrator has at hand
prints it. There is no switch that takes any certificate.

Source: ssl (Python's documentation), RFC 5280, RFC 8446.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from typing import Any, Optional

from mkcore.errors import BadConfig, TlsFailed
from mkcore.trust import Trust

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of x509_vfy.h, which Python has no name for


class Context(ssl.SSLContext):
    """A context for one server, whose name or address its certificate has to have.

    urllib3 before 2.0 names no server to it where that is an address, and compares by itself, by a context that does
    not; one that does refuses to begin then. Through a tunnel it names one as it stands in an address: with brackets,
    or with the dot of the root, which no certificate has.
    """

    peer: Optional[str] = None

    def wrap_socket(self, sock: Any, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Begin TLS with that server; urllib3 gives all but the connection by name."""
        name = str(kwargs.get("server_hostname") or self.peer or "").strip("[]").rstrip(".")
        kwargs["server_hostname"] = name or None
        return super().wrap_socket(sock, *args, **kwargs)


def build_context(trust: Trust, system_cas: str, peer: Optional[str] = None) -> Context:
    """Build what connections are made with; `system_cas` is the system's file of CAs, `peer` the server's host.

    Raises BadConfig for files and words that cannot be used.
    """
    if trust.unusable:
        raise BadConfig(f"{trust.unusable}; the server cannot be verified")
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.peer = peer
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `check_pin` judges
    else:
        source = trust.ca or system_cas
        try:
            context.load_verify_locations(source)
        except (OSError, ValueError) as error:
            raise BadConfig(
                f"{source}: no certificates of CAs ({_why(error)}); the server cannot be verified"
            ) from None
    if trust.any_time:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    if trust.certificate:
        try:
            context.load_cert_chain(trust.certificate, trust.key or None, password=_no_password)
        except (OSError, ValueError) as error:
            names = " and ".join(name for name in (trust.certificate, trust.key) if name)
            raise BadConfig(
                f"{names}: no certificate with its private key ({_why(error)}); not shown to the server"
            ) from None
    return context


def _no_password() -> str:
    """Answer the question for a key's password, which nobody is there to be asked."""
    raise ValueError("the private key has a password")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def check_pin(trust: Trust, certificate: bytes, place: str) -> None:
    """Compare a server's certificate (DER) with the pinned one; raise TlsFailed where it is another."""
    found = hashlib.sha256(certificate).hexdigest()
    if not hmac.compare_digest(found, trust.fingerprint):
        raise TlsFailed(f"{place}: the server's certificate is not the pinned one: SHA-256 {found}")
