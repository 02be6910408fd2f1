"""One run of mk-fetch: from the configuration to the staged files and the document that names them.

First everything is planned, then what nobody wants any more is removed, then the files are brought, request by request.
Whatever goes wrong costs one request; a mirror that does not answer is a reason to run again later, and what the others
have is staged all the same.

Source: protocol 5.3 to 5.5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Union

from mkcore.config import Effective
from mkcore.errors import MkError
from mkmirror import trust
from mkmirror.bringing import Bringer, Teller
from mkmirror.formats import kmod
from mkmirror.gather import Gathering, Wishes, is_temporary
from mkmirror.installed import Installed
from mkmirror.needed import require_not_removed
from mkmirror.offers import Folder, Layout, Mirror, Trusting
from mkmirror.package_plan import PackagePlanner, Provided
from mkmirror.planning import Planner, beside
from mkmirror.remote import Fetching
from mkmirror.requests import Requests, stem
from mkmirror.sources import Address, Own, find_sources, own_sources
from mkmirror.staged import MAX_MODULES, By, Kind, Modules, Refused, Request, Staged
from mkmirror.staging import Staging
from mkmirror.strict import Way
from mkmirror.wanted import Want, WantedPackage, merge_packages, merge_wants, modules_of

MAX_TOLD = 200
"""So many new refusals mk-extensions hears of in one run."""

_HANDLED = ("loaded", "replaced", "kept")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What of this machine matters: kernel by `uname -r`, architecture by `uname -m`, what it runs on, its Python."""

    kernel: str
    architecture: str
    virtualization: Callable[[], str]
    provided: Provided


@dataclass(frozen=True)
class Said:
    """All that was said to this machine: configuration, what is installed, what the administrator asks for (and in
    which file), its own mirror's addresses, and whether another mirror may be asked yet.
    """

    used: Effective
    installed: Installed
    requests: Requests
    requests_file: str
    own: Own
    use_remote: bool


@dataclass(frozen=True)
class Result:
    """What a run came to: what is staged; all refusals; why it has to be repeated; problems of the configuration."""

    staged: Staged
    refused: tuple[Refused, ...]
    unreachable: tuple[str, ...]
    problems: tuple[str, ...]


class Run:
    """One run. `keys` are the trusted ones; `run_fetch` is the folder for all that is written."""

    def __init__(
        self, said: Said, machine: Machine, run_fetch: Path, keys: Sequence[Path], how: Fetching, teller: Teller
    ) -> None:
        config = said.used.config
        self._said = said
        self._config = config
        self._machine = machine
        self._sources = find_sources(said.used, said.own)
        self._own = own_sources(said.own, config)
        mode = trust.Verify(config.extensions_verify)
        way = Way(proxy=config.extensions_proxy)
        self._trusting = Trusting(mode, keys, run_fetch / "work", said.installed.signed, way=way)
        self._layout = Layout(config.tce_release, config.tce_build or machine.architecture, machine.architecture)
        self._mirrors: dict[str, Mirror] = {}
        self._staging = Staging(run_fetch, config.extensions_staging_limit_mb * 1_000_000, how)
        self._teller = teller
        self._bringer = Bringer(self._staging, teller)
        self._requests: dict[str, Request] = {}
        self._refused: dict[str, Refused] = {}
        self._unreachable: dict[str, None] = {}

    def perform(self) -> Result:
        """Do it. Raises OSError when the staging folder cannot be used at all."""
        self._teller.say("Asking what is wanted")
        wishes = self._gather()
        self._refuse(*wishes.refused)
        self._unreachable.update((str(each), None) for each in wishes.unreachable)
        self._plan(wishes)
        self._staging.withdraw()
        self._staging.prune(self._kept(self._requests.values()))
        complete = tuple(found for found in map(self._bring, self._near_first()) if found is not None)
        modules = self._plan_modules(wishes, anything=bool(complete))
        refused = tuple(self._refused.values())
        used = {item.folder for request in complete for item in request.items}
        folders = {name: each.model for name, each in self._folders().items() if name in used}
        told = [each for each in refused if self._is_news(each)]
        told.sort(key=lambda each: each.by is By.PUSH)  # what a server says shall not hide what the machine says
        staged = Staged(folders, complete, modules, tuple(told[:MAX_TOLD]))
        staged = self._staging.publish(replace(staged, cleared=self._cleared(staged)))
        if not self._unreachable:
            self._staging.prune(self._kept(staged.requests))
        return Result(staged, refused, tuple(self._unreachable), self._sources.problems)

    def _gather(self) -> Wishes:
        """Ask for all wishes, the machine's own lists first."""
        gathering = Gathering(self._config.extensions_proxy)
        gathering.lists(self._own, own=True)
        gathering.onboot(self._said.own.extensions, self._config.tce_release, self._layout.build, self._machine.kernel)
        gathering.site(self._config)
        gathering.administrator(self._said.requests, self._said.requests_file)
        if self._said.use_remote:
            gathering.lists(self._sources, own=False)
        return gathering.wishes

    def _plan(self, wishes: Wishes) -> None:
        installed = self._said.installed
        allow, detect = self._config.extensions_allow, self._machine.virtualization
        planner = Planner(self._layout, self._machine.kernel, installed.extensions, allow, detect, self._pushed())
        for want in merge_wants(wishes.extensions, self._said.requests):
            self._plan_extension(planner, want)
        versions = {name: each.version for name, each in installed.packages.items()}
        packages = PackagePlanner(versions, self._machine.provided, self._bringer.wheel)
        for package in merge_packages(wishes.packages, self._said.requests):
            self._plan_package(planner, packages, package)

    def _plan_extension(self, planner: Planner, want: Want) -> None:
        try:
            mirrors = self._where(self._sources.extensions, self._own.extensions, want.by)
            request = planner.plan(want, mirrors)
            if request is not None:
                self._require_wanted(request)
                self._requests.setdefault(request.name, request)
        except MkError as error:
            self._fail(want, error, self._sources.extensions)

    def _plan_package(self, planner: Planner, packages: PackagePlanner, want: WantedPackage) -> None:
        try:
            planner.require_allowed(want.wanted.name, want.by)
            mirrors = self._where(self._sources.packages, self._own.packages, want.by)
            planned = packages.plan(want.wanted, want.by, mirrors)
            if planned is not None:
                request = planner.judge(planned.request, planned.mirror)
                self._require_wanted(request)
                self._requests[request.name] = request
                self._bringer.uris.update(planned.uris)
        except MkError as error:
            self._fail(want, error, self._sources.packages)

    def _require_wanted(self, request: Request) -> None:
        """Raise BadInput when somebody else than the administrator wants what needs something that he removed."""
        if request.by is not By.ADMIN:
            require_not_removed(request, self._said.requests)

    def _pushed(self) -> tuple[str, ...]:
        """Return the mirrors that a push chose."""
        chosen = (self._sources.extensions, self._sources.packages)
        return tuple(each.uri for each in chosen if each.by is By.PUSH and not each.own)

    def _where(self, chosen: Address, own: Address, by: By) -> list[Mirror]:
        """Return where to look: for what the machine itself lists in its own mirror first, else where it was said.

        What the site wants is no server's to replace: before a mirror that a push chose comes the machine's own.
        """
        addresses = [own]
        if self._said.use_remote and chosen.uri and not chosen.own:
            is_own_first = by is By.BUILTIN or (by is By.SITE and chosen.by is By.PUSH)
            addresses = [own, chosen] if is_own_first else [chosen, own]
        return [self._mirror(each) for each in addresses]

    def _mirror(self, address: Address) -> Mirror:
        trusting = self._trusting
        if address.by is not By.SITE:  # a site that does without signatures says so of its own mirrors
            trusting = replace(trusting, mode=trust.Verify.SIGNATURE)
        strict = address.by is By.PUSH and not address.own
        trusting = replace(trusting, way=replace(trusting.way, strict=strict))
        return self._mirrors.setdefault(address.uri, Mirror(address.uri, address.own, trusting))

    def _folders(self) -> dict[str, Folder]:
        return {folder.id: folder for mirror in self._mirrors.values() for folder in mirror.folders}

    def _kept(self, requests: Iterable[Request]) -> Mapping[str, set[str]]:
        """Return the names of all files that requests need, by folder."""
        folders, found = self._folders(), dict[str, set[str]]()
        for item in (item for request in requests for item in request.items):
            names = found.setdefault(item.folder, {trust.SUMS, trust.SIGNATURE})
            names.add(item.name)
            if item.kind is not Kind.WHEEL:
                names.update(beside(folders[item.folder], item.name))
        return found

    def _near_first(self) -> list[Request]:
        """Return the requests in the order to bring them: a slow mirror shall not keep the machine's own waiting."""
        folders = self._folders()
        return sorted(self._requests.values(), key=lambda each: not folders[each.items[0].folder].mirror.own)

    def _bring(self, request: Request) -> Optional[Request]:
        try:
            return self._bringer.request(request, self._folders())
        except MkError as error:
            self._note(request.name, request.by, error)
            return None

    def _fail(self, want: Union[Want, WantedPackage], error: MkError, chosen: Address) -> None:
        """Note what cannot be planned; as long as only the machine's own mirror is asked, the other one may have it."""
        name = want.name if isinstance(want, Want) else want.wanted.name
        if not self._said.use_remote and chosen.uri and not chosen.own:
            log.info("%s waits until %s may be asked: %s", name, chosen.uri, error)
        else:
            self._note(name, want.by, error)

    def _note(self, name: str, by: By, error: MkError) -> None:
        if is_temporary(error):
            self._unreachable[str(error)] = None
        self._refuse(Refused(name, by, str(error)))

    def _refuse(self, *refused: Refused) -> None:
        self._refused.update((each.name, each) for each in refused)

    def _is_news(self, refused: Refused) -> bool:
        """Whether mk-extensions should hear of a refusal: not again and again of the same one."""
        known = self._said.installed.refused.get(refused.name)
        return known is None or (known.reason != refused.reason and not self._unreachable)

    def _cleared(self, staged: Staged) -> tuple[str, ...]:
        """Return what was refused before and is not any more; nothing as long as not every mirror was heard."""
        if self._unreachable or not self._said.use_remote:
            return ()
        current = {*self._refused, *(stem(each.name) for each in staged.requests)}
        current.update(entry for each in staged.modules for entry in each.entries)
        return tuple(name for name in self._said.installed.refused if not current & {name, stem(name)})

    def _plan_modules(self, wishes: Wishes, *, anything: bool) -> tuple[Modules, ...]:
        """Return the modules to load: not those that were handled in this boot, and those that were not there only when
        something is installed that may bring them. A list with which they would be more than MAX_MODULES is left out.
        """
        known = self._said.installed.modules
        done = [name for name, each in known.items() if each.state in _HANDLED or not anything]
        removed = [kmod.module_name(name) for name in self._said.requests.remove]
        found: list[Modules] = []
        for each in wishes.modules:
            allow = self._config.extensions_allow
            if sum(len(other.entries) for other in found) + len(each.names) > MAX_MODULES:
                reason = f"{each.place}: more than {MAX_MODULES} modules in all; none of this list is loaded"
                self._refuse(Refused(each.place, each.by, reason))
                continue
            modules, refused = modules_of(each.names, each.by, each.place, allow, [*done, *removed])
            self._refuse(*refused)
            if modules.entries:
                found.append(modules)
        return tuple(found)
