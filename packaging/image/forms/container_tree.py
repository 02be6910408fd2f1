"""The container's files: those of the image's system, less what its host has, in layers.

Read from the image's layer as an archive, so that owners and rights come along without being root. Two layers: what
Debian brings, and the suite with the version's own files, which is small and alone changes with each version.

Numbers of users: the image's own are those that installing gave out, below 1000, and a host gives out the same ones.
The controller must be known to the host's bus as the host's user mk-host, whose number is not known before the
container starts; so it is made then (sysusers.d), and everybody else gets a number that no host gives out.

Source: sysusers.d(5); systemd's docs/UIDS-GIDS.md for the range that nothing allocates; sqfs2tar(1).
"""

from __future__ import annotations

import fnmatch
import io
import itertools
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Optional

from lib.places import ROOT, BuildError

CONTAINER = ROOT / "packaging/container"
MADE_AT_START = "mkctl"
FIRST_NUMBER = 60600
"""Between what systemd gives to homes of hosts (60577) and to dynamic services (61184)."""
BASH = "usr/bin/bash"
"""By this name historic servers ask for a shell, with words that every shell knows."""
_INSTALLED = range(101, 1000)
_ACCOUNTS = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow")
_SUITE = re.compile(
    r"(^|/)(mkcore|mkctl|mkweb|mkmirror)(/|$|[.\d])|(^|/)mk[-.]|(^|/)mk(/|$)|mksuite"
    r"|^usr/lib/os-release$"  # it has the image's version
)
_UNITS = "etc/systemd/system"


def read_words(path: Path) -> list[str]:
    """Return the lines of a list that are neither empty nor comments."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_left_out(name: str, patterns: Iterable[str]) -> bool:
    """Whether a path of the image stays out of the container: "usr/lib/modules/6.12/x" for "usr/lib/modules/*"."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def is_of_the_suite(name: str) -> bool:
    """Whether a path belongs to the layer of the suite: "usr/bin/mkctl", "usr/lib/mk/x", not "usr/bin/mkdir"."""
    return bool(_SUITE.search(name))


def renumber(accounts: str) -> dict[int, int]:
    """Return the new numbers of installed accounts, from /etc/passwd's or /etc/group's text: {997: 60600}."""
    fields = [line.split(":") for line in accounts.splitlines()]
    numbers = {int(each[2]) for each in fields if len(each) > 3 and each[0] != MADE_AT_START}
    return {old: FIRST_NUMBER + index for index, old in enumerate(sorted(numbers & set(_INSTALLED)))}


def rewrite_accounts(text: str, users: dict[int, int], groups: dict[int, int], name: str) -> str:
    """Return an account file with the new numbers and without the user that is made at the start.

    name: which of the four files it is, "etc/passwd".
    """
    lines = []
    for line in text.splitlines():
        fields = line.split(":")
        if fields[0] == MADE_AT_START:
            continue
        if name == "etc/passwd":
            fields[2] = str(users.get(int(fields[2]), int(fields[2])))
            fields[3] = str(groups.get(int(fields[3]), int(fields[3])))
        elif name == "etc/group":
            fields[2] = str(groups.get(int(fields[2]), int(fields[2])))
        lines.append(":".join(fields))
    return "".join(f"{line}\n" for line in lines)


def _stream(layer: Path) -> Iterator[tuple[tarfile.TarInfo, Optional[IO[bytes]]]]:
    """Yield a layer's members with their content. BuildError when it cannot be read."""
    try:
        process = subprocess.Popen(["sqfs2tar", "--no-hard-links", str(layer)], stdout=subprocess.PIPE)
    except FileNotFoundError as error:
        raise BuildError("sqfs2tar is missing: run packaging/setup image") from error
    with process, tarfile.open(fileobj=process.stdout, mode="r|") as archive:
        for member in archive:
            member.name = member.name.removeprefix("./").rstrip("/")
            if member.name not in ("", "."):
                yield member, archive.extractfile(member) if member.isreg() else None
    if process.returncode:
        raise BuildError(f"{layer} cannot be read: sqfs2tar ended with status {process.returncode}")


def _read_accounts(layer: Path) -> dict[str, str]:
    found = {member.name: file.read().decode() for member, file in _stream(layer) if file and member.name in _ACCOUNTS}
    if not {"etc/passwd", "etc/group"} <= found.keys():
        raise BuildError(f"{layer} has no accounts: it is no system")
    return found


def _member(name: str, epoch: int, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime, member.mode, member.type = epoch, mode, kind
    return member


def _add(archive: tarfile.TarFile, name: str, content: bytes, epoch: int, mode: int = 0o644) -> None:
    member = _member(name, epoch, mode)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_layers(layers: Sequence[Path], system: Path, suite: Path, epoch: int) -> None:
    """Write the two layers, uncompressed archives, of the image's layers, the first of which has the accounts.

    BuildError when that is no system.
    """
    accounts = _read_accounts(layers[0])
    users, groups = renumber(accounts["etc/passwd"]), renumber(accounts["etc/group"])
    left_out = read_words(CONTAINER / "left-out")
    ours, seen = _site_files(), set[str]()
    with tarfile.open(system, "w", format=tarfile.PAX_FORMAT) as below, tarfile.open(suite, "w") as above:
        for member, file in itertools.chain.from_iterable(map(_stream, layers)):
            name = member.name
            if name in seen:  # a folder that both have
                continue
            seen.add(name)
            if is_left_out(name, left_out) or name in ours:
                continue
            member.uid, member.gid = users.get(member.uid, member.uid), groups.get(member.gid, member.gid)
            member.uname = member.gname = ""
            if name in accounts:
                text = rewrite_accounts(accounts[name], users, groups, name).encode()
                member.size = len(text)
                below.addfile(member, io.BytesIO(text))
            elif not member.isdir() and is_of_the_suite(name):
                above.addfile(member, file)
            else:
                below.addfile(member, file)
        below.addfile(_member("host", epoch, 0o755, tarfile.DIRTYPE))
        links = {f"{_UNITS}/{unit}": "/dev/null" for unit in read_words(CONTAINER / "masked")}
        if BASH not in seen:
            links[BASH] = "sh"
        for name, to in links.items():
            link = _member(name, epoch, 0o777, tarfile.SYMTYPE)
            link.linkname = to
            above.addfile(link)
        for name, path in sorted(ours.items()):
            _add(above, name, path.read_bytes(), epoch, 0o755 if path.stat().st_mode & 0o100 else 0o644)


def _site_files() -> dict[str, Path]:
    """Return what the container has in place of the image's: path below its root -> file here."""
    top = CONTAINER / "root"
    found = {str(PurePosixPath(path.relative_to(top))): path for path in top.rglob("*") if path.is_file()}
    return {**found, "usr/lib/mk/mk.toml": CONTAINER / "mk.toml"}
