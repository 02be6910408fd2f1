"""Kernel, uptime, load, clock zone and the probe's own identity, in the forms of Facter 2.4 and 4.

    2.4  kernel "Linux", kernelrelease, kernelversion "6.1.0", kernelmajversion "6.1", uptime "3:31 hours", uptime_days,
         uptime_hours, uptime_seconds, system_uptime, timezone "UTC", path, id "root", gid "root", uniqueid "007f0101"
    4    kernel*, system_uptime, load_averages {"1m": 0.5, "5m": …, "15m": …}, timezone, path,
         identity {"uid": 0, "user": "root", "gid": 0, "group": "root", "privileged": true}

Facts of 2.4 that a node has not: facterversion, rubyversion, rubyplatform, rubysitedir, puppetversion and augeasversion
name programs that are not there; `ps` is a command line for Puppet; ssh* are keys of a server that an image for people
alone starts; ec2_*, gce, rackspace come from a cloud's metadata service, which the probe, without network, cannot ask;
xendomains, zfs_version and zpool_version are of hypervisors and storage servers. Uptime and load change with each look.
Source: uname(2), proc(5) uptime and loadavg, gethostid(3), protocol 6.8.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import sys
import time
from typing import Optional

from mkcore.errors import BadInput
from mkcore.files import read_attribute
from mkcore.jsonfields import Json

# A name with one of these in it has a secret for its value; "key" alone is too often a keyboard's map.
_SECRET = r"passw|passphrase|secret|token|credential|community|psk|signature"
_SECRET_END = r"pass|pwd|(?:api|access|auth|private|license|account|shared)[._-]?key"
_QUERY = rf"([?&;](?:[^=?&;#]*(?:{_SECRET})[^=?&;#]*|[^=?&;#]*(?:{_SECRET_END})|sig|auth)=)[^&;#\"]*"


def kernel_facts(release: str) -> dict[str, Json]:
    """Make kernel, kernelrelease, kernelversion and kernelmajversion, which both versions of Facter write alike."""
    facts: dict[str, Json] = {"kernel": "Linux", "kernelrelease": release}
    match = re.match(r"((\d+)(?:\.\d+)?)(?:\.\d+)*", release, re.ASCII)
    if match:
        facts.update(kernelversion=match[0], kernelmajversion=match[1])
    return facts


def kernel_inventory(system: os.uname_result, command_line: str) -> dict[str, Json]:
    """Make the inventory's `kernel`; values of the command line that are secrets by their name are left out."""
    parts = {
        "release": system.release,
        "version": system.version,
        "machine": system.machine,
        "command_line": hide_secrets(command_line),
    }
    return {key: value for key, value in parts.items() if value}


def hide_secrets(command_line: str) -> str:
    """Replace the values of secrets on a kernel command line: "rd.iscsi.password=x" -> "rd.iscsi.password=...".

    A value in double quotes may have blanks. Names with passwords in addresses go too, "http://u:p@h" -> "http://...@h",
    and parameters of addresses: "ks=http://h/a?token=x&os=el9" -> "ks=http://h/a?token=...&os=el9".
    """
    words = re.findall(r'(?:[^\s"]|"[^"]*"?)+', command_line) if '"' in command_line else command_line.split()
    return " ".join(map(_hide, words))


def _hide(word: str) -> str:
    name, equals, _ = word.partition("=")
    known = name.strip('"')
    if equals and re.search(rf"{_SECRET}|(?:{_SECRET_END})$", known, re.IGNORECASE):
        return f"{name}=..."
    if "@" in word:
        word = re.sub(r"(//)[^/@]*@|(iscsi:)[^@]*@", r"\1\2...@", word)
    return re.sub(_QUERY, r"\1...", word, flags=re.IGNORECASE) if "?" in word else word


def parse_uptime(text: str) -> int:
    """Return the whole seconds since boot of /proc/uptime: "59.99 1.0" -> 59. Raises BadInput."""
    seconds = text.partition(".")[0]
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 12):
        raise BadInput("no uptime", "/proc/uptime")
    return int(seconds)


def structured_uptime(seconds: int) -> dict[str, Json]:
    """Make `system_uptime`: hours in all, not of the day; the text counts days from the first on."""
    hours, days = seconds // 3600, seconds // 86400
    text = f"{hours}:{seconds // 60 % 60:02d} hours" if not days else f"{days} day{'s' if days > 1 else ''}"
    return {"seconds": seconds, "hours": hours, "days": days, "uptime": text}


def flat_uptime(seconds: int) -> dict[str, Json]:
    """Make uptime, uptime_seconds, uptime_hours, uptime_days and system_uptime of Facter 2.4."""
    uptime = structured_uptime(seconds)
    facts: dict[str, Json] = {f"uptime_{key}": uptime[key] for key in ("seconds", "hours", "days")}
    return {**facts, "uptime": uptime["uptime"], "system_uptime": uptime}


def parse_load(text: str) -> dict[str, Json]:
    """Make `load_averages` of /proc/loadavg: "0.50 1.10 12.34 …" -> {"1m": 0.5, "5m": 1.1, "15m": 12.34}.

    Raises BadInput.
    """
    words = text.split()[:3]
    if len(words) < 3 or not all(re.fullmatch(r"\d{1,9}\.\d{1,9}", word, re.ASCII) for word in words):
        raise BadInput("no load averages", "/proc/loadavg")
    return {name: float(word) for name, word in zip(("1m", "5m", "15m"), words)}


def own_identity() -> dict[str, Json]:
    """Make `identity`: who runs the probe. A number without an account has no name.

    The group is the account's own: that of the process is mk-facts.service's, for the sake of the file that it writes.
    """
    uid = os.getuid()
    facts: dict[str, Json] = {"uid": uid, "gid": os.getgid(), "privileged": uid == 0}
    try:
        account = pwd.getpwuid(uid)
        facts.update(user=account.pw_name, gid=account.pw_gid)
        facts["group"] = grp.getgrgid(account.pw_gid).gr_name
    except KeyError:
        return facts
    return facts


def flat_identity(identity: dict[str, Json]) -> dict[str, Json]:
    """Make id and gid of Facter 2.4, which are names."""
    return {fact: identity[key] for fact, key in (("id", "user"), ("gid", "group")) if key in identity}


def timezone() -> str:
    """Return the abbreviation of the clock's zone now: "UTC", "CEST", "+04"."""
    now = time.localtime()
    return time.tzname[now.tm_isdst > 0]


def read_unique_id(root: str, host_address: Optional[str]) -> str:
    """Return what hostid(1) prints, 8 hex digits: /etc/hostid, else made of the host name's IPv4 address."""
    stored = read_attribute(f"{root}/etc/hostid")
    if len(stored) >= 4:
        return f"{int.from_bytes(stored[:4], sys.byteorder):08x}"
    octets = bytes(int(part) for part in host_address.split(".")) if host_address else bytes(4)
    return (octets[1::-1] + octets[:1:-1]).hex()
