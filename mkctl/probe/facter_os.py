"""The operating system: operatingsystem*, osfamily, lsb* and `os` of Facter 2.4, and `os` of Facter 4.

Made of os-release(5) and of the older release file where a family has a finer number there (Debian 12.11, CentOS
7.9.2009). Facter takes the lsb_* facts from the program lsb_release, which current distributions derive from the same
files; no process is started for them. How the families differ is Facter's convention: Debian calls x86_64 "amd64",
Ubuntu's major release is the whole "22.04", Suse's distributor is "SUSE". `hardwareisa` is what coreutils' `uname -p`
says, which is the machine only where the distribution patched that in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mkcore.files import read_line, read_text_if_any
from mkcore.jsonfields import Json

_FAMILIES = (
    ("Debian", ("debian", "ubuntu")),
    ("RedHat", ("rhel", "fedora", "centos")),
    ("Suse", ("suse", "sles", "opensuse")),
    ("Alpine", ("alpine",)),
)
_NAMES = {"rhel": "RedHat", "ol": "OracleLinux", "amzn": "Amazon", "arch": "Archlinux"}
_INTEL_32 = frozenset({"i386", "i486", "i586", "i686"})


class System(NamedTuple):
    """What runs here. release is (full, major, minor); "" is unknown throughout."""

    id: str
    like: str
    family: str
    name: str
    release: tuple[str, str, str]
    codename: str
    description: str
    distributor: str


def read_system(root: Path) -> System:
    """Read /etc/os-release (or the copy in /usr/lib) and the family's release file below `root`."""
    text = read_text_if_any(f"{root}/etc/os-release") or read_text_if_any(f"{root}/usr/lib/os-release")
    values = parse_os_release(text)
    old = read_line(f"{root}/etc/debian_version"), read_line(f"{root}/etc/redhat-release")
    return build_system(values, debian_version=old[0], redhat_release=old[1])


def parse_os_release(text: str) -> dict[str, str]:
    """Parse os-release(5): shell assignments, quoted or not; a line that is none is left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and key.isidentifier():
            found[key] = _unquote(value.strip())
    return found


def build_system(values: Mapping[str, str], debian_version: str = "", redhat_release: str = "") -> System:
    """Make the system of os-release's values and the first lines of the older release files."""
    words = [values.get("ID", "").lower(), *values.get("ID_LIKE", "").lower().split()]
    family = next((name for name, ids in _FAMILIES if any(_is(word, ids) for word in words)), words[0].capitalize())
    name = _NAMES.get(words[0]) or values.get("NAME", "").partition(" ")[0]
    found = re.match(r"(.*?)\s+release\s+(\S+)(?:\s+\((.*)\))?", redhat_release)
    codename, description, distributor = _distribution(family, values)
    full = values.get("VERSION_ID", "")
    if family == "Debian" and words[0] != "ubuntu" and debian_version:
        full = debian_version
    elif family == "RedHat" and found:
        full, codename, description = found[2], found[3] or "", redhat_release
        distributor = "".join(word for word in found[1].split() if word != "Linux")
    elif family == "RedHat" and full.isdigit():
        full += ".0"
    release = _release(full, family, words[0])
    return System(words[0], " ".join(words[1:]), family, name, release, codename, description, distributor)


def structured_os(system: System, machine: str, selinux: Mapping[str, Json]) -> dict[str, Json]:
    """Make `os` of Facter 4. machine: uname(2)'s; selinux: as `structured_selinux` makes it."""
    facts: dict[str, Json] = {
        "architecture": architecture(system, machine),
        "hardware": machine,
        "selinux": dict(selinux),
    }
    facts.update({key: value for key, value in (("family", system.family), ("name", system.name)) if value})
    release = _release_map(system.release)
    if release:
        facts["release"] = release
    if system.family in {"Debian", "RedHat", "Suse"}:
        facts["distro"] = _distro(system, release)
    return facts


def flat_os(system: System) -> dict[str, Json]:
    """Make operatingsystem, operatingsystemrelease, operatingsystemmajrelease, osfamily, os and lsb* of Facter 2.4."""
    full, major, minor = system.release
    lsb = {
        "distid": system.distributor,
        "distcodename": system.codename,
        "distdescription": system.description,
        "distrelease": full,
        "majdistrelease": major,
        "minordistrelease": minor,
    }
    lsb = {key: value for key, value in lsb.items() if value} if system.distributor else {}
    flat = {
        "operatingsystem": system.name,
        "operatingsystemrelease": full,
        "operatingsystemmajrelease": major,
        "osfamily": system.family,
        **{f"lsb{key}": value for key, value in lsb.items()},
    }
    facts: dict[str, Json] = {key: value for key, value in flat.items() if value}
    parts: dict[str, Json] = {"name": system.name, "family": system.family, "release": _release_map(system.release)}
    structure: dict[str, Json] = {key: value for key, value in parts.items() if value}
    if lsb:
        structure["lsb"] = dict[str, Json](lsb)
    if structure:
        facts["os"] = structure
    return facts


def structured_selinux(sys_root: Path, root: Path) -> dict[str, Json]:
    """Make `os.selinux`: enabled, and where it is, the modes and the policy."""
    folder = f"{sys_root}/fs/selinux"
    enforce = read_line(f"{folder}/enforce")
    if not enforce:
        return {"enabled": False}
    settings = parse_os_release(read_text_if_any(f"{root}/etc/selinux/config"))
    facts: dict[str, Json] = {
        "enabled": True,
        "enforced": enforce == "1",
        "current_mode": "enforcing" if enforce == "1" else "permissive",
        "policy_version": read_line(f"{folder}/policyvers"),
    }
    for key, name in (("config_mode", "SELINUX"), ("config_policy", "SELINUXTYPE")):
        if settings.get(name):
            facts[key] = settings[name]
    return facts


def flat_selinux(selinux: Mapping[str, Json]) -> dict[str, Json]:
    """Make selinux and selinux_* of Facter 2.4 of the structured form."""
    facts: dict[str, Json] = {"selinux": selinux["enabled"]}
    names = {"policy_version": "policyversion"}
    facts.update({f"selinux_{names.get(key, key)}": value for key, value in selinux.items() if key != "enabled"})
    return facts


def architecture(system: System, machine: str) -> str:
    """Return what the distribution calls the machine: "amd64" for Debian's x86_64, "i386" for an i686."""
    if system.family == "Debian" and machine == "x86_64":
        return "amd64"
    return "i386" if machine in _INTEL_32 else machine


def instruction_set(system: System, machine: str) -> str:
    """Return what `uname -p` of this distribution prints: the machine with Suse, Ubuntu and RedHat before 10."""
    major = system.release[1]
    patched = system.family == "Suse" or "ubuntu" in f"{system.id} {system.like}".split()
    old = system.family == "RedHat" and major.isdigit() and int(major) < (38 if system.id == "fedora" else 10)
    return machine if patched or old else "unknown"


def _distribution(family: str, values: Mapping[str, str]) -> tuple[str, str, str]:
    """Return code name, description and distributor as lsb_release names them; "" where only it could tell."""
    if family == "Suse":
        return "n/a", values.get("PRETTY_NAME", ""), "SUSE"
    if family != "Debian":
        return "", "", ""
    match = re.search(r"\((\w+)", values.get("VERSION", ""))
    codename = values.get("VERSION_CODENAME") or (match[1].lower() if match else "")
    return codename, values.get("PRETTY_NAME", ""), values.get("ID", "").capitalize()


def _release(full: str, family: str, identity: str) -> tuple[str, str, str]:
    if identity == "ubuntu" or family not in {known for known, _ in _FAMILIES}:
        return full, full, ""
    match = re.fullmatch(r"(\d+)\.(\d+)(?:[.\-].*)?", full)
    return (full, match[1], match[2]) if match else (full, full, "")


def _release_map(release: tuple[str, str, str]) -> dict[str, Json]:
    return {key: value for key, value in zip(("full", "major", "minor"), release) if value}


def _distro(system: System, release: dict[str, Json]) -> dict[str, Json]:
    parts: dict[str, Json] = {
        "codename": system.codename,
        "description": system.description,
        "id": system.distributor,
        "release": dict(release),
    }
    return {key: value for key, value in parts.items() if value}


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        inner = value[1:-1]
        return re.sub(r"\\([\\\"$`])", r"\1", inner) if value[0] == '"' and "\\" in inner else inner
    return value


def _is(word: str, ids: tuple[str, ...]) -> bool:
    return any(word == known or word.startswith(f"{known}-") for known in ids)
