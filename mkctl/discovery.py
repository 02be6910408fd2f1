"""Where the server is, from the sources that name it outright: kernel line, credentials, configuration files.

Explicit beats found: a pushed address that the site allowed, then the kernel line, then the credential `mk.server`, then
the configuration files, which have their own order (design 7). Sources that have to be asked over the network come after
these. Nothing is guessed: what cannot be used is one line in `problems` and the next source counts (B05).
Source: protocol 1.2 (parameters), 1.4 (order, paths), 9.6 (dialects); B04, B05.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from mkctl.cmdline import Token, last_value, only_value, values
from mkctl.dialects import HANLON, RAZOR, Dialect, Routes

DEFAULT_PORT = 8026
KEYS = ("ip", "server", "port", "base_uri", "uri")

# Source of the address -> dialect (design 8); the neutral prefix and the other sources say nothing.
DIALECT_OF_PREFIX: Dict[str, Optional[Dialect]] = {"hanlon": HANLON, "razor": RAZOR, "mk": None}

HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?")
PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")

NOT_SUPPORTED = "the razor-server protocol (razor.register=) is not supported yet"


@dataclass(frozen=True)
class Candidate:
    """One server that a source names.

    `uri` is scheme, host and port: `http://192.0.2.1:8026`. `base_path` is "" or the path of the API, e.g.
    `/hanlon/api/v1`. `source` is for people (`kernel line`, `credential`, the file's name, `server's push`).
    `dialect` is what the source says of it, None where it is silent.
    """

    uri: str
    source: str
    dialect: Optional[Dialect] = None
    base_path: str = ""
    checkin_path: str = ""
    register_path: str = ""

    def routes(self, dialect: Dialect) -> Routes:
        """Absolute URIs of both calls: own paths, else those below `base_path`, else the dialect's."""
        base = self.base_path or dialect.base_path
        return Routes(
            self.uri + (self.checkin_path or base + "/node/checkin"),
            self.uri + (self.register_path or base + "/node/register"),
        )


@dataclass(frozen=True)
class Problem:
    """Why something that a source says is not used: one line. `unsupported` marks what a later version may take."""

    text: str
    unsupported: bool = False


@dataclass(frozen=True)
class Found:
    """What discovery yields. The first candidate is the one to use; the others were outranked and are for display."""

    candidates: Tuple[Candidate, ...] = ()
    problems: Tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Configured:
    """An address and paths as configuration files, a credential or a push name them; all may be "".

    `uri` may carry a path, which is the base of the API. `dialect` is `auto`, `razor` or `hanlon`.
    """

    uri: str = ""
    source: str = ""
    checkin_path: str = ""
    register_path: str = ""
    dialect: str = "auto"


def discover(tokens: Sequence[Token], pushed: str, credential: str, configured: Configured) -> Found:
    """Collect the candidates of all sources in their order.

    `tokens`: the kernel line. `pushed`: `mk_uri` of a push where the site allows it, else "". `credential`: content of
    `mk.server`, "" without. `configured`: the site's `[server]` table; its paths and dialect hold for every source that
    names none.
    """
    raise NotImplementedError
