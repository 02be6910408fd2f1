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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from mkcore import files
from mkcore.errors import BadInput, MkError, NotReady, Untrusted
from mkcore.paths import Paths, paths_under
from mkmirror.formats import tce, wheel
from mkmirror.installed import Installed, build_installed, read_installed
from mkmirror.names import require_name
from mkmirror.requests import Requests, build_requests, read_requests, stem

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
    before = read_installed(paths.installed)
    requests = _read(paths)
    if options.packages:
        wanted = [wheel.parse_wanted(name, "mkmirror install") for name in options.names]
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
    missing = [name for name in names if not _tell_installed(name, before, after)]
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
    kept = [each for each in requests.packages if wheel.parse_wanted(each, "requests").name not in names]
    requests = replace(
        requests,
        install=_without(requests.install, names),
        packages=tuple(kept),
        remove=(*_without(requests.remove, names), *names),
    )
    _write(paths, requests)
    _start(INSTALL, INSTALL_TIMEOUT_S, _say(options))
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
    for line in show(installed, _read(paths)):
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
    return folder.rpartition(".")[0].rpartition("-")[0].lower().replace("_", "-").replace(".", "-") == name


def _found(name: str, installed: Installed) -> list[str]:
    """What is installed under a name, with or without its ending."""
    name = name.replace(tce.KERNEL_MARK, f"-{os.uname().release}")
    extensions = [each for each in installed.extensions if name in (each, stem(each))]
    canonical = name.lower().replace("_", "-").replace(".", "-")
    return extensions + [each for each in installed.packages if canonical == each]


def _refusal(name: str, installed: Installed) -> str:
    for each, refusal in installed.refused.items():
        if name in (each, stem(each)) or stem(name) == each:
            return refusal.reason
    return ""


def _tell_installed(name: str, before: Installed, after: Installed) -> bool:
    """Print what became of one name; return whether it is installed."""
    found = _found(name, after)
    for each in found:
        was = " already" if each in (*before.extensions, *before.packages) else ""
        version = f" {after.packages[each].version}" if each in after.packages else ""
        print(f"{each}{version}: installed{was}")
    if not found:
        print(f"{name}: not installed: {_refusal(name, after) or 'not fetched yet'}")
    return bool(found)


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


def _start(unit: str, timeout_s: float, say: Say, *, again: bool = False) -> bool:
    """Run a oneshot to its end and show how it goes; return whether it ended well. again: a run that is under way is
    stopped first, as it does not know of the request. Raises NotReady where there is no such unit, BusFailed."""
    from mkcore import systemd1

    if systemd1.unit_state_blocking(unit).load != "loaded":
        raise NotReady(f"{unit} is not installed here, or masked")
    who = unit.partition(".")[0]
    result = systemd1.run_oneshot_blocking(unit, timeout_s, lambda text: say(f"{who}: {text}"), again)
    return result is systemd1.JobResult.DONE


VERBS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "install": run_install,
    "remove": run_remove,
    "list": run_list,
}
