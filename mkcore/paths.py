"""Where things are.

One frozen table of every directory that the suite reads or writes, so that a test or `--root DIR` moves all of them
at once. The credentials directory is the one value taken from the environment, because systemd.exec(5) passes it so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Paths(NamedTuple):
    """Directories; `credentials` is an empty path when the service got none."""

    run_mkctl: Path = Path("/run/mkctl")
    run_mkweb: Path = Path("/run/mkweb")
    run_facts: Path = Path("/run/mk-facts")
    run_fetch: Path = Path("/run/mk-fetch")
    run_extensions: Path = Path("/run/mk-extensions")
    run_requests: Path = Path("/run/mk")
    leases: Path = Path("/run/systemd/netif/leases")
    etc: Path = Path("/etc/mk")
    lib: Path = Path("/usr/lib/mk")
    mirror: Path = Path("/usr/share/mk/mirror")
    mirror_admin: Path = Path("/var/lib/mk/mirror")
    udev: Path = Path("/run/udev")
    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    credentials: Path = Path()

    @property
    def facts(self) -> Path:
        """The hardware facts, written by mk-facts."""
        return self.run_facts / "facts.json"

    @property
    def staged(self) -> Path:
        """What was fetched and waits to be installed, written by mk-fetch."""
        return self.run_fetch / "staged.json"

    @property
    def installed(self) -> Path:
        """What is installed, written by mk-extensions."""
        return self.run_extensions / "installed.json"

    @property
    def requests(self) -> Path:
        """What the administrator asks for, written by `mkmirror install` and `remove`."""
        return self.run_requests / "requests.json"

    @property
    def pushed(self) -> Path:
        """The pushed configuration, written by mkweb."""
        return self.run_mkweb / "config.json"

    @property
    def pushed_previous(self) -> Path:
        """The pushed configuration before the one in use, written by mkweb."""
        return self.run_mkweb / "config.prev.json"

    @property
    def apply(self) -> Path:
        """The state of the last apply, written by mkweb."""
        return self.run_mkweb / "apply.json"

    @property
    def state(self) -> Path:
        """What mkctl remembers between starts."""
        return self.run_mkctl / "state.json"

    @property
    def registered_facts(self) -> Path:
        """The facts of the last registration that the server accepted, written by mkctl."""
        return self.run_mkctl / "registered-facts.json"

    @property
    def clock(self) -> Path:
        """What time the server says it is, for mk-clock; written by mkctl."""
        return self.run_mkctl / "clock.json"

    @property
    def status(self) -> Path:
        """What `mkctl status` shows, written by mkctl."""
        return self.run_mkctl / "status.json"


def paths_under(root: str = "") -> Paths:
    """Return the paths, all of them below `root` ("" for the real ones).

    Below a root the credentials are in ROOT/run/credentials; otherwise where $CREDENTIALS_DIRECTORY says.
    """
    if not root:
        return Paths(credentials=Path(os.environ.get("CREDENTIALS_DIRECTORY", "")))
    top, plain = Path(root), Paths()

    def below(path: Path) -> Path:
        """Return the place of an absolute path below the root."""
        return top / path.relative_to("/")

    return Paths(
        run_mkctl=below(plain.run_mkctl),
        run_mkweb=below(plain.run_mkweb),
        run_facts=below(plain.run_facts),
        run_fetch=below(plain.run_fetch),
        run_extensions=below(plain.run_extensions),
        run_requests=below(plain.run_requests),
        etc=below(plain.etc),
        lib=below(plain.lib),
        mirror=below(plain.mirror),
        mirror_admin=below(plain.mirror_admin),
        leases=below(plain.leases),
        udev=below(plain.udev),
        sys=below(plain.sys),
        proc=below(plain.proc),
        credentials=top / "run/credentials",
    )
