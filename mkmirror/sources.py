"""Where extensions, modules and packages come from: the configuration's mirrors and lists as addresses.

Two generations of servers name the same things differently. Razor's keys hold whole addresses; Hanlon's hold a mirror
and, for lists, the rest of the address. Whichever somebody set counts, a push before the site's own word; a list that
starts with / lies below its mirror.

Source: protocol 2.1 to 2.3, 5.1, 5.5; defects B17 (empty ports, which the table of keys fills in) and B18 (a list that
is a folder).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from mkcore.config import ORIGIN_DEFAULT, ORIGIN_DIALECT, ORIGIN_PUSH, Config, Effective
from mkcore.proxy import parse_inet
from mkcore.site import Site
from mkmirror.catalogue import LISTS
from mkmirror.formats import wheel
from mkmirror.staged import By

_EXTENSIONS = ("mirror.tce_mirror_uri", "mirror.tce_mirror")
_PACKAGES = ("mirror.gem_mirror_uri", "mirror.gem_mirror")
_RANK = {By.BUILTIN: 0, By.SITE: 1, By.PUSH: 2}


@dataclass(frozen=True)
class Own:
    """The addresses of this machine's own mirror, which is trusted by being a part of the machine."""

    extensions: str = "http://localhost:2157/tinycorelinux"
    packages: str = "http://localhost:2158/gem-mirror"

    def has(self, uri: str) -> bool:
        """Tell whether an address is one of this machine's own mirror, by port, on whatever name of loopback.

        So are the addresses that stock servers push, whatever this instance has.
        """
        port = _port(uri)
        host = urlsplit(uri).hostname or "" if port else ""
        own = {_port(each) for each in (self.extensions, self.packages, Own.extensions, Own.packages)}
        return (host == "localhost" or _is_loopback(host)) and port in own


@dataclass(frozen=True)
class Address:
    """A mirror's base or a list. `uri` is "" for none; `by` who chose it; `own`: it is this machine's own mirror's.

    usual: it is a list at its usual place in a mirror, which need not have one.
    """

    uri: str
    by: By
    own: bool
    usual: bool = False


@dataclass(frozen=True)
class Sources:
    """All of them, and what of the configuration cannot be used, one line each."""

    extensions: Address
    packages: Address
    extension_list: Address
    module_list: Address
    package_list: Address
    problems: tuple[str, ...] = ()


def find_sources(used: Effective, own: Own) -> Sources:
    """Work out the addresses; nothing is raised, what cannot be used is in `problems`."""
    problems: list[str] = []
    extensions = _mirror(used, _EXTENSIONS, own, own.extensions, problems)
    packages = _mirror(used, _PACKAGES, own, own.packages, problems)
    return Sources(
        extensions,
        packages,
        _list(used, "mirror.tce_install_list_uri", f"/{LISTS['extensions']}", extensions, own, problems),
        _list(used, "mirror.kmod_install_list_uri", f"/{LISTS['modules']}", extensions, own, problems),
        _list(used, "mirror.gemlist_uri", f"/{wheel.LIST}", packages, own, problems),
        tuple(dict.fromkeys(problems)),
    )


def site_addresses(site: Site, config: Config) -> tuple[str, ...]:
    """Return the mirrors that the site itself set; config: without what was pushed."""
    found = (str(config.value(name)).rstrip("/") for name in (*_EXTENSIONS, *_PACKAGES) if name in site.values)
    return tuple(filter(None, found))


def own_sources(own: Own, config: Config) -> Sources:
    """Return the machine's own mirror with its lists, but those in whose place the configuration wants none ("")."""

    def at(uri: str, said: str = "/") -> Address:
        """Return one of its addresses, that of none where nothing is said."""
        return Address(uri if said else "", By.BUILTIN, True, usual=True)

    return Sources(
        at(own.extensions),
        at(own.packages),
        at(f"{own.extensions}/{LISTS['extensions']}", config.mirror_tce_install_list_uri),
        at(f"{own.extensions}/{LISTS['modules']}", config.mirror_kmod_install_list_uri),
        at(f"{own.packages}/{wheel.LIST}", config.mirror_gemlist_uri),
    )


def _mirror(used: Effective, names: tuple[str, ...], own: Own, base: str, problems: list[str]) -> Address:
    """Return the one of two spellings that somebody set, the first of them for a tie."""
    name = max(names, key=lambda each: _RANK[_by(used, each)])
    uri = str(used.config.value(name)).rstrip("/")
    by = _by(used, name)
    if by is By.PUSH and is_link_local(uri):
        problems.append(f"{name}: a server may not name an address of this link, {uri}")
        return Address("", by, False)
    if uri.startswith("/"):
        problems.append(f"{name}: {uri} is no address of a mirror ({used.origins[name]})")
        return Address("", by, False)
    return Address(base, by, True) if own.has(uri) else Address(uri, by, False)


def _list(used: Effective, name: str, default: str, mirror: Address, own: Own, problems: list[str]) -> Address:
    value = str(used.config.value(name))
    by = max(_by(used, name), mirror.by, key=_RANK.__getitem__)
    if value.startswith("/") and not mirror.uri:
        problems.append(f"{name}: there is no mirror that {value} could lie in ({used.origins[name]})")
        return Address("", by, False)
    uri = f"{mirror.uri}{value}" if value.startswith("/") else value
    if uri and uri.rstrip("/") == mirror.uri:
        uri = mirror.uri + default
    elif uri.endswith("/"):
        uri += default.rsplit("/", 1)[-1]
    if by is By.PUSH and is_link_local(uri):
        problems.append(f"{name}: a server may not name an address of this link, {uri}")
        return Address("", by, False)
    usual = uri == mirror.uri + default
    return Address(uri, By.BUILTIN, True, usual) if own.has(uri) else Address(uri, by, False, usual)


def _by(used: Effective, name: str) -> By:
    origin = used.origins[name]
    if origin in (ORIGIN_DEFAULT, ORIGIN_DIALECT):
        return By.BUILTIN
    return By.PUSH if origin == ORIGIN_PUSH else By.SITE


def _is_loopback(host: str) -> bool:
    """Whether a host is an address of loopback, and no name that begins like one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_link_local(uri: str) -> bool:
    """Tell whether an address lies on this link alone, where clouds and management controllers give away secrets, or
    is none that anybody has (0.0.0.0), which leads to this machine.
    """
    try:
        host = urlsplit(uri).hostname or ""
        address = ip_address(host) if ":" in host else parse_inet(host)
    except ValueError:  # none, or a name
        return False
    found = getattr(address, "ipv4_mapped", None) or address
    return bool(found.is_link_local or found.is_unspecified)


def is_number(host: str) -> bool:
    """Tell whether a host is an address in numbers, or `localhost`, which is taken for one; a name otherwise."""
    try:
        return ":" in host or host == "localhost" or bool(parse_inet(host))
    except ValueError:
        return False


def _port(uri: str) -> int:
    """Return the port that an address means, 0 for what is no address."""
    try:
        parts = urlsplit(uri)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return 0
