"""The program mk-fetch: what it is told, one run, and how that ended. See mk-fetch(8).

It has the network and no rights at all; what it stages is checked again by mk-extensions, which has rights and no
network. Until mkctl has checked in, only the machine's own mirror is asked, since until then a server may still say
that another one is to be used.

Source: protocol 5.3 to 5.5; sysexits.h for the exit status 75.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from mkcore import config, events, files, journal, systemd1
from mkcore.config import Effective
from mkcore.errors import BadInput, BusFailed, MkError, NotReady
from mkcore.jsonfields import Json
from mkcore.lifecycle import Notifier
from mkcore.paths import Paths, paths_under
from mkmirror import trust
from mkmirror.bringing import Teller
from mkmirror.fetching import Machine, Result, Run, Said
from mkmirror.formats import wheel
from mkmirror.installed import Installed, read_installed
from mkmirror.pauses import FILE, Pauses, fingerprint
from mkmirror.remote import Fetching
from mkmirror.requests import Requests, read_requests
from mkmirror.sources import Own
from mkmirror.staged import By, Refused
from mkmirror.when import detect_virtualization

PUSHED_LIMIT_BYTES = 8 << 20
CONTROLLER = "org.mksuite.Controller1"
CONTROLLER_PATH = "/org/mksuite/Controller1"
CONTROLLER_UNIT = "mkctl.service"
OS_ERROR = 74  # EX_IOERR
RUN_S = 2700.0
"""So long a run may take: less than TimeoutStartSec=, so that what there is by then is handed over."""
MAX_LINES = 100
"""So many refusals of one run get a line of their own in the journal."""

log = logging.getLogger("mk-fetch")


def main(arguments: Sequence[str]) -> int:
    """Run once; return 0, or 75 when a mirror did not answer and a later run can do better."""
    options = _parse(arguments)
    journal.setup("INFO", component="mk-fetch")
    notifier = Notifier()
    try:
        paths = paths_under(options.root)
        remote = options.remote or may_use_remote()
        pauses = Pauses(paths.run_fetch / FILE, fingerprint(asked_in(paths), credentials_in(paths), remote=remote))
        left_s = pauses.left_s()
        if left_s:
            notifier.status(f"A mirror did not answer; it is asked again in {left_s:.0f} s")
            return NotReady.exit_status
        own = Own(options.own_extensions or Own.extensions, options.own_packages or Own.packages)
        said = _listen(paths, own, remote=remote)
        end = time.monotonic() + RUN_S
        how = Fetching(retrying=_retrying, left_s=lambda: end - time.monotonic())
        run = Run(said, _machine(), paths.run_fetch, _keys(paths), how, Teller(notifier.status))
        try:
            _make_work(paths.run_fetch)
            result = run.perform()
        finally:
            files.remove_tree(paths.run_fetch / "work")
        pauses.note(failed=bool(result.unreachable))
    except MkError as error:
        log.error("%s; nothing more is fetched", error)
        return error.exit_status
    except OSError as error:
        log.error("%s: %s; nothing more is fetched", error.filename or "staging", error.strerror)
        return OS_ERROR
    notifier.status(report(result))
    return NotReady.exit_status if result.unreachable else 0


def asked_in(paths: Paths) -> list[Path]:
    """Return the files that say what is wanted, where it is, and whose signatures count."""
    folders = [paths.etc / "mk.toml.d", paths.mirror_admin / "tinycorelinux", *_key_folders(paths)]
    inside = [folder / name for folder in folders for name in files.list_names(folder)]
    return [
        paths.requests,
        paths.pushed,
        paths.etc / "mk.toml",
        paths.mirror_admin / "gem-mirror" / wheel.LIST,
        *folders,
        *inside,
    ]


def credentials_in(paths: Paths) -> list[Path]:
    """Return the credentials of this service: the site's own words, and keys that it trusts."""
    folder = paths.credentials
    return [folder / name for name in files.list_names(folder)] if folder.parts else []


def _key_folders(paths: Paths) -> list[Path]:
    return [paths.lib / "trust.d", paths.etc / "trust.d"]


def report(result: Result) -> str:
    """Write what a run came to into the journal, a line for each refusal; return it in one sentence."""
    for problem in result.problems:
        log.warning("%s", problem)
    for_good = [each for each in result.refused if each.reason not in result.unreachable]
    for each in sorted(for_good, key=lambda each: each.by is By.PUSH)[:MAX_LINES]:
        _report_refusal(each, is_news=each in result.staged.refused)
    if len(for_good) > MAX_LINES:
        log.warning("%d more are left out", len(for_good) - MAX_LINES)
    for reason in result.unreachable:
        journal.log_event(log, events.MIRROR_UNREACHABLE, f"{reason}; tried again later")
    names = [each.name for each in result.staged.requests]
    modules = sum(len(each.entries) for each in result.staged.modules)
    parts = [
        f"Staged {', '.join(names[:8])}{' …' if len(names) > 8 else ''}" if names else "Nothing new is wanted",
        f"{modules} kernel modules to load" if modules else "",
        f"{len(result.refused)} refused" if result.refused else "",
        "a mirror did not answer" if result.unreachable else "",
    ]
    sentence = ", ".join(filter(None, parts))
    log.info("%s", sentence)
    return sentence


def _report_refusal(refused: Refused, *, is_news: bool) -> None:
    """Write one refusal as an event; what mk-extensions knows already is only mentioned."""
    message = refused.reason if refused.name in refused.reason else f"{refused.name}: {refused.reason}"
    text = f"{message}; it is left out ({refused.by.value})"
    if is_news:
        fields = {"extension": refused.name, "by": refused.by.value}
        journal.log_event(log, events.EXTENSION_REFUSED, text, **fields)
    else:
        log.info("%s", text)


def read_used(paths: Paths) -> Effective:
    """Return the configuration in use: the site's, and on top the pushed one, or the one before where that is damaged.

    Problems are logged; nothing is raised. The dialect does not matter here: no dialect's defaults lead elsewhere.
    """
    used = config.effective(config.read_site(paths), _read_pushed(paths), {})
    for problem in used.problems:
        log.warning("%s", problem)
    return used


def _read_pushed(paths: Paths) -> dict[str, Json]:
    try:
        return _read_map(paths.pushed)
    except (BadInput, OSError) as error:
        log.warning("%s; the configuration pushed before it is used", error)
    try:
        return _read_map(paths.pushed_previous)
    except (BadInput, OSError) as error:
        log.warning("%s; the site's configuration alone is used", error)
    return {}


def _read_map(path: Path) -> dict[str, Json]:
    try:
        return files.read_object(path, PUSHED_LIMIT_BYTES)
    except FileNotFoundError:
        return {}


def _listen(paths: Paths, own: Own, *, remote: bool) -> Said:
    requests, installed = Requests(), Installed()
    try:
        requests = read_requests(paths.requests)
    except (BadInput, OSError) as error:
        log.warning("%s; what an administrator asks for is left out", error)
    try:
        installed = read_installed(paths.installed)
    except (BadInput, OSError) as error:
        log.warning("%s; all that is wanted is fetched again", error)
    asked = bool(requests.install or requests.packages)
    return Said(read_used(paths), installed, requests, str(paths.requests), own, remote or asked)


def may_use_remote(address: str = "") -> bool:
    """Tell whether mirrors elsewhere may be asked: mkctl has checked in, or there is none on this machine.

    address: of the bus, "" for the system's. A bus that cannot be asked leaves the machine's own mirror alone.
    """
    try:
        if systemd1.unit_state_blocking(CONTROLLER_UNIT, address).load == "not-found":
            return True
        found = systemd1.get_property_blocking(CONTROLLER, CONTROLLER_PATH, CONTROLLER, "LastCheckinUSec", address)
    except BusFailed as error:
        log.info("%s: only the machine's own mirror is asked until mkctl has checked in", error)
        return False
    return isinstance(found, int) and found > 0


def _keys(paths: Paths) -> list[Path]:
    keys = trust.key_files(_key_folders(paths), paths.credentials if paths.credentials.parts else None)
    return trust.usable_keys(keys, lambda text: log.warning("%s", text))


def _make_work(run_fetch: Path) -> None:
    files.make_dir(run_fetch)
    files.remove_tree(run_fetch / "work")
    files.make_dir(run_fetch / "work", 0o700)


def _machine() -> Machine:
    kernel = os.uname()
    return Machine(kernel.release, kernel.machine, detect_virtualization, _provided)


def _provided(name: str) -> str:
    """Return the version of a Python package that this system has, "" for none."""
    try:
        return metadata.version(name) or ""
    except (metadata.PackageNotFoundError, KeyError):  # none, or one without a version
        return ""


def _retrying(text: str) -> None:
    log.warning("%s", text)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mk-fetch", description="Fetch the extensions that this machine shall have.")
    parser.add_argument("--remote", action="store_true", help="ask mirrors elsewhere whether or not mkctl checked in")
    for name in ("--root", "--own-extensions", "--own-packages"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
