"""Reading a remote mirror: small files at once, large ones with resume and repetition, each checked before it counts.

A mirror is a tree of static files below one address, so nothing but GET is asked of it, and a file that is not there
is an ordinary answer. What came is believed only when its sum is right; a file that is there already with the right
sum is not brought again (whether it is installed is another matter, defect B27).

Source: protocol 5.2, 5.3 (one more try for a bad file).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import quote, urlsplit

from mkcore import files, retry
from mkcore.download import DEADLINE_S, Moved, discard, download
from mkcore.errors import BadAnswer, BadInput, MkError, ServerRefused, Unreachable, Untrusted
from mkcore.http import Answer, exchange
from mkcore.proxy import by_way
from mkmirror import trust
from mkmirror.strict import DIRECT, Way

COMPONENT = "mkmirror"
SMALL_LIMIT_BYTES = 4 << 20
FILE_LIMIT_BYTES = 8 << 30
ATTEMPTS = 4
BASE_S, CEILING_S = 1.0, 20.0
GONE = (404, 410)


@dataclass(frozen=True)
class Sums:
    """What a file must be: its SHA-256, its MD5 (for Tiny Core's mirrors, against damage alone); "" for not known."""

    sha256: str = ""
    md5: str = ""

    def problem(self, path: Path, name: str) -> str:
        """Return why the file at `path` is not the one that is wanted, "" when it is. Raises OSError."""
        for algorithm, wanted in (("sha256", self.sha256), ("md5", self.md5)):
            if wanted:
                found = trust.digest_file(path, algorithm)
                if found != wanted:
                    return f"{name}: its {algorithm} is {found[:16]}…, {wanted[:16]}… is wanted"
        return ""


@dataclass(frozen=True)
class Fetching:
    """How files are brought: the largest one, how often a failure without progress is repeated, how to wait."""

    limit_bytes: int = FILE_LIMIT_BYTES
    attempts: int = ATTEMPTS
    wait: Callable[[float], None] = time.sleep
    retrying: Optional[Callable[[str], None]] = None
    """Is told why a download begins again."""
    left_s: Callable[[], float] = lambda: DEADLINE_S
    """Says how many seconds are left for all of it."""
    way: Way = DIRECT

    def tell(self, text: str) -> None:
        """Tell that a download begins again."""
        if self.retrying is not None:
            self.retrying(text)


def join(base: str, *names: str) -> str:
    """Return the address of a file below `base`, e.g. `http://m/t`, `15.x/x86_64/tcz`, `a+b.tcz`."""
    return "/".join([base.rstrip("/"), *(quote(name, safe="/+~!") for name in names)])


def reach(uri: str) -> str:
    """Return the address to connect to: for `localhost` the one of IPv4, on which this machine's own mirror listens.

    The name means ::1 as well and first, where any user of this machine could listen on the same port.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return uri
    if parts.hostname != "localhost" or "@" in parts.netloc:
        return uri
    return parts._replace(netloc="127.0.0.1" if port is None else f"127.0.0.1:{port}").geturl()


def read_small(uri: str, limit_bytes: int = SMALL_LIMIT_BYTES, *, way: Way = DIRECT) -> Optional[bytes]:
    """Return the content of a small file, None when the mirror has none of that name.

    Raises Unreachable, BadAnswer, ServerRefused, BadInput (a name that leads where it must not).
    """
    answer = ask("GET", uri, way, limit_bytes)
    return answer.body if answer.status == 200 else None


def ask(method: str, uri: str, way: Way, limit_bytes: int = SMALL_LIMIT_BYTES) -> Answer:
    """Ask a mirror for one file; return an answer of status 200, or of one of GONE. Raises as read_small."""
    proxy, judge = way.proxy_to(uri), way.judge_of(uri)
    answer = exchange(method, reach(uri), limit_bytes=limit_bytes, component=COMPONENT, judge=judge, proxy=proxy)
    if answer.status not in (200, *GONE):
        raise ServerRefused(f"{by_way(uri, proxy)}: answers with status {answer.status}", answer.status)
    return answer


def fetch(uri: str, target: Path, sums: Sums, how: Fetching, moved: Optional[Moved] = None) -> bool:
    """Bring a file to `target` unless it is there already with the right sums; return whether it was brought.

    Goes on where an earlier attempt ended, also one of another process. Raises Untrusted when it is not the file that
    is wanted (after a second try from the beginning), ServerRefused, Unreachable, BadAnswer, OSError (ENOSPC).
    """
    if (sums.sha256 or sums.md5) and target.is_file() and not sums.problem(target, target.name):
        return False
    partial = target.with_name(f".{target.name}.part")
    for again in (True, False):
        _bring(uri, partial, how, moved)
        problem = sums.problem(partial, target.name)
        if not problem:
            files.place(partial, target)
            discard(partial)  # the note that lay beside it
            return True
        discard(partial)
        if again:
            how.tell(f"{problem}; trying once more")
    raise Untrusted(problem)


def _bring(uri: str, partial: Path, how: Fetching, moved: Optional[Moved]) -> None:
    """Download until it is whole; failures count only as long as nothing comes."""
    failed = 0
    while True:
        before = partial.stat().st_size if partial.is_file() else 0
        left_s = min(DEADLINE_S, how.left_s())
        if left_s <= 0:
            raise Unreachable(f"{uri}: no time was left for it; it goes on at {before} bytes")
        try:
            download(
                reach(uri),
                partial,
                limit_bytes=how.limit_bytes,
                deadline_s=left_s,
                moved=moved,
                component=COMPONENT,
                judge=how.way.judge_of(uri),
                proxy=how.way.proxy_to(uri),
            )
            return
        except (Unreachable, BadAnswer, ServerRefused) as error:
            after = partial.stat().st_size if partial.is_file() else 0
            failed = 1 if after > before else failed + 1
            if failed >= how.attempts or not may_help(error):
                raise
            wish_s = error.retry_after_s if isinstance(error, ServerRefused) else None
            how.tell(f"{error}; going on at {after} bytes")
        how.wait(retry.backoff_s(failed, base_s=BASE_S, ceiling_s=CEILING_S, rand=random.random, retry_after_s=wish_s))


def may_help(error: MkError) -> bool:
    """Tell whether asking again can help: not for what is not there, too large, or at another place."""
    if isinstance(error, ServerRefused):
        return error.status >= 500 or error.status in (408, 429)
    return not any(text in str(error) for text in ("larger than", "redirects to", "are wanted"))


@dataclass(frozen=True)
class FolderSums:
    """The sums of a remote folder, both files as they came (b"" for none), and who signed them."""

    sums: Mapping[str, str]
    data: bytes = b""
    signature: bytes = b""
    signed: Optional[trust.Signed] = None


def read_folder(
    folder: str, mode: trust.Verify, keys: Sequence[Path], work: Path, *, way: Way = DIRECT
) -> FolderSums:
    """Return the sums of a remote folder once they are vouched for as `mode` wants; none where it has none.

    Raises Untrusted when the mode wants a signature and none vouches for them; BadInput for damaged sums.
    """
    data = read_small(join(folder, trust.SUMS), trust.SUMS_LIMIT_BYTES, way=way)
    if data is None:
        if mode is trust.Verify.SIGNATURE:
            raise Untrusted(f"{folder}: has no {trust.SUMS}, and so no signature")
        return FolderSums({})
    signature = read_small(join(folder, trust.SIGNATURE), trust.SIGNATURE_LIMIT_BYTES, way=way)
    place = work / "remote"
    files.make_dir(place, 0o700)
    try:
        files.write_atomic(place / trust.SUMS, data)
        if signature is not None:
            files.write_atomic(place / trust.SIGNATURE, signature)
        sums, signed = trust.read_sums(place, mode, keys, work)
    except Untrusted as error:
        raise Untrusted(str(error).replace(str(place), folder, 1)) from None
    except BadInput as error:
        raise BadInput(str(error).replace(str(place), folder, 1)) from None
    finally:
        files.remove_tree(place)
    return FolderSums(sums, data, signature or b"", signed)


def read_folder_sums(
    folder: str, mode: trust.Verify, keys: Sequence[Path], work: Path
) -> tuple[Mapping[str, str], Optional[tuple[bytes, bytes]]]:
    """Return the sums of a remote folder and its SHA256SUMS with signature as they are; as read_folder."""
    found = read_folder(folder, mode, keys, work)
    return found.sums, (found.data, found.signature) if found.data else None
