"""Asking around what is wanted: the lists of mirrors, the site's configuration, the administrator's requests.

A list that cannot be read costs itself alone. The machine's own lists are always read; those of a mirror elsewhere only
once the caller says that it may be asked.

Source: protocol 5.1, 5.3, 5.4, 5.5; defects B18, B32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Optional

from mkcore.config import Config
from mkcore.errors import BadAnswer, BadInput, MkError, ServerRefused, Unreachable
from mkcore.jsonfields import canonical
from mkmirror import remote
from mkmirror.formats import tce
from mkmirror.remote import join
from mkmirror.requests import Requests
from mkmirror.sources import Address, Sources
from mkmirror.staged import By, Refused
from mkmirror.strict import Way
from mkmirror.wanted import Names, Want, WantedPackage, packages_of, parse_names, parse_package_list

LIST_LIMIT_BYTES = 1 << 20
SITE = "extensions.{} of this site"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModuleList:
    """Modules of one list, by whom, and where it stands."""

    names: tuple[str, ...]
    by: By
    place: str


@dataclass
class Wishes:
    """All that is wanted, in the order of its lists; what in them cannot be; and which mirrors did not answer."""

    extensions: list[Want] = field(default_factory=list[Want])
    modules: list[ModuleList] = field(default_factory=list[ModuleList])
    packages: list[WantedPackage] = field(default_factory=list[WantedPackage])
    refused: list[Refused] = field(default_factory=list[Refused])
    unreachable: list[MkError] = field(default_factory=list[MkError])


def is_temporary(error: MkError) -> bool:
    """Tell whether trying again later can help: the other side was silent, busy or broke off."""
    return isinstance(error, (Unreachable, BadAnswer, ServerRefused)) and remote.may_help(error)


def asker_of(address: Address) -> By:
    """Return who asks for what a list names: the machine for its own lists, a push for all others.

    For a list elsewhere nobody vouches, not even where the site's own file has its address: what comes from there is
    whatever the network says it is, and root, which has no network, could not read it again.
    """
    return By.BUILTIN if address.own else By.PUSH


class Gathering:
    """Collects wishes. proxy: by which lists elsewhere are read, "" for none."""

    def __init__(self, proxy: str = "") -> None:
        self._proxy = proxy
        self.wishes = Wishes()

    def lists(self, sources: Sources, *, own: bool) -> None:
        """Read those of the three lists that are (or are not) this machine's own."""
        for address, take in (
            (sources.extension_list, self._take_extensions),
            (sources.module_list, self._take_modules),
            (sources.package_list, self._take_packages),
        ):
            if address.own is own:
                self._read(address, take)

    def onboot(self, base: str, release: str, build: str, kernel: str) -> None:
        """Read the list of what Tiny Core loads at boot from the machine's own mirror at `base`."""
        try:
            folder = tce.folder(release, build)
        except BadInput as error:
            self.wishes.refused.append(Refused(tce.ONBOOT, By.BUILTIN, f"tce.release, tce.build: {error}"))
            return

        def take(data: bytes, address: Address) -> None:
            """Wish for each name of the list."""
            names = tce.parse_onboot(data.decode("utf-8", "replace"), kernel, address.uri)
            self.wishes.extensions += [Want(name, By.BUILTIN, address.uri) for name in names]

        self._read(Address(join(base, folder, tce.ONBOOT), By.BUILTIN, own=True, usual=True), take)

    def site(self, config: Config) -> None:
        """Take what the site's own configuration wants."""
        place = SITE.format("install")
        self.wishes.extensions += [Want(name, By.SITE, place) for name in config.extensions_install]
        if config.extensions_modules:
            place = SITE.format("modules")
            self._add_modules(_checked(config.extensions_modules, place), By.SITE, place)
        place = SITE.format("packages")
        packages, refused = packages_of([(each, place) for each in config.extensions_packages], By.SITE)
        self._add_packages(packages, refused)

    def administrator(self, requests: Requests, where: str) -> None:
        """Take what the administrator asks for."""
        self.wishes.extensions += [Want(name, By.ADMIN, where) for name in requests.install]
        self._add_packages(*packages_of([(each, where) for each in requests.packages], By.ADMIN))

    def _read(self, address: Address, take: Callable[[bytes, Address], None]) -> None:
        if not address.uri:
            return
        try:
            data = self._ask(address)
            if data is not None:
                take(data, address)
        except MkError as error:
            self._miss(address, error)

    def _ask(self, address: Address) -> Optional[bytes]:
        way = Way(address.by is By.PUSH and not address.own, self._proxy)
        data = remote.read_small(address.uri, LIST_LIMIT_BYTES, way=way)
        if data is None and address.usual:
            log.log(logging.DEBUG if address.own else logging.INFO, "%s: there is no such list", address.uri)
        elif data is None:
            raise BadInput("there is no such list; nothing is installed from it", address.uri)
        return data

    def _miss(self, address: Address, error: MkError) -> None:
        """Note a list that could not be read. The machine's own mirror tells what is wrong with a list of its own."""
        for_good = address.own and isinstance(error, ServerRefused)
        if is_temporary(error) and not for_good:
            self.wishes.unreachable.append(error)
        self.wishes.refused.append(Refused(address.uri, address.by, str(error)))

    def _take_extensions(self, data: bytes, address: Address) -> None:
        names = parse_names(data, address.uri, address.by)
        self.wishes.extensions += [Want(name, asker_of(address), address.uri) for name in names.names]
        self.wishes.refused += names.refused

    def _take_modules(self, data: bytes, address: Address) -> None:
        self._add_modules(parse_names(data, address.uri, address.by), asker_of(address), address.uri)

    def _take_packages(self, data: bytes, address: Address) -> None:
        packages, refused = parse_package_list(data, address.uri, address.by)
        self._add_packages(tuple(replace(each, by=asker_of(address)) for each in packages), refused)

    def _add_modules(self, names: Names, by: By, place: str) -> None:
        self.wishes.refused += names.refused
        if names.names:
            self.wishes.modules.append(ModuleList(names.names, by, place))

    def _add_packages(self, packages: tuple[WantedPackage, ...], refused: tuple[Refused, ...]) -> None:
        self.wishes.packages += packages
        self.wishes.refused += refused


def _checked(names: tuple[str, ...], place: str) -> Names:
    return parse_names(canonical(list(names)), place, By.SITE)
