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
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError

from mkcore.causes import NO_TLS_YET, translate
from mkcore.connections import pool_classes
from mkcore.errors import BadAnswer, BadInput, MkError, Unreachable
from mkcore.proxy import by_way
from mkcore.trust import Trust
from mkcore.version import VERSION

if TYPE_CHECKING:
    from socket import socket

Judge = Callable[[str], str]
"""Says why nothing may be sent to an address to which a name led, e.g. `169.254.0.1`; "" when it may."""

_PER_ADDRESS_S = 6.0  # a name may have an address that swallows packets; the next one must get its turn
_PROXY_WANTS_USER = 407
_OF_EITHER, _PROXY_IN_VAIN = (403, 503), (502, 504)
_OF_THE_PROXY = ("proxy-status", "x-squid-error")
"""Headers with which proxies tell errors of their own from a server's of the same status (RFC 9209, Squid)."""
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
    proxy: str = "",
) -> Answer:
    """Send one request and return the answer, whatever its status below 300 or from 400 on.

    Sent are Host, Accept: */*, User-Agent, then `headers` (which may replace those), then Content-Length with a body.
    `trust`: by what an https:// server is known; the system's CAs without. `proxy`: http://HOST:PORT by which it is
    reached, "" for directly; where there is one, it is what `judge` is asked about.
    Raises Unreachable (name, connection, reset, deadline; TlsFailed for certificates) and BadAnswer (redirect, larger
    than `limit_bytes`, truncated, compressed, not HTTP), BadInput by `judge`; all name the address. BadConfig where
    `trust` cannot be used. Blocks for `deadline_s` at most.
    """
    work = Exchange(build_request(method, uri, headers or {}, body, component), deadline_s, limit_bytes)
    work.judge = judge
    work.trust = trust or work.trust
    work.go_by(proxy)
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
    proxy = ""
    secured = False

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

    def go_by(self, proxy: str) -> None:
        """Reach the server by a proxy, which errors then name, too; "" for none."""
        self.proxy = proxy
        self.place = by_way(self.place, proxy)

    def perform(self) -> Answer:
        """Run in a thread of its own until done or out of time; return the answer or raise the failure."""
        threading.Thread(target=self.run, name="http-exchange", daemon=True).start()
        started = self.answering.wait(self.silence_s)
        if not started or not self.done.wait(max(0.0, self.deadline - time.monotonic())):
            begun = self._connection is not None and not self.proxy and self.place.startswith("https:")
            self.abandon()
            limit_s = self.deadline_s if started else self.silence_s
            if begun and not self.secured:
                raise Unreachable(f"{self.place}: {NO_TLS_YET}")
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
        if self.proxy:  # which has to reach the server before it answers
            connection.settimeout(min(self.silence_s, max(0.1, self.deadline - time.monotonic())))
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
        limits = (min(_PER_ADDRESS_S, remaining), remaining)
        proxies: Any = dict.fromkeys(("http", "https"), self.proxy) if self.proxy else None
        with (
            _Adapter(self) as adapter,
            _closing(adapter.send(self.request, stream=True, timeout=limits, proxies=proxies)) as response,
        ):
            headers = {name.lower(): value for name, value in response.headers.items()}
            if 300 <= response.status_code < 400:
                target = headers.get("location", "nowhere")[:200]
                raise BadAnswer(f"{self.place}: redirects to {target}, which is not followed")
            if response.status_code < 200:
                raise BadAnswer(f"{self.place}: answers with status {response.status_code}")
            if self.proxy:
                self._require_passed_on(response.status_code, headers)
            if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
                raise BadAnswer(f"{self.place}: answers compressed, which was not asked for")
            self.answering.set()
            head = Head(response.status_code, headers, self.declared_bytes(response, headers))
            return Answer(head.status, headers, self.receive(head, response.iter_content(self.chunk_bytes)))

    def _require_passed_on(self, status: int, headers: Mapping[str, str]) -> None:
        """Raise Unreachable for an answer that is the proxy's own word for a server which it does not reach."""
        if status == _PROXY_WANTS_USER:
            raise Unreachable(f"{self.place}: the proxy wants to know a user, and there is none")
        if status in _PROXY_IN_VAIN or (status in _OF_EITHER and any(name in headers for name in _OF_THE_PROXY)):
            raise Unreachable(f"{self.place}: the proxy does not reach it (status {status})")

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
        """Make connections of our own kinds; everything else stays as requests has it."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = pool_classes(self._work, DEFAULT_CA_BUNDLE_PATH)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Likewise by a proxy."""
        manager: Any = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = pool_classes(self._work, DEFAULT_CA_BUNDLE_PATH)
        return manager

    def cert_verify(self, *_: object, **__: object) -> None:
        """Add nothing to what the pool knows of certificates."""
