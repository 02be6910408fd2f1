"""What root founds trust on: keys, the machine's own mirror on disk, the site's rules, the folders for this machine.

Which folders those are says the site's configuration, never whoever staged a file: what was signed, or lies on disk,
for another release, architecture or kind is taken from nowhere.

Source: protocol 5.2, 5.5; uname(2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mkcore.config import Config
from mkcore.errors import BadInput, Untrusted
from mkcore.loopback import is_loopback
from mkcore.site import Site
from mkmirror import trust
from mkmirror.catalogue import PACKAGES, TINY_CORE
from mkmirror.formats import tce, wheel
from mkmirror.mirroring import native_folder
from mkmirror.sources import site_addresses
from mkmirror.staged import Folder, Kind

_ALIASES = {"packages": PACKAGES}
"""What the built-in mirror serves under another name than it has on disk."""
_BASES = {Kind.SYSEXT: (TINY_CORE,), Kind.TCZ: (TINY_CORE,), Kind.WHEEL: (PACKAGES, *_ALIASES)}
"""Below which paths of its addresses it has what."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ground:
    """What trust is founded on. trees: of the machine's own mirror, the administrator's first; work: a folder of
    this process alone, where checked files are put. site: addresses of the mirrors that the site itself set, for which
    alone `mode` counts; any other one needs a signature. folders: of each kind of file the one below a mirror's base
    that is for this machine; what has none is taken from nowhere.
    limit_bytes: what one staged file may have, which may be sparse and so cost whoever staged it nothing.
    """

    mode: trust.Verify
    keys: Sequence[Path]
    trees: Sequence[Path]
    work: Path
    site: Sequence[str] = ()
    folders: Mapping[Kind, str] = field(default_factory=dict[Kind, str])
    limit_bytes: int = 1 << 40

    def mode_of(self, folder: Folder) -> trust.Verify:
        """Return what must vouch for a folder."""
        of_site = any(f"{folder.mirror.rstrip('/')}/".startswith(f"{each}/") for each in self.site)
        return self.mode if of_site else trust.Verify.SIGNATURE

    def require_place(self, kind: Kind, folder: Folder) -> None:
        """Raise Untrusted for a folder that is not the configured one for files of a kind, in whatever mirror.

        What was signed, or lies on disk, for another release, architecture or kind is not for this machine.
        """
        if folder.path != self.folders.get(kind):
            raise Untrusted(f"{address(folder)}: is not a folder for this machine")
        if folder.builtin and not _is_own(kind, folder.mirror):
            raise Untrusted(f"{address(folder)}: is not in the machine's own mirror")

    def on_disk(self, folder: Folder) -> list[Path]:
        """Return where a folder of this machine's own mirror lies in each tree. The folder was looked at before."""
        base = urlsplit(folder.mirror).path.strip("/")
        return [tree / _ALIASES.get(base, base) / folder.path for tree in self.trees]


def ground_of(site: Site, config: Config, keys: Sequence[Path], trees: Sequence[Path], work: Path) -> Ground:
    """Return what this machine and its site found trust on; config: without what was pushed."""
    here = folders_here(config, os.uname().machine)
    limit_bytes = config.extensions_staging_limit_mb * 1_000_000
    mode, own = trust.Verify(config.extensions_verify), site_addresses(site, config)
    return Ground(mode, keys, trees, work, own, here, limit_bytes)


def folders_here(config: Config, machine: str) -> dict[Kind, str]:
    """Return the folder below a mirror's base whose files of a kind are for this machine; machine: by uname(2)."""
    found = {Kind.SYSEXT: native_folder(machine), Kind.WHEEL: wheel.FOLDER}
    try:
        found[Kind.TCZ] = tce.folder(config.tce_release, config.tce_build or machine)
    except BadInput as error:  # which mk-fetch tells, too, and then it cannot have looked there
        log.debug("tce.release, tce.build: %s", error)
    return found


def address(folder: Folder) -> str:
    """Return the address of a folder, e.g. `http://m/tinycorelinux/15.x/x86_64/tcz`."""
    return f"{folder.mirror.rstrip('/')}/{folder.path}"


def _is_own(kind: Kind, mirror: str) -> bool:
    """Tell whether an address is one of this machine's own mirror that has such files."""
    try:
        parts = urlsplit(mirror)
        host = parts.hostname or ""
    except ValueError:
        return False
    return (host == "localhost" or is_loopback(host)) and parts.path.strip("/") in _BASES[kind]
