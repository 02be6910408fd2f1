"""A machine for mk-fetch in a folder: its own mirror and a remote one on stock web servers, its configuration, keys."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

from mkcore.paths import paths_under
from mkmirror import fetch, trust
from mkmirror.staged import Item, Request, Staged, parse_staged
from tests.unit.mirror_trees import StaticServer, make_squashfs
from tests.unit.pgp_keys import Gpg

KERNEL, MACHINE = os.uname().release, os.uname().machine
TCZ, RAW = f"tinycorelinux/15.x/{MACHINE}/tcz", f"tinycorelinux/sysext/{MACHINE}"
WHEELS = "gem-mirror/wheels"
LIST, MODULES, PACKAGES = (
    "tinycorelinux/tce-install-list",
    "tinycorelinux/kmod-install-list",
    "gem-mirror/gems/gem.list",
)


def put(root: Path, name: str, content: Union[str, bytes]) -> Path:
    """Write a file of a mirror."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def add_tcz(root: Path, name: str, *needs: str, size: int = 0) -> Path:
    """Offer a Tiny Core extension with its MD5 sum and what it needs; `size` random bytes in it."""
    image = make_squashfs(root / TCZ / f"{name}.tcz", {f"usr/local/share/{name}": name.encode() + os.urandom(size)})
    put(root, f"{TCZ}/{name}.tcz.md5.txt", f"{trust.digest_file(image, 'md5')}  {name}.tcz\n")
    if needs:
        put(root, f"{TCZ}/{name}.tcz.dep", "".join(f"{each}\n" for each in needs))
    return image


def add_raw(root: Path, name: str, *, when: str = "", needs: str = "") -> Path:
    """Offer a native extension."""
    image = make_squashfs(root / RAW / f"{name}.raw", {f"usr/share/{name}": name})
    for ending, text in ((".when", when), (".dep", needs)):
        if text:
            put(root, f"{RAW}/{name}.raw{ending}", text)
    return image


def add_sums(folder: Path, gpg: Union[Gpg, None] = None, *names: str, at: str = "") -> None:
    """Write the sums of a folder, and sign them."""
    found = {each.name: trust.digest_file(each) for each in sorted(folder.iterdir()) if not each.name.startswith("SHA")}
    sums = folder / trust.SUMS
    sums.write_text(trust.build_sums(found))
    if gpg is not None:
        gpg.sign(sums, *names, at=at)


class Node:
    """The machine. `own` and `remote` are the trees of its two mirrors; `said` what the last run wrote."""

    def __init__(self, folder: Path, own: StaticServer, remote: StaticServer) -> None:
        self.root = folder / "root"
        self.own, self.remote = folder / "own", folder / "remote"
        self.own_server, self.remote_server = own, remote
        self.paths = paths_under(str(self.root))
        self.paths.run_fetch.mkdir(parents=True)
        for path in (self.own, self.remote):
            path.mkdir(exist_ok=True)

    @property
    def tce(self) -> str:
        """Address of the remote mirror of extensions."""
        return f"{self.remote_server.uri}/tinycorelinux"

    def site(self, text: str) -> None:
        """Write the site's configuration."""
        put(self.root, "etc/mk/mk.toml", text)

    def push(self, **keys: object) -> None:
        """Have a server's push in use."""
        put(self.root, "run/mkweb/config.json", json.dumps(keys))

    def ask(self, **lists: list[str]) -> None:
        """Write the administrator's requests."""
        put(self.root, "run/mk/requests.json", json.dumps({"version": 1, **lists}))

    def installed(self, **tables: Any) -> None:
        """Write what mk-extensions says is installed."""
        put(self.root, "run/mk-extensions/installed.json", json.dumps({"version": 1, **tables}))

    def trust(self, gpg: Gpg, name: str) -> None:
        """Trust a key."""
        put(self.root, f"etc/mk/trust.d/{name}.gpg", gpg.export(name))

    def run(self, *arguments: str, status: int = 0, remote: bool = True) -> Staged:
        """Run mk-fetch in this process and return what it staged."""
        options = ["--root", str(self.root)]
        options += ["--own-extensions", f"{self.own_server.uri}/tinycorelinux"]
        options += ["--own-packages", f"{self.own_server.uri}/gem-mirror", *(["--remote"] if remote else [])]
        with quiet_logging():
            assert fetch.main([*options, *arguments]) == status
        assert not (self.paths.run_fetch / "work").exists()
        if not self.paths.staged.exists():
            return Staged()
        found = parse_staged(self.paths.staged.read_bytes())
        for item in (item for request in found.requests for item in request.items):
            assert self.file(item).stat().st_size == item.size_bytes
        return found

    def file(self, item: Item) -> Path:
        """Return where the file of an item is staged."""
        return self.paths.run_fetch / "staging" / item.folder / item.name

    def names(self) -> list[str]:
        """Return the names of all staged files, hidden ones too."""
        return sorted(path.name for path in (self.paths.run_fetch / "staging").rglob("*") if path.is_file())


@contextmanager
def quiet_logging() -> Generator[None, None, None]:
    """Keep the process's own logging as it is."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@contextmanager
def make_node(folder: Path) -> Generator[Node, None, None]:
    """Serve both trees and give the machine."""
    for name in ("own", "remote"):
        (folder / name).mkdir()
    with StaticServer(folder / "own") as own, StaticServer(folder / "remote") as remote:
        yield Node(folder, own, remote)


def order(request: Request) -> list[str]:
    """Return the names of a request's files."""
    return [item.name for item in request.items]
