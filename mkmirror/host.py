"""What mk-extensions asks of the host: run a program, mount, unmount, start and stop units, merge extensions.

The service itself is sandboxed and changes nothing but its own folder. Whatever reaches further is done by PID 1, in
transient units of the host's namespaces, so each step stands in the journal under a unit of its own, has a time limit
there, and is over when it is over. What was mounted so is seen in the sandbox, since its mounts follow the host's.

Source: systemd-run(1), mount(8), fstab(5), systemd-sysext(8), mount_namespaces(7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore import files, proc
from mkcore.errors import BadInput, ToolFailed
from mkcore.jsonfields import parse_json
from mkmirror.formats.sysext import Kind

MOUNT_TIMEOUT_S = 60.0
UNIT_TIMEOUT_S = 90.0
MERGE_TIMEOUT_S = 180.0
NOT_MOUNTED = "mount reported no error, and yet it is not mounted"
_ANSWER_S = 30.0  # for PID 1 itself, on top of what the program may take
_SLICE = "--slice=mk.slice"
REFRESH: Mapping[Kind, str] = {
    Kind.SYSEXT: "systemd-sysext refresh >&2 && exec systemd-sysext status --json=short",
    # Without a place for what is written to /etc meanwhile it would be read-only; an ephemeral one forgets that at the
    # next refresh, somebody's new mk.toml included, and is for systems that have room for no other. The place is /etc
    # itself, unless it is an overlay already (as on a system in memory), which the kernel puts under no second one, has
    # a file system of its own, where the overlay's other folder cannot lie, or cannot be written. There what was
    # written stays in memory beside it, seen for as long as something is merged, wherefore one that is empty always is.
    # The link is for the time of the merge alone; what else lies there is the site's.
    Kind.CONFEXT: """
set -e
place=/var/lib/extensions.mutable/etc
beside=/run/extensions.mutable/etc
release=/run/confexts/mk-etc/etc/extension-release.d
merge_to() {
    if [ $1 = $beside ]; then
        mkdir -p -m 755 $beside $release
        echo ID=_any >$release/extension-release.mk-etc
    fi
    mkdir -p ${place%/*} && ln -sfn $1 $place || return 2
    systemd-confext refresh --mutable=yes >&2 && status=0 || status=1
    rm -f $place
    rmdir --ignore-fail-on-non-empty ${place%/*}
    return $status
}
if [ "$(readlink $place)" = $beside ]; then rm -f $place; fi
if [ -e $place ] || [ -L $place ]; then
    systemd-confext refresh --mutable=yes >&2
else
    systemd-confext unmerge >&2  # what is merged makes an overlay of any /etc
    target=/etc
    if [ "$(stat --file-system --format=%T /etc)" = overlayfs ] ||
        [ "$(stat --format=%d /etc)" != "$(stat --format=%d /)" ]; then
        target=$beside
    fi
    merge_to $target && status=0 || status=$?
    if [ $status = 1 ] && [ $target = /etc ]; then
        merge_to $beside && status=0 || { status=$? && rm -rf ${release%/etc/*}; }
    fi
    if [ $status = 2 ]; then
        systemd-cat --priority=warning --identifier=mk-extensions echo \
            "$place cannot be made: what is written to /etc beside extensions is lost with the next one" || :
        systemd-confext refresh --mutable=ephemeral >&2 && status=0 || status=1
    fi
    [ $status = 0 ]
fi
exec systemd-confext status --json=short
""",
}


class Mount(NamedTuple):
    """One mount: device, file or folder; where to; type of file system ("none" for a bind mount); options."""

    source: str
    target: Path
    file_system: str
    options: tuple[str, ...] = ()


def run_as_pid1(argv: Sequence[str], *, timeout_s: float, limit_bytes: int = 1 << 20) -> proc.Finished:
    """Run a program as root in the host's namespaces and wait for it; what it starts ends with it.

    Never raises for what it does; `argv` of the result is the program's own, so that `describe` names it.
    """
    command = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec", _SLICE]
    command += ["--setenv=PATH"]  # ours, in which the system's programs come before those of extensions
    command += [f"--property=RuntimeMaxSec={timeout_s:g}", "--", *map(_literal, argv)]
    finished = proc.run(command, timeout_s=timeout_s + _ANSWER_S, limit_bytes=limit_bytes)
    return finished if finished.outcome is proc.Outcome.MISSING else finished._replace(argv=tuple(argv))


def start_service(unit: str, argv: Sequence[str], *, timeout_s: float, description: str) -> str:
    """Run a program to its end as the transient unit `unit`, e.g. `mk-tce-nano.service`; daemons that it starts stay.

    They belong to the unit, which is active until `stop_units`, whatever the program's exit status is; what it writes
    is in the journal. Returns what went wrong, in one line, "" for nothing. Raises ToolFailed.
    """
    command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=oneshot", "--remain-after-exit"]
    command += [_SLICE, f"--description={description}", f"--property=TimeoutStartSec={timeout_s:g}"]
    command += [f"--property=SuccessExitStatus={' '.join(map(str, range(1, 256)))}", "--"]
    finished = proc.run([*command, *map(_literal, argv)], timeout_s=timeout_s + _ANSWER_S)
    if not finished.ok:
        return finished.describe()
    command = ["systemctl", "show", "--property=ExecMainStatus", "--value", "--", unit]
    status = proc.require(proc.run(command, timeout_s=UNIT_TIMEOUT_S)).decode("utf-8", "replace").strip()
    return "" if status in ("0", "") else f"{argv[0]} ended with status {status}"


def mount(each: Mount, mounted: Callable[[], Mapping[Path, str]]) -> None:
    """Mount one; the folder must be there. mounted: as for mount_all. Raises ToolFailed with mount's own words."""
    command = ["mount", "-t", each.file_system, "-o", ",".join(each.options or ("defaults",))]
    proc.require(run_as_pid1([*command, "--", each.source, str(each.target)], timeout_s=MOUNT_TIMEOUT_S))
    if not is_mounted(each, mounted()):
        raise ToolFailed(f"{each.target}: {NOT_MOUNTED}")


def mount_all(mounts: Sequence[Mount], table: Path, mounted: Callable[[], Mapping[Path, str]]) -> dict[Path, str]:
    """Mount many with one unit; return those that failed: target -> reason. Folders must be there.

    table: where the list is written for as long as it takes, a file that the host sees. mounted: tells what is mounted,
    place -> type of file system. It has the last word: who mounts nothing and says nothing has failed.
    """
    if not mounts:
        return {}
    lines = [
        " ".join(
            map(_field, (each.source, str(each.target), each.file_system, ",".join(each.options or ("defaults",))))
        )
        for each in mounts
    ]
    files.write_atomic(table, "".join(f"{line} 0 0\n" for line in lines).encode(), mode=0o600)
    try:
        timeout_s = MOUNT_TIMEOUT_S + len(mounts)
        finished = run_as_pid1(["mount", "--all", "--fstab", str(table)], timeout_s=timeout_s)
    finally:
        files.remove(table)
    silent = NOT_MOUNTED if finished.ok else finished.describe()
    there = mounted()
    failed: dict[Path, str] = {}
    for each in mounts:
        mark = f"mount: {each.target}: "
        said = [line[len(mark) :].strip() for line in finished.stderr.splitlines() if line.startswith(mark)]
        if not is_mounted(each, there):
            failed[each.target] = said[0] if said else silent
    return failed


def is_mounted(wanted: Mount, there: Mapping[Path, str]) -> bool:
    """Tell whether a table of mounts, place -> type of file system, has the one that is wanted; of a bind any type."""
    found = there.get(wanted.target)
    return found is not None and wanted.file_system in ("none", found)


def unmount(*targets: Path) -> None:
    """Unmount; what is still in use goes away when its last user does. Raises ToolFailed."""
    if targets:
        command = ["umount", "--lazy", "--", *map(str, targets)]
        proc.require(run_as_pid1(command, timeout_s=MOUNT_TIMEOUT_S + len(targets)))


def start_units(units: Sequence[str]) -> None:
    """Start units and wait for their jobs; raise ToolFailed with systemctl's last words."""
    if units:
        proc.require(proc.run(["systemctl", "start", "--", *units], timeout_s=UNIT_TIMEOUT_S))


def stop_units(units: Sequence[str]) -> None:
    """Stop those of the units that run, and wait for their jobs. Raises ToolFailed."""
    running = [unit for unit, state in unit_states(units).items() if _runs(state)]
    if running:
        proc.require(proc.run(["systemctl", "stop", "--", *running], timeout_s=UNIT_TIMEOUT_S))


def reload_manager() -> None:
    """Have PID 1 read its unit files again. Raises ToolFailed."""
    proc.require(proc.run(["systemctl", "daemon-reload"], timeout_s=UNIT_TIMEOUT_S))


def unit_states(units: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return LoadState and ActiveState of units, by name. Raises ToolFailed."""
    if not units:
        return {}
    command = ["systemctl", "show", "--property=LoadState,ActiveState", "--", *units]
    blocks = proc.require(proc.run(command, timeout_s=UNIT_TIMEOUT_S)).decode("utf-8", "replace").split("\n\n")
    if len(blocks) != len(units):
        raise ToolFailed(f"systemctl show answered for {len(blocks)} of {len(units)} units")
    pairs = [[line.partition("=") for line in block.strip().splitlines()] for block in blocks]
    states = [{key: value for key, _, value in each} for each in pairs]
    return {
        unit: {"LoadState": state.get("LoadState", ""), "ActiveState": state.get("ActiveState", "")}
        for unit, state in zip(units, states)
    }


def refresh(kind: Kind) -> frozenset[str]:
    """Merge what lies in the folders of systemd-sysext or systemd-confext, nothing else; return what is merged then.

    Raises ToolFailed, BadInput.
    """
    finished = run_as_pid1(["sh", "-c", REFRESH[kind]], timeout_s=MERGE_TIMEOUT_S)
    program = f"systemd-{kind.value}"
    return parse_merged(proc.require(finished._replace(argv=(program,))), f"{program} status")


def parse_merged(answer: bytes, where: str) -> frozenset[str]:
    """Parse what `status --json=short` prints: for each hierarchy its extensions, or the word none."""
    table = parse_json(answer, where)
    if not isinstance(table, list):
        raise BadInput("a list is wanted", where)
    found: set[str] = set()
    for row in table:
        names = row.get("extensions") if isinstance(row, Mapping) else None
        if isinstance(names, list):
            found.update(name for name in names if isinstance(name, str))
        elif not isinstance(names, str):
            raise BadInput("a row has no extensions", where)
    return frozenset(found)


def systemd_version() -> int:
    """Return the version of systemd, e.g. 257. Raises ToolFailed."""
    said = proc.require(proc.run(["systemctl", "--version"], timeout_s=UNIT_TIMEOUT_S)).decode("utf-8", "replace")
    match = re.match(r"systemd ([0-9]+)", said)
    if match is None:
        raise ToolFailed(f"systemctl --version says {said[:40]!r}")
    return int(match[1])


def _runs(state: Mapping[str, str]) -> bool:
    return state["ActiveState"] not in ("inactive", "failed", "")


def _literal(argument: str) -> str:
    """Keep PID 1 from replacing variables in an argument."""
    return argument.replace("$", "$$")


def _field(text: str) -> str:
    r"""Write one field of an fstab: blanks as \040, as getmntent(3) reads them."""
    for character in "\\ \t\n#":
        text = text.replace(character, f"\\{ord(character):03o}")
    return text
