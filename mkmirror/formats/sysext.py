"""Native extensions: images that systemd-sysext or systemd-confext merges, and the release file that admits them.

Extended attributes are instructions to overlayfs: a folder may be declared opaque, or to be found elsewhere. A squashfs
image that has any is refused by its head; an erofs one can be judged only when it is mounted.

An image names the system that it was made for in a release file inside. What systemd checks with it is checked here
before, because systemd-sysext leaves a foreign image out without a word and merges a truncated one.

Source: systemd-sysext(8), os-release(5); the squashfs superblock in the kernel's fs/squashfs/squashfs_fs.h, the erofs
one in fs/erofs/erofs_fs.h; UEFI specification, chapter 5 (GPT); the kernel's overlayfs documentation on xattrs.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from mkcore.errors import BadInput
from mkmirror.names import require_name, show

SUFFIX = ".raw"
HEAD_BYTES = 1120
"""So much of an image's beginning suffices for parse_head."""
ANY = "_any"

_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
_QUOTED = re.compile(r"\"((?:[^\"\\$`]|\\.)*)\"|'([^']*)'|([^\s\"'$`\\;&|<>()]*)")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ARCHITECTURES = {
    "x86_64": "x86-64",
    "i686": "x86",
    "i586": "x86",
    "i386": "x86",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64-le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loongarch64",
}
_SQUASHFS = struct.Struct("<4sIIIIHHHHHHQQQQ")
_NO_TABLE = 2**64 - 1
_EROFS_MAGIC = b"\xe2\xe1\xf5\xe0"


class Kind(enum.Enum):
    """What an image extends, by the word that its release file's path has."""

    SYSEXT = "sysext"
    CONFEXT = "confext"

    @property
    def release_folder(self) -> str:
        """Folder of the release file inside the image."""
        return "usr/lib/extension-release.d" if self is Kind.SYSEXT else "etc/extension-release.d"

    @property
    def tops(self) -> frozenset[str]:
        """Top-level folders that are merged; systemd ignores all others."""
        return frozenset(("usr", "opt")) if self is Kind.SYSEXT else frozenset(("etc",))


@dataclass(frozen=True)
class Head:
    """What an image's first bytes say. `size_bytes` is the least that the file must have, 0 where it is not said."""

    file_system: str
    size_bytes: int = 0
    inodes: int = 0


def extension_name(file: str, where: str = "extension") -> str:
    """Return the name that an image's file gives its extension, e.g. `debug-tools` for `debug-tools.raw`."""
    require_name(file, where)
    return file[: -len(SUFFIX)] if file.endswith(SUFFIX) else file


def release_path(name: str, kind: Kind = Kind.SYSEXT) -> str:
    """Return the path of the release file inside the image of the extension `name`."""
    return f"{kind.release_folder}/extension-release.{name}"


def architecture(machine: str) -> str:
    """Return systemd's word for what uname(2) calls the machine, e.g. `x86-64` for `x86_64`; else the word itself."""
    return _ARCHITECTURES.get(machine, machine)


def parse_release(text: str, where: str) -> dict[str, str]:
    """Parse a file of the form of os-release: assignments of a shell, without expansions.

    Raises BadInput naming the line for everything that a shell would do more with.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _QUOTED.fullmatch(match[2]) if match else None
        if match is None or value is None:
            raise BadInput(f"not of the form KEY=VALUE: {show(line)}", f"{where}:{number}")
        double, single, plain = value.groups()
        found[match[1]] = re.sub(r"\\(.)", r"\1", double) if double is not None else single or plain or ""
    return found


def mismatch(release: Mapping[str, str], system: Mapping[str, str], machine: str, kind: Kind = Kind.SYSEXT) -> str:
    """Return why an extension with this release file is not for the system with that os-release, "" when it is.

    machine: as uname(2) has it. The same rules as systemd's: ID must be equal or `_any`, then the level where both
    have one, else VERSION_ID where the system has one; ARCHITECTURE where it is given.
    """
    wanted = release.get("ARCHITECTURE", ANY)
    if wanted not in (ANY, architecture(machine)):
        return f"it is for the architecture {wanted}, not {architecture(machine)}"
    made_for = release.get("ID", "")
    if made_for == ANY:
        return ""
    if not made_for:
        return "its release file has no ID"
    if made_for != system.get("ID", "linux"):
        return f"it is for {made_for}, not {system.get('ID', 'linux')}"
    level = f"{kind.name}_LEVEL"
    for key in (level, "VERSION_ID"):
        ours, its = system.get(key, ""), release.get(key, "")
        if ours and (its or key != level):
            return "" if its == ours else f"it is for {made_for} with {key}={its or 'none'}, not {ours}"
    return ""


def build_release(system: Mapping[str, str], machine: str = "", *, scopes: str = "") -> str:
    """Build a release file: for any system when `system` is empty, else for its ID and level or VERSION_ID.

    Raises BadInput for values that no os-release may have.
    """
    fields = {"ID": system.get("ID", ANY)}
    for key in ("SYSEXT_LEVEL", "VERSION_ID"):
        if system.get(key):
            fields[key] = system[key]
    if machine:
        fields["ARCHITECTURE"] = architecture(machine)
    if scopes:
        fields["SYSEXT_SCOPE"] = scopes
    for key, value in fields.items():
        if not all(map(_WORD.fullmatch, value.split(" "))):
            raise BadInput(f"{show(value)} cannot be the {key} of an extension", "release")
    fields["EXTENSION_RELOAD_MANAGER"] = "1"
    return "".join(f'{key}="{value}"\n' if " " in value else f"{key}={value}\n" for key, value in fields.items())


def parse_head(head: bytes, where: str) -> Head:
    """Tell what file system begins with these HEAD_BYTES; raise BadInput naming `where` for none that can be merged."""
    if head.startswith(b"hsqs") and len(head) >= _SQUASHFS.size:
        fields = _SQUASHFS.unpack_from(head)
        block, log, major = fields[3], fields[6], fields[9]
        if major != 4 or not 12 <= log <= 20 or block != 1 << log:
            raise BadInput("has a damaged squashfs superblock", where)
        if fields[14] != _NO_TABLE:
            raise BadInput("has extended attributes, by which it could hide what the system has", where)
        return Head("squashfs", size_bytes=fields[12], inodes=fields[1])
    if head[1024:1028] == _EROFS_MAGIC and len(head) >= 1120:
        return _parse_erofs(head, where)
    if head[512:520] == b"EFI PART":
        return Head("gpt")
    raise BadInput("is neither squashfs, erofs nor a GPT image", where)


def _parse_erofs(head: bytes, where: str) -> Head:
    log, (inodes,), (blocks,) = head[1036], struct.unpack_from("<Q", head, 1040), struct.unpack_from("<I", head, 1060)
    if not 9 <= log <= 16:
        raise BadInput("has a damaged erofs superblock", where)
    return Head("erofs", size_bytes=blocks << log, inodes=inodes)


def require_whole(head: bytes, size_bytes: int, where: str) -> Head:
    """Return what an image of `size_bytes` holds; raise BadInput when it is shorter than its file system.

    systemd merges a truncated squashfs without complaint; that it lacks its end is seen here.
    """
    found = parse_head(head, where)
    if size_bytes < found.size_bytes:
        raise BadInput(f"is truncated: {size_bytes} of {found.size_bytes} bytes", where)
    return found
