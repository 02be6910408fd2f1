"""What `mkserver run` was told on its command line, and the bounds within which it serves strangers.

Node routes take no password, since the original microkernels know none (protocol 3.2, 3.5): so everything that a
neighbour on the wire can make the server keep or compute has a bound here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8026
DEFAULT_DATA = Path("/var/lib/mkserver")
DEFAULT_CMDLINE = "{dialect}.uri=http://{base}"
"""What a node that was booted from here needs to find its way back."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the node routes; the biggest registration seen of a real machine is about 200 kB."""

    body_bytes: int = 4 << 20
    facts_bytes: int = 1 << 20
    all_facts_bytes: int = 1 << 30
    facts_count: int = 5_000
    fact_name_chars: int = 256
    facts_depth: int = 24
    hardware_ids: int = 64
    nodes: int = 20_000
    nodes_of_one_address: int = 5_000
    history: int = 200
    all_history: int = 200_000
    requests_per_s: float = 100.0
    requests_burst: int = 2_000


@dataclass(frozen=True)
class Settings:
    """Command line of `mkserver run`, parsed; `cmdline` may hold what `boot.expand_args` knows.

    mirror: the folder that is served below /mirror/, None for none.
    """

    data: Path = DEFAULT_DATA
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    kernel: Optional[Path] = None
    initrd: Optional[Path] = None
    mirror: Optional[Path] = None
    cmdline: str = ""
    database_url: str = ""
    limits: Limits = field(default_factory=Limits)

    def url_of_database(self) -> str:
        """SQLAlchemy URL: the one given, else SQLite in the data directory."""
        return self.database_url or f"sqlite:///{self.data / 'mkserver.db'}"
