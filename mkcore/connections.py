"""The connections of one exchange: they report to it before anything is sent, and know servers by its means alone.

urllib3 makes them, directly or by a proxy: a plain request goes to a proxy as it is, one of TLS through a tunnel of its
(RFC 9110 section 9.3.6), so that a proxy is nobody whom certificates make known.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from mkcore.tls import build_context, check_pin

if TYPE_CHECKING:
    from socket import socket

    from mkcore.trust import Trust


class Work(Protocol):
    """What connections need of their exchange."""

    place: str
    trust: Trust
    secured: bool

    def adopt(self, connection: socket) -> socket:
        """Take note of a connection over which nothing was sent yet; return it, or raise."""
        ...


def pool_classes(work: Work, authorities: str) -> dict[str, Any]:
    """Return by scheme what urllib3 makes pools with. authorities: the file of CAs where the site names none."""
    return {
        "http": partial(_build_pool, work, HTTPConnectionPool, _Plain),
        "https": partial(_build_secure_pool, work, authorities),
    }


def _build_pool(work: Work, kind: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
    """Build a pool of the library's kind whose connections report to `work`."""
    pool = kind(*args, **kwargs)
    pool.ConnectionCls = partial(connection, work)
    return pool


def _build_secure_pool(work: Work, authorities: str, host: str, *args: Any, **kwargs: Any) -> Any:
    """Build a pool whose connections know servers by the exchange's own means, and by no other that requests has."""
    context = build_context(work.trust, authorities, host)
    kept = {name: kwargs[name] for name in kwargs if not name.startswith(("ca_", "cert_", "key_", "ssl_", "assert_"))}
    verify = "CERT_NONE" if work.trust.fingerprint else "CERT_REQUIRED"
    return _build_pool(work, HTTPSConnectionPool, _Secure, host, *args, **kept, ssl_context=context, cert_reqs=verify)


class _Reporting:
    """Part of both kinds of connection: reports to its exchange, and adds no Accept-Encoding of its own."""

    def __init__(self, work: Work, *args: Any, **kwargs: Any) -> None:
        self.work = work
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> socket:
        return self.work.adopt(cast("socket", super()._new_conn()))  # type: ignore[misc]  # pyright: ignore

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = True) -> None:
        """Begin the request."""
        super().putrequest(method, url, skip_host, True)  # type: ignore[misc]  # pyright: ignore


class _Plain(_Reporting, HTTPConnection):
    """A plain connection that reports."""


class _Secure(_Reporting, HTTPSConnection):
    """A TLS connection that reports, and over which nothing is sent to a server that is not the pinned one."""

    def connect(self) -> None:
        """Connect, and compare the certificate where one is pinned."""
        super().connect()
        self.work.secured = True
        if self.work.trust.fingerprint:
            socket: Any = self.sock
            check_pin(self.work.trust, socket.getpeercert(True) or b"", self.work.place)
            self.is_verified = True
