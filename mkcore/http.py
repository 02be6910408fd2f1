"""The one door to HTTP: `exchange`, a request and its whole answer within one deadline.

Servers here are old, hostile or dying as often as not. So one monotonic deadline covers name resolution, connection,
headers and body; what an answer may hold is bounded; redirects are not followed; nothing comes from the environment.
The exchange runs in a daemon thread: getaddrinfo cannot be interrupted, and a peer that drips header bytes defeats the
time-out of a single read. At the deadline the caller goes on and the connection is shut down, which ends the thread.

`mkcore.download` is the other call: the same machinery for a file that may be large.

Source: protocol 3 (what the original clients sent), RFC 9110 (Host, Retry-After), RFC 9112.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Optional, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from mkcore.causes import translate
from mkcore.errors import BadAnswer, BadInput, MkError, Unreachable
from mkcore.tls import build_context, check_pin
from mkcore.trust import Trust
from mkcore.version import VERSION

if TYPE_CHECKING:
    from socket import socket

Judge = Callable[[str], str]
"""Says why nothing may be sent to an address to which a name led, e.g. `169.254.0.1`; "" when it may."""

_PER_ADDRESS_S = 6.0  # a name may have an address that swallows packets; the next one must get its turn
_SHUT_BOTH_WAYS = 2
_RETRY_AFTER_LIMIT_S = 86_400.0


@dataclass(frozen=True)
class Answer:
    """A complete answer. Header names are lower-case; repeated headers are joined by ", "."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Head:
    """What came before a body; declared_bytes: the length that the body must have, None where nothing says it."""

    status: int
    headers: Mapping[str, str]
    declared_bytes: Optional[int]


def user_agent(component: str) -> str:
    """Return the User-Agent of a component, e.g. "mkctl/0.1.0 python/3.13 linux/6.12"."""
    kernel = ".".join(os.uname().release.split(".")[:2])
    return f"{component}/{VERSION} python/{sys.version_info.major}.{sys.version_info.minor} linux/{kernel}"


def retry_after_s(answer: Answer) -> Optional[float]:
    """Return the seconds that an answer's Retry-After asks for (at most a day), None without a usable one.

    Both forms of RFC 9110 section 10.2.3 count; a date is taken relative to the answer's own Date, so that a node with
    a wrong clock understands it too.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _RETRY_AFTER_LIMIT_S)
    from email.utils import parsedate_to_datetime  # rare

    try:
        wanted = parsedate_to_datetime(text)
        sent = parsedate_to_datetime(answer.headers.get("date", ""))
        return min(max((wanted - sent).total_seconds(), 0.0), _RETRY_AFTER_LIMIT_S)
    except (TypeError, ValueError, IndexError):
        return None


def exchange(
    method: str,
    uri: str,
    *,
    headers: Optional[Mapping[str, str]] = None,
    body: Optional[bytes] = None,
    deadline_s: float = 20.0,
    limit_bytes: int = 1_000_000,
    component: str = "mk",
    judge: Optional[Judge] = None,
    trust: Optional[Trust] = None,
) -> Answer:
    """Send one request and return the answer, whatever its status below 300 or from 400 on.

    Sent are Host, Accept: */*, User-Agent, then `headers` (which may replace those), then Content-Length with a body.
    `trust`: by what an https:// server is known; the system's CAs without.
    Raises Unreachable (name, connection, reset, deadline; TlsFailed for certificates) and BadAnswer (redirect, larger
    than `limit_bytes`, truncated, compressed, not HTTP), BadInput by `judge`; all name the address. BadConfig where
    `trust` cannot be used. Blocks for `deadline_s` at most.
    """
    work = Exchange(build_request(method, uri, headers or {}, body, component), deadline_s, limit_bytes)
    work.judge = judge
    work.trust = trust or work.trust
    return work.perform()


def build_request(
    method: str, uri: str, headers: Mapping[str, str], body: Optional[bytes], component: str
) -> requests.PreparedRequest:
    """Prepare exactly the headers that are wanted; raise Unreachable for an address that cannot be used."""
    try:
        parts = urlsplit(uri)
        port = parts.port
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        standard = {"http": 80, "https": 443}.get(parts.scheme)
        if not host or standard is None:
            raise ValueError("not an http:// or https:// address")
        host.encode("idna")  # what the resolver will do; a ValueError for labels that are too long
        shown = host if port in (None, standard) else f"{host}:{port}"
        sent = {"Host": shown, "Accept": "*/*", "User-Agent": user_agent(component), **headers}
        return requests.Request(method, uri, headers=sent, data=body).prepare()
    except (ValueError, requests.RequestException) as error:
        raise Unreachable(f"{uri[:200]}: {error}") from None


class Exchange:
    """One exchange and what became of it; `run` is the thread's part, the rest the caller's.

    silence_s: how long nothing may come, where that is less than the deadline.
    """

    chunk_bytes = 64 << 10
    judge: Optional[Judge] = None
    trust = Trust()

    def __init__(
        self, request: requests.PreparedRequest, deadline_s: float, limit_bytes: int, silence_s: float = math.inf
    ) -> None:
        self.request = request
        self.place = (request.url or "").split("?", 1)[0][:200]
        self.deadline_s = deadline_s
        self.deadline = time.monotonic() + deadline_s
        self.silence_s = min(silence_s, deadline_s)
        self.limit_bytes = limit_bytes
        self.answering = threading.Event()
        self.done = threading.Event()
        self.answer: Optional[Answer] = None
        self.failure: Optional[MkError] = None
        self._lock = threading.Lock()
        self._connection: Optional[socket] = None
        self._abandoned = False

    def perform(self) -> Answer:
        """Run in a thread of its own until done or out of time; return the answer or raise the failure."""
        threading.Thread(target=self.run, name="http-exchange", daemon=True).start()
        started = self.answering.wait(self.silence_s)
        if not started or not self.done.wait(max(0.0, self.deadline - time.monotonic())):
            self.abandon()
            limit_s = self.deadline_s if started else self.silence_s
            raise Unreachable(f"{self.place}: no complete answer within {limit_s:g} s")
        if self.failure is not None:
            raise self.failure
        if self.answer is None:
            raise Unreachable(f"{self.place}: the exchange ended without a result")
        return self.answer

    def run(self) -> None:
        """Do the exchange; leave the answer or the failure."""
        try:
            self.answer = self._exchange()
        except MkError as error:
            self.failure = error
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            self.failure = translate(error, self.place)
        finally:
            self._close()
            self.done.set()
            self.answering.set()

    def adopt(self, connection: socket) -> socket:
        """Take note of a connection over which nothing was sent yet, by a duplicate, so that TLS may wrap the original;
        return it.
        """
        if self.judge is not None and (reason := self.judge(str(connection.getpeername()[0]))):
            connection.close()
            raise BadInput(f"{self.place}: {reason}")
        with self._lock:
            if self._abandoned:
                raise TimeoutError("the deadline is over")
            self._close()
            self._connection = connection.dup()
        return connection

    def abandon(self) -> None:
        """End the thread's part: shut the connection down, or refuse the next one."""
        with self._lock:
            self._abandoned = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(_SHUT_BOTH_WAYS)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _exchange(self) -> Answer:
        remaining = min(self.silence_s, max(0.1, self.deadline - time.monotonic()))
        with (
            _Adapter(self) as adapter,
            _closing(
                adapter.send(self.request, stream=True, timeout=(min(_PER_ADDRESS_S, remaining), remaining))
            ) as response,
        ):
            headers = {name.lower(): value for name, value in response.headers.items()}
            if 300 <= response.status_code < 400:
                target = headers.get("location", "nowhere")[:200]
                raise BadAnswer(f"{self.place}: redirects to {target}, which is not followed")
            if response.status_code < 200:
                raise BadAnswer(f"{self.place}: answers with status {response.status_code}")
            if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
                raise BadAnswer(f"{self.place}: answers compressed, which was not asked for")
            self.answering.set()
            head = Head(response.status_code, headers, self.declared_bytes(response, headers))
            return Answer(head.status, headers, self.receive(head, response.iter_content(self.chunk_bytes)))

    def receive(self, head: Head, chunks: Iterable[bytes]) -> bytes:
        """Take the body; return what of it becomes the answer's."""
        declared = head.declared_bytes
        if declared is not None and declared > self.limit_bytes:
            raise self.too_large()
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self.limit_bytes:
                raise self.too_large()
        if declared is not None and len(body) != declared:
            raise BadAnswer(f"{self.place}: {len(body)} of {declared} bytes came")
        return bytes(body)

    def declared_bytes(self, response: requests.Response, headers: Mapping[str, str]) -> Optional[int]:
        """Return the length that the body must have, None where RFC 9112 section 6.3 lets something else decide."""
        text = headers.get("content-length", "")
        if not text or "transfer-encoding" in headers or self.request.method == "HEAD" or response.status_code == 204:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise BadAnswer(f"{self.place}: the length {text[:40]!r} is not a number")
        return int(text)

    def too_large(self) -> BadAnswer:
        """Build the error for an answer beyond the limit."""
        return BadAnswer(f"{self.place}: the answer is larger than {self.limit_bytes} bytes")


@contextlib.contextmanager
def _closing(response: requests.Response) -> Generator[requests.Response, None, None]:
    try:
        yield response
    finally:
        response.close()


class _Adapter(HTTPAdapter):
    """Requests' transport for one exchange, which learns about each connection.

    Used without a session on purpose: proxies, netrc, cookies, redirects and CA bundles from the environment are all
    the session's doing.
    """

    def __init__(self, work: Exchange) -> None:
        self._work = work
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def __enter__(self) -> _Adapter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections of the kinds below; everything else stays as requests has it."""
        super().init_poolmanager(*args, **kwargs)
        pools: Any = {
            "http": partial(_build_pool, self._work, HTTPConnectionPool, _Plain),
            "https": partial(_build_secure_pool, self._work),
        }
        self.poolmanager.pool_classes_by_scheme = pools

    def cert_verify(self, *_: object, **__: object) -> None:
        """Add nothing to what the pool knows of certificates."""


def _build_pool(work: Exchange, kind: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
    """Build a pool of the library's kind whose connections report to `work`."""
    pool = kind(*args, **kwargs)
    pool.ConnectionCls = partial(connection, work)
    return pool


def _build_secure_pool(work: Exchange, *args: Any, **kwargs: Any) -> Any:
    """Build a pool whose connections know servers by the exchange's own means, and by no other that requests has."""
    context = build_context(work.trust, DEFAULT_CA_BUNDLE_PATH)
    kept = {name: kwargs[name] for name in kwargs if not name.startswith(("ca_", "cert_", "key_", "ssl_", "assert_"))}
    verify = "CERT_NONE" if work.trust.fingerprint else "CERT_REQUIRED"
    return _build_pool(work, HTTPSConnectionPool, _Secure, *args, **kept, ssl_context=context, cert_reqs=verify)


class _Reporting:
    """Part of both kinds of connection: reports to its exchange, and adds no Accept-Encoding of its own."""

    def __init__(self, work: Exchange, *args: Any, **kwargs: Any) -> None:
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
        if self.work.trust.fingerprint:
            socket: Any = self.sock
            check_pin(self.work.trust, socket.getpeercert(True) or b"", self.work.place)
            self.is_verified = True
