"""One server that a source names, and what discovery returns of all of them. Pure.

Source: protocol 1.2 to 1.4, 9.6.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from mkctl.dialects import RAZOR, Dialect, Request, Routes, probe_requests


class Kind(enum.Enum):
    """Where an address comes from."""

    PUSH = "server's push"
    KERNEL_LINE = "kernel line"
    CREDENTIAL = "credential mk.server"
    SITE = "configuration"
    DHCP = "DHCP"
    SERVICE = "DNS service"
    NAME = "DNS name"
    NEXT_SERVER = "next-server"
    SHIPPED = "shipped configuration"


WRITTEN = frozenset((Kind.PUSH, Kind.KERNEL_LINE, Kind.CREDENTIAL, Kind.SITE))
"""What a person of the site wrote down; the rest is found in the network, or shipped."""


@dataclass(frozen=True)
class Candidate:
    """One server that a source names.

    `uri` is scheme, host and port: `http://192.0.2.1:8026`. `base_path` is "" or the path of the API, e.g.
    `/hanlon/api/v1`. `source` is for people (`kernel line`, `credential`, the file's name, `server's push`).
    `dialect` is what the source says of it, None where it is silent; `kind` is the row of the order.
    """

    uri: str
    source: str
    dialect: Optional[Dialect] = None
    base_path: str = ""
    kind: Kind = Kind.SITE
    checkin_path: str = ""
    register_path: str = ""

    def routes(self, dialect: Dialect) -> Routes:
        """Absolute URIs of both calls: own paths, else those below `base_path`, else the dialect's."""
        base = self.base_path or dialect.base_path
        return Routes(
            self.uri + (self.checkin_path or base + "/node/checkin"),
            self.uri + (self.register_path or base + "/node/register"),
        )

    @property
    def mark(self) -> tuple[str, Routes]:
        """What two sources have in common that name the same server."""
        return self.uri, self.routes(self.dialect or RAZOR)

    def probes(self) -> tuple[Request, ...]:
        """The harmless requests that tell the dialect where `dialect` is None; send them until one is recognised."""
        return probe_requests(self.uri, self.checkin_path or (self.base_path and self.base_path + "/node/checkin"))


@dataclass(frozen=True)
class Problem:
    """Why something that a source says is not used: one line. `unsupported` marks what a later version may take,
    `written` what a person of the site wrote down."""

    text: str
    unsupported: bool = False
    written: bool = False


@dataclass(frozen=True)
class Found:
    """What discovery yields. The first candidate is the one to begin with; see `in_turn` for the others."""

    candidates: tuple[Candidate, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def in_turn(self) -> tuple[Candidate, ...]:
        """Those that are tried one after the other: the first, and what follows it of its own kind, written or found.

        Who can silence the server that somebody wrote down must not win the machine by naming another one over DHCP.
        """
        if self.candidates and self.candidates[0].kind is Kind.PUSH:
            return self.candidates[:1]  # on probation: that another server answers says nothing for this one
        written = [each.kind in WRITTEN for each in self.candidates]
        alike = next((n for n, each in enumerate(written) if each is not written[0]), len(written))
        return self.candidates[:alike]


@dataclass(frozen=True)
class Configured:
    """An address and paths as configuration files, a credential or a push name them; all may be "".

    `uri` may carry a path, which is the base of the API. `dialect` is `auto`, `razor` or `hanlon`. `shipped`: the
    address is the package's own.
    """

    uri: str = ""
    source: str = ""
    checkin_path: str = ""
    register_path: str = ""
    dialect: str = "auto"
    shipped: bool = False
