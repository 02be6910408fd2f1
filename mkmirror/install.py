"""mk-extensions: verify again what mk-fetch staged, install it, and take away what the administrator removed.

The only part of the suite that changes the running system, and one without a network: it reads files, and asks PID 1
for what reaches beyond its own folder. Each request is installed as a whole or not at all, and costs itself alone.
Afterwards /run/mk-extensions/installed.json says what is installed and what was refused. See mk-extensions(8).

Source: protocol 5.3, 5.4, 5.5; B27 to B32 of the originals' defects.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from mkcore import events, files, journal
from mkcore.config import effective
from mkcore.errors import BadInput, MkError
from mkcore.journal import log_event
from mkcore.lifecycle import Notifier
from mkcore.paths import Paths, paths_under
from mkcore.site import read_site
from mkmirror import modules, needed, packages, tce_install, trust
from mkmirror.claims import Claims, What, read_claims
from mkmirror.discarding import discard, forget
from mkmirror.ground import Ground, ground_of
from mkmirror.installed import Installed, Refusal, read_installed, room_bytes, write_installed
from mkmirror.layers import MAP, Layers, Shown
from mkmirror.recording import record, tell
from mkmirror.recovery import recover
from mkmirror.removal import plan_removal
from mkmirror.requests import Requests, read_requests
from mkmirror.staged import LIMIT_BYTES, By, Kind, Modules, Request, Staged, parse_staged
from mkmirror.transaction import Candidate, Transaction, take_in
from mkmirror.verifying import Verifier
from mkmirror.when import detect_virtualization, require_here

COMPONENT = "mk-extensions"
_WORK = "work"

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One run. installed: what is installed, which changes; failures: how much could not be done."""

    paths: Paths
    layers: Layers
    claims: Claims
    ground: Ground
    requests: Requests
    installed: Installed
    say: Notifier
    failures: int = 0

    def save(self) -> None:
        """Write what is installed. Raises OSError."""
        write_installed(self.paths.installed, self.installed)

    def refuse(self, name: str, by: str, reason: str, *, told: bool = False) -> None:
        """Remember why something is not installed; `told`: mk-fetch wrote the event already."""
        before = self.installed.refused.get(name)
        if not told and (before is None or before.reason != reason):
            log_event(log, events.EXTENSION_REFUSED, f"{reason}; it is not installed", extension=name, by=by)
        self.installed = self.installed.refusing(name, Refusal(by, reason, now_usec()))


def now_usec() -> int:
    """Return microseconds since boot, as the journal counts them."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def take_staged(paths: Paths) -> Staged:
    """Return what mk-fetch staged and take the document away, so that it is dealt with once; nothing for none.

    Raises BadInput for a document that mk-fetch would not have written, OSError.
    """
    try:
        with files.open_below(paths.run_fetch, paths.staged.name) as stream:
            data = stream.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        return Staged()
    finally:
        discard(paths.staged)
    if len(data) > LIMIT_BYTES:
        raise BadInput(f"larger than {LIMIT_BYTES} bytes", str(paths.staged))
    return parse_staged(data, str(paths.staged))


def shown_by(installed: Installed) -> Shown:
    """Return what the installed things are as layers; Tiny Core's newest first."""
    by_age = sorted(installed.extensions.items(), key=lambda item: item[1].installed_usec)
    return Shown().plus((*(name for name, _ in by_age), *(each.file for each in installed.packages.values())))


def remove(run: Run) -> None:
    """Take away what the administrator removed. Raises ToolFailed, OSError; it is then tried again in the next run."""
    wheels = packages.read_all(run.layers.run, (each.file for each in run.installed.packages.values()))
    needs = packages.needed_names(wheels, packages.system_version)
    plan = plan_removal(run.installed, run.requests, needs)
    for name, reason in plan.kept.items():
        kept = f"{reason}, so it is not removed"
        before = run.installed.refused.get(name)
        if before is None or before.reason != kept:  # said once, not in each run
            log_event(log, events.EXTENSION_REFUSED, kept, extension=name, by="admin")
        run.refuse(name, "admin", kept, told=True)
    if not plan.files:
        return
    run.say.status(f"Removing {', '.join(plan.files[:8])}")
    old = shown_by(run.installed)
    units = {name: run.installed.extensions[name].units for name in plan.extensions}
    run.layers.change(old, old.minus(plan.files), units)
    for name in (*plan.extensions, *plan.packages):
        run.installed = run.installed.without(name)
        log_event(log, events.EXTENSION_REMOVED, f"{name} is removed, and its units are stopped", extension=name)
    run.save()


def verify(run: Run, staged: Staged) -> list[Candidate]:
    """Return the requests that may be installed, their files in their place; the others are refused."""
    verifier = Verifier(run.paths.run_fetch, run.ground, staged.folders, run.installed.signed)
    taken = {name: each.sha256 for name, each in run.installed.extensions.items()}
    found: list[Candidate] = []
    left_bytes = room_bytes(run.installed)
    for request in staged.requests:
        if _is_removed(run, request):
            log.info("%s was removed by the administrator since it was fetched, and stays away", request.name)
            continue
        candidate = Candidate(request.name, request.by, ())
        try:
            candidate = _verify(run, verifier, request, staged)
            left_bytes -= candidate.record_bytes
            problem = take_in(run.layers, candidate, taken) if left_bytes >= 0 else "more is installed than is allowed"
        except MkError as error:
            problem = str(error)
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        if problem:
            run.refuse(request.name, request.by.value, _named(request.name, problem))
        elif candidate.items:
            found.append(candidate)
    run.installed = replace(run.installed, signed=verifier.signed)
    forget(run.paths.run_fetch, (item for request in staged.requests for item in request.items))
    return found


def _is_removed(run: Run, request: Request) -> bool:
    of_admin = request.by is By.ADMIN and run.claims.is_shown(request.by, request.name, _what(request))
    return run.requests.is_removed(request.name) and not of_admin


def _what(request: Request) -> What:
    return What.PACKAGE if request.items[-1].kind is Kind.WHEEL else What.EXTENSION


def _verify(run: Run, verifier: Verifier, request: Request, staged: Staged) -> Candidate:
    folders = (staged.folders[item.folder] for item in request.items)
    by = run.claims.require(request.by, request.name, _what(request), folders)
    there = {*run.installed.extensions, *(each.file for each in run.installed.packages.values())}
    if by is not By.ADMIN:
        needed.require_not_removed(request, run.requests, there)
    checked = tuple(verifier.check(item) for item in request.items if item.name not in there)
    copies = {each.item.name: (each.item, each.path) for each in checked}
    needs = {name: each.needs for name, each in run.installed.extensions.items()}
    files_of = {name: each.file for name, each in run.installed.packages.items()}
    present = needed.present(run.paths.run_extensions, files_of)
    if by is not By.ADMIN:  # of what was asked for alone, as what is needed comes along wherever that does
        asked = request.items[-1].name
        require_here(next((each.when for each in checked if each.item.name == asked), None), request.name)
    found = needed.read_files(request, copies, run.paths.run_extensions, needs)
    needed.require_needed(request, found, needs, present)
    return Candidate(request.name, by, checked)


def install(run: Run, candidates: Sequence[Candidate]) -> None:
    """Install verified requests. Raises ToolFailed and OSError when the system cannot be put back; what is shown then
    is known, and all else refused.
    """
    if not candidates:
        return
    names = list(dict.fromkeys(name for each in candidates for name in each.names))
    run.say.status(f"Installing {', '.join(names[:8])}{' …' if len(names) > 8 else ''}")
    transaction = Transaction(run.layers, shown_by(run.installed))
    trouble: Optional[Exception] = None
    try:
        transaction.install(candidates)
    except (MkError, OSError) as error:
        trouble = error
        _record_halves(run, candidates, transaction, error)
    by = {each.name: each.by.value for each in candidates}
    for name, reason in transaction.refused.items():
        run.refuse(name, by[name], reason)
    for each in transaction.installed:
        run.installed = record(run.installed, each, transaction, now_usec())
    run.save()  # before anything is started that may take long
    for each in transaction.installed:
        tell(each)
    for name, problem in transaction.bring_up().items():
        log_event(log, events.EXTENSION_TROUBLE, problem, extension=name)
    if trouble is not None:
        raise trouble


def _record_halves(run: Run, candidates: Sequence[Candidate], transaction: Transaction, error: Exception) -> None:
    """Refuse what was neither installed nor refused; what is shown of it all the same is written down, else nobody
    could remove it, or stop its units.
    """
    new = transaction.shown.all - shown_by(run.installed).all
    for each in candidates:
        if each not in transaction.installed and each.name not in transaction.refused:
            shown = replace(each, items=tuple(item for item in each.items if item.item.name in new))
            run.installed = record(run.installed, shown, transaction, now_usec())
            transaction.refused[each.name] = f"{each.name}: the system could not be put back: {error}"


def load_modules(run: Run, wanted: Sequence[Modules]) -> None:
    """Load the kernel modules of lists. Raises OSError when the kernel does not say which ones are loaded."""
    good, too_long = modules.bounded(wanted)
    for each in too_long:
        reason = f"the lists of kernel modules have more than {modules.MAX_ENTRIES} entries with this one"
        run.refuse(each.list or "kernel modules", each.by.value, reason)
    allowed = [replace(each, entries=tuple(e for e in each.entries if _may_load(run, each, e))) for each in good]
    if not any(each.entries for each in allowed):
        return
    try:
        virtual = detect_virtualization()
    except MkError as error:
        log.warning("what this machine runs on is not known: %s", error)
        virtual = ""
    run_dir = run.paths.run_extensions
    brought = [
        modules.Brought(tce_install.place_of(run_dir, name), run.layers.image(name + MAP))
        for name, each in run.installed.extensions.items()
        if each.kind == Kind.TCZ.value and run.layers.image(name + MAP).is_file()
    ]
    done = modules.apply(modules.places(), allowed, brought, run.installed.modules, virtual)
    run.installed = replace(run.installed, modules=modules.remembered(run.installed.modules, done))


def _may_load(run: Run, wanted: Modules, entry: str) -> bool:
    try:
        run.claims.require(wanted.by, entry, What.MODULE)
    except BadInput as error:
        run.refuse(entry, wanted.by.value, str(error))
        return False
    return True


def perform(run: Run) -> None:
    """Do all of it, one step's failure costing that step alone."""
    staged = Staged()
    try:
        staged = take_staged(run.paths)
    except (MkError, OSError) as error:
        run.failures += 1
        log_event(log, events.EXTENSION_REFUSED, f"what was fetched is not used: {error}; nothing is installed of it")
    run.installed = run.installed.accepting(frozenset(staged.cleared))
    for each in staged.refused:
        run.refuse(each.name, each.by.value, each.reason, told=True)
    _step(run, "tidying up", lambda: run.layers.sweep(shown_by(run.installed)))
    _step(run, "removing", lambda: remove(run))
    _step(run, "installing", lambda: install(run, verify(run, staged)))
    _step(run, "loading modules", lambda: load_modules(run, staged.modules))
    _step(run, "tidying up", lambda: _tidy(run))
    run.save()


def _step(run: Run, what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except (MkError, OSError) as error:
        run.failures += 1
        log_event(log, events.EXTENSION_TROUBLE, f"{what} failed: {error}; the rest goes on")


def _tidy(run: Run) -> None:
    files.remove_tree(run.ground.work)
    run.layers.sweep(shown_by(run.installed))


def prepare(paths: Paths, root: Path, say: Notifier) -> Run:
    """Read all that a run needs to know. Raises BadInput, OSError."""
    site = read_site(paths)
    config = effective(site, {}, {}).config
    journal.set_level(config.log_level)
    files.make_dir(paths.run_extensions)
    work = paths.run_extensions / _WORK
    files.remove_tree(work)  # of a run that was killed
    files.make_dir(work, 0o700)
    try:
        requests = read_requests(paths.requests)
    except BadInput as error:
        log.warning("%s; the administrator's requests are not known", error)
        requests = Requests()
    try:
        installed = read_installed(paths.installed)
    except BadInput as error:
        log_event(
            log, events.STATE_RECOVERED, f"{error}; what is installed is found out anew", path=str(paths.installed)
        )
        installed = recover(Layers(paths.run_extensions, root), paths.installed)
    trees = (paths.mirror_admin, paths.mirror)
    folders = [root / each.lstrip("/") for each in trust.KEY_FOLDERS]
    keys = trust.usable_keys(trust.key_files(folders, paths.credentials), lambda text: log.warning("%s", text))
    ground = ground_of(site, config, keys, trees, work)
    claims = read_claims(site, config, requests, trees)
    return Run(paths, Layers(paths.run_extensions, root), claims, ground, requests, installed, say)


def _named(name: str, problem: str) -> str:
    return problem if name in problem else f"{name}: {problem}"


def main(argv: Sequence[str] = ()) -> int:
    """Run mk-extensions; return its exit status. argv: `--root DIR` for a system below a folder."""
    root = argv[1] if len(argv) == 2 and argv[0] == "--root" else ""
    journal.setup("INFO", component=COMPONENT)
    say = Notifier()
    try:
        run = prepare(paths_under(root), Path(root or "/"), say)
        perform(run)
    except (MkError, OSError) as error:
        log.error("%s; nothing more is installed", error)
        say.status(f"Failed: {error}")
        return error.exit_status if isinstance(error, MkError) else 74
    say.status(_summary(run.installed))
    return 1 if run.failures else 0


def _summary(installed: Installed) -> str:
    counts: Mapping[str, int] = {
        "extensions": len(installed.extensions),
        "packages": len(installed.packages),
        "refused": len(installed.refused),
    }
    return "Installed: " + ", ".join(f"{count} {what}" for what, count in counts.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
