"""The verbs of `mkmirror` on the node itself: install, remove, list, verify what is installed.

They do none of it: a request is written to a file and the two services are started, so that a person's installation
takes exactly the way of every other one. What became of it is read from installed.json, in one line a name. Whoever may
not write the file may not ask either, and is told so. Source: mk-fetch(8), mk-extensions(8).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from packaging.utils import canonicalize_name

from mkcore import files
from mkcore.errors import BadInput, MkError, NotReady, Untrusted
from mkcore.paths import Paths, paths_under
from mkmirror.formats import tce, wheel
from mkmirror.installed import Installed, Refusal, build_installed, read_installed
from mkmirror.names import require_name
from mkmirror.requests import Requests, build_requests, read_requests, stem
from mkmirror.staged import By

FETCH, INSTALL = "mk-fetch.service", "mk-extensions.service"
FETCH_TIMEOUT_S = 3700.0
INSTALL_TIMEOUT_S = 1200.0

Say = Callable[[str], None]


class NotDone(MkError):
    """Something of what was asked for is not so; each has its own line."""

    exit_status = 73


class NotAllowed(MkError):
    """Who asks may not."""

    exit_status = 77


class Later(NotReady):
    """A mirror could not be reached; the service tries again by itself."""


def run_install(options: argparse.Namespace) -> None:
    """`mkmirror install`: write the request, have it fetched and installed, tell what became of each name."""
    paths = paths_under(options.root)
    before, began_usec = read_installed(paths.installed), time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    requests = _read(paths)
    wanted = [wheel.parse_wanted(name, "mkmirror install") for name in options.names] if options.packages else []
    if options.packages:
        names = [each.name for each in wanted]
        kept = [each for each in requests.packages if wheel.parse_wanted(each, "requests").name not in names]
        requests = replace(requests, packages=(*kept, *map(str, wanted)), remove=_without(requests.remove, names))
    else:
        names = [require_name(name, "mkmirror install") for name in options.names]
        requests = replace(
            requests,
            install=(*_without(requests.install, names), *names),
            remove=_without(requests.remove, names),
        )
    _write(paths, requests)
    say = _say(options)
    fetched = _start(FETCH, FETCH_TIMEOUT_S, say, again=True)
    installed_well = _start(INSTALL, INSTALL_TIMEOUT_S, say)
    after = read_installed(paths.installed)
    outcome = Outcome(before, after, {each.name: each for each in wanted}, began_usec)
    missing = [name for name in names if not outcome.tell(name)]
    if missing and not fetched:
        raise Later(f"{', '.join(missing)}: not every mirror could be reached ({FETCH} goes on trying)")
    if missing:
        rest = "" if installed_well else f"; {INSTALL} failed"
        raise NotDone(f"{len(missing)} of {len(names)} not installed (journalctl -u mk-fetch -u mk-extensions){rest}")


def run_remove(options: argparse.Namespace) -> None:
    """`mkmirror remove`: write the request, have it removed, tell what became of each name."""
    paths = paths_under(options.root)
    before = read_installed(paths.installed)
    requests = _read(paths)
    given = [require_name(name, "mkmirror remove") for name in options.names]
    names = [each for name in given for each in _found(name, before) or [name]]
    gone = list(dict.fromkeys(each for name in names for each in _spellings(name, before)))
    kept = [each for each in requests.packages if wheel.parse_wanted(each, "requests").name not in gone]
    requests = replace(
        requests,
        install=_without(requests.install, names),
        packages=tuple(kept),
        remove=(*_without(requests.remove, gone), *gone),
    )
    _write(paths, requests)
    _start(INSTALL, INSTALL_TIMEOUT_S, _say(options), after_another=True)
    after = read_installed(paths.installed)
    left = [name for name in names if _found(name, after)]
    for name in names:
        if name in left:
            print(f"{name}: is still installed: {_refusal(name, after) or f'see journalctl -u {INSTALL}'}")
        else:
            print(f"{name}: {'removed' if _found(name, before) else 'was not installed; lists leave it alone now'}")
    if left:
        raise NotDone(f"{len(left)} of {len(names)} not removed")


def run_list(options: argparse.Namespace) -> None:
    """`mkmirror list`: what is installed, what was refused and why, what was asked for and is not there yet."""
    paths = paths_under(options.root)
    installed = read_installed(paths.installed)
    if options.json:
        print(json.dumps(build_installed(installed), indent=1, sort_keys=True))
        return
    lines = show(installed, _read(paths))
    if not lines:
        print("mkmirror: nothing is installed, and nothing waits to be", file=sys.stderr)
    for line in lines:
        print(line)


def show(installed: Installed, requests: Requests) -> list[str]:
    """Lay it out for people: one line each."""
    rows: list[tuple[str, str, str]] = []
    for name, each in sorted(installed.extensions.items()):
        signed = f", signed by {each.signed_by[-16:]}" if each.signed_by else ""
        rows.append((name, each.kind, f"asked for by {each.by}, from {each.mirror or 'this machine'}{signed}"))
    for name, package in sorted(installed.packages.items()):
        origin = f"asked for by {package.by}, from {package.mirror or 'this machine'}"
        rows.append((name, f"package {package.version}", origin))
    for name, module in sorted(installed.modules.items()):
        rows.append((name, f"module {module.state}", module.reason or f"asked for by {module.by}"))
    rows += [(name, "refused", each.reason) for name, each in sorted(installed.refused.items())]
    packages = [wheel.parse_wanted(each, "requests").name for each in requests.packages]
    waiting = [each for each in (*requests.install, *packages) if not _found(each, installed)]
    rows += [(name, "waiting", f"see systemctl status {FETCH}") for name in waiting if not _refusal(name, installed)]
    wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [f"{name:{wide[0]}}  {what:{wide[1]}}  {text}" for name, what, text in rows]


def verify_installed(name: str, paths: Paths) -> list[str]:
    """Check that what is installed under `name` still is what was verified; return a line for each that is.

    Raises BadInput when nothing of this name is installed, Untrusted for the first that differs.
    """
    from mkmirror import merge, trust

    installed = read_installed(paths.installed)
    found = _found(name, installed)
    if not found:
        raise BadInput("is neither a folder nor installed on this machine", name)
    lines: list[str] = []
    for each in found:
        if each in installed.packages:
            lines.append(f"{each}: {_verify_package(paths, each, installed.packages[each].version)}")
            continue
        extension = installed.extensions[each]
        digest = trust.digest_file(paths.run_extensions / merge.IMAGES / each)
        if digest != extension.sha256:
            raise Untrusted(f"{each}: its SHA-256 is {digest[:16]}…, {extension.sha256[:16]}… was installed")
        lines.append(f"{each}: {_vouched(extension.signed_by, extension.mirror)}")
    return lines


def _vouched(signed_by: str, mirror: str) -> str:
    by = f"signed by {signed_by}" if signed_by else "trusted as it was installed"
    return f"as it was installed, from {mirror or 'this machine'}, {by}"


def _verify_package(paths: Paths, name: str, version: str) -> str:
    """Check a package's files against its RECORD. Raises Untrusted, BadInput."""
    import hashlib

    from mkmirror import packages, unpack

    library = packages.library_of(paths.run_extensions)
    folders = [each for each in library.glob("*.dist-info") if _is_info_of(each.name, name)]
    if not folders:
        raise Untrusted(f"{name}: its files are gone from {library}")
    record = unpack.parse_record(files.read_text(folders[0] / "RECORD", 16 << 20), f"{name}: RECORD")
    count = 0
    for inside, (algorithm, digest, _) in record.items():
        if algorithm and ".data/" not in inside:
            path = library / inside
            if not path.is_file() or hashlib.new(algorithm, path.read_bytes()).digest() != digest:
                raise Untrusted(f"{name}: {inside} is not as it was installed")
            count += 1
    return f"{version}, {count} files as they were installed"


def _is_info_of(folder: str, name: str) -> bool:
    return _canonical(folder.rpartition(".")[0].rpartition("-")[0]) == name


def _canonical(name: str) -> str:
    """The name of a package in the spelling in which it is installed and asked for."""
    return str(canonicalize_name(name))


def _found(name: str, installed: Installed) -> list[str]:
    """What is installed under a name, with or without its ending."""
    name = name.replace(tce.KERNEL_MARK, f"-{os.uname().release}")
    extensions = [each for each in installed.extensions if name in (each, stem(each))]
    return extensions + [each for each in installed.packages if _canonical(name) == each]


def _spellings(name: str, installed: Installed) -> list[str]:
    """Return what a name to be removed stands for: one that nothing installed has may be a package's, too."""
    canonical = _canonical(name)
    is_plain = stem(name) == name and not _found(name, installed) and not _found(canonical, installed)
    return [name, canonical] if is_plain else [name]


def _refused(name: str, installed: Installed) -> Optional[Refusal]:
    refused = installed.refused.items()
    return next((found for each, found in refused if name in (each, stem(each)) or stem(name) == each), None)


def _refusal(name: str, installed: Installed) -> str:
    found = _refused(name, installed)
    return found.reason if found is not None else ""


@dataclass(frozen=True)
class Outcome:
    """What became of a call: what was installed before and after it, packages as they are wanted, when it began."""

    before: Installed
    after: Installed
    wanted: Mapping[str, wheel.Wanted]
    began_usec: int

    def tell(self, name: str) -> bool:
        """Print what became of one name; return whether what was asked for is installed."""
        found = _found(name, self.after)
        problem = self._problem(name) if found else _refusal(name, self.after) or "not fetched yet"
        if problem:
            print(f"{name}: not installed: {problem}")
            return False
        for each in found:
            was = " already" if _file(each, self.before) == _file(each, self.after) else ""
            version = f" {self.after.packages[each].version}" if each in self.after.packages else ""
            print(f"{each}{version}: installed{was}")
        return True

    def _problem(self, name: str) -> str:
        """Say why what is installed under a name is not what was asked for, "" when it is."""
        refusal = _refused(name, self.after)
        if refusal is not None and refusal.by == By.ADMIN.value and refusal.at_usec >= self.began_usec:
            return refusal.reason
        package, wanted = self.after.packages.get(name), self.wanted.get(name)
        if package is None or wanted is None or wanted.versions.contains(package.version, prereleases=True):
            return ""
        return _refusal(name, self.after) or f"{package.version} is there, {wanted} is wanted"


def _file(name: str, installed: Installed) -> tuple[str, ...]:
    """Return what tells the file that is installed under a name from another one, () for none."""
    package, extension = installed.packages.get(name), installed.extensions.get(name)
    if package is not None:
        return (package.file, package.sha256)
    return (extension.kind, extension.sha256) if extension is not None else ()


def _without(names: Iterable[str], gone: Sequence[str]) -> tuple[str, ...]:
    stems = {stem(each) for each in gone}
    return tuple(each for each in names if stem(each) not in stems)


def _read(paths: Paths) -> Requests:
    return read_requests(paths.requests)


def _write(paths: Paths, requests: Requests) -> None:
    """Write the request. Raises NotAllowed for who is not root."""
    try:
        files.make_dir(paths.requests.parent)
        files.write_json(paths.requests, build_requests(requests))
    except PermissionError:
        raise NotAllowed("only root can have something installed or removed") from None


def _say(options: argparse.Namespace) -> Say:
    return (lambda _: None) if options.quiet else (lambda text: print(text, file=sys.stderr))


def _start(unit: str, timeout_s: float, say: Say, *, again: bool = False, after_another: bool = False) -> bool:
    """Run a oneshot to its end and show how it goes; return whether it ended well.

    A run that is under way does not know of the request: again stops it first, after_another waits for its end. Raises
    NotReady where there is no such unit, BusFailed.
    """
    from mkcore import systemd1

    state = systemd1.unit_state_blocking(unit)
    if state.load != "loaded":
        raise NotReady(f"{unit} is not installed here, or masked")
    who = unit.partition(".")[0]
    if after_another and state.active == "activating":
        systemd1.run_oneshot_blocking(unit, timeout_s, lambda text: say(f"{who}: {text}"))
    result = systemd1.run_oneshot_blocking(unit, timeout_s, lambda text: say(f"{who}: {text}"), again)
    return result is systemd1.JobResult.DONE


VERBS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "install": run_install,
    "remove": run_remove,
    "list": run_list,
}
