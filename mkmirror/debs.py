"""Debian packages as the content of an extension: what is fetched, what is unpacked, and what becomes of their scripts.

An extension is merged, not installed, so no maintainer script runs. What such a script would have done becomes part of
the extension: users, temporary files and default configuration by systemd's own tools, started units by a drop-in, and
whatever else a postinst does by a oneshot that runs it once after merging.

Source: protocol 8.3 (the historic deb2tcz); deb(5), deb-control(5), deb-postinst(5); tmpfiles.d(5), sysusers.d(5);
apt-get(8), apt.conf(5) for a list of what is installed that is not this host's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from mkcore import files, proc
from mkcore.errors import BadInput
from mkmirror.image import copy_tree, make_folders, read_content
from mkmirror.names import show
from mkmirror.progress import Progress, human

TOOL_TIMEOUT_S = 600.0
FETCH_TIMEOUT_S = 3600.0
UNMERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Folders that have lain in /usr for long; packages may still name them at the top."""
FACTORY = "usr/share/factory"
PACKAGES = "usr/lib/mk/extensions/{name}/Packages"
COPYRIGHT_LIMIT_BYTES = 16 << 20
LEFT_OUT = ("doc", "doc-base", "man", "info", "menu", "lintian", "bug")

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}(?::[a-z0-9]{1,20})?(?:=[A-Za-z0-9.+:~-]{1,99})?")
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,200}\.(?:service|socket|timer|path|target|mount)")
_GENERATED = re.compile(
    r"^# Automatically added by (\S+)\n(.*?)^# End automatically added section\n", re.DOTALL | re.MULTILINE
)
_ENABLE = re.compile(r"deb-systemd-helper enable '?([^'\s>]+)'?")
_DONE_OTHERWISE = ("dh_systemd_", "dh_install", "dh_makeshlibs", "dh_python3", "dh_icons", "dh_sysuser")


class Package(NamedTuple):
    """What a package says of itself."""

    name: str
    version: str
    description: str


@dataclass(frozen=True)
class Effects:
    """What a postinst does: the units that it enables; `script` is what is left of it to be run, "" for nothing."""

    units: tuple[str, ...]
    script: str


def is_unit(name: str) -> bool:
    """Tell whether `name` can be that of a unit."""
    return bool(_UNIT.fullmatch(name))


def parse_control(text: str, where: str) -> Package:
    """Parse the fields of a package; raise BadInput for one without name or version."""
    fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", text, re.MULTILINE))
    name, version = fields.get("Package", ""), fields.get("Version", "")
    if not _PACKAGE.fullmatch(name) or not version:
        raise BadInput("is no Debian package with name and version", where)
    return Package(name, version, fields.get("Description", ""))


def parse_postinst(text: str) -> Effects:
    """Tell what a postinst does, by the sections that debhelper writes and by what is left without them.

    The sections whose effect the extension has otherwise are taken out of the script: those that start units would
    wait for a job that waits for the script.
    """
    units: list[str] = []

    def judge(section: re.Match[str]) -> str:
        """Return what is left of a section, and remember the units that it enables."""
        units.extend(name for name in _ENABLE.findall(section[2]) if is_unit(name))
        return "" if section[1].startswith(_DONE_OTHERWISE) else section[0]

    rest = _GENERATED.sub(judge, text)
    idle = re.compile(r"\s*(?:#.*|set -e\w*|exit 0|:|)\s*")
    own = any(not idle.fullmatch(line) for line in rest.splitlines())
    return Effects(tuple(dict.fromkeys(units)), rest if own else "")


def read_control(deb: Path) -> str:
    """Return the control file of the package file `deb`; raise ToolFailed."""
    out = proc.require(proc.run(["dpkg-deb", "--field", str(deb)], timeout_s=TOOL_TIMEOUT_S))
    return out.decode("utf-8", "replace").rstrip("\n") + "\n"


def read_package(deb: Path) -> Package:
    """Return what the package file `deb` says of itself; raise ToolFailed or BadInput."""
    return parse_control(read_control(deb), str(deb))


def fetch(wanted: Sequence[str], base: Path, apt_config: str, work: Path, progress: Progress) -> list[Path]:
    """Return package files for `wanted`: files as they are, names with all they need that `base` lacks, by apt.

    base: a dpkg status file that says what is installed where the extension will be merged. apt_config: a file of
    apt.conf(5) that names other archives than the host's, or "". Raises BadInput for what is no name, ToolFailed.
    """
    local = [Path(each) for each in wanted if each.endswith(".deb")]
    names = [each for each in wanted if not each.endswith(".deb")]
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise BadInput(f"{show(name)} is neither a package's name nor a .deb file")
    for path in local:
        if not path.is_file():
            raise BadInput("is not a file", str(path))
    if names:
        if not base.is_file():
            raise BadInput("is no file: the dpkg status of the system that the extension is for", str(base))
        progress.say(f"apt: fetching {', '.join(names)} with what {base} lacks")
        fetched = _run_apt(names, base, apt_config, work)
        have = {read_package(deb).name for deb in fetched}
        for name in names:
            if re.split("[:=]", name)[0] not in have:
                progress.warn(f"{name} is in {base} already, and is not packed")
        local += fetched
    return local


def _run_apt(names: Sequence[str], base: Path, apt_config: str, work: Path) -> list[Path]:
    files.make_dir(work / "archives/partial")
    options = {
        "Dir::State::status": base.absolute(),
        "Dir::Cache": work.absolute(),
        "Dir::Cache::archives": f"{(work / 'archives').absolute()}/",
        "Debug::NoLocking": "1",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
    }
    command = ["apt-get", "--quiet=2", "--yes"]
    command += [f"--config-file={apt_config}"] if apt_config else []
    command += [word for key, value in options.items() for word in ("--option", f"{key}={value}")]
    planned = proc.require(proc.run([*command, "--print-uris", "install", *names], timeout_s=TOOL_TIMEOUT_S))
    proc.require(proc.run([*command, "--download-only", "install", *names], timeout_s=FETCH_TIMEOUT_S))
    # what an archive on this host's own disks has is used where it lies
    there = [unquote(path) for path in re.findall(r"^'file:([^']+)'", planned.decode("utf-8", "replace"), re.MULTILINE)]
    return sorted([*(work / "archives").glob("*.deb"), *map(Path, there)])


def leave_out(debs: Sequence[Path], names: Sequence[str], progress: Progress) -> list[Path]:
    """Return the package files without the packages of these names; raise BadInput for a name that none has."""
    found = {read_package(deb).name: deb for deb in debs}
    for name in names:
        if name not in found:
            raise BadInput(f"{show(name)} is not among the packages, and cannot be left out")
        progress.say(f"{name}: left out")
    return [deb for name, deb in found.items() if name not in names]


def unpack(
    debs: Sequence[Path], name: str, stage: Path, work: Path, *, merged: bool, scripts: bool = True, progress: Progress
) -> None:
    """Lay the content of packages into the folder `stage`, for the extension `name`, sorted by package name.

    merged: for systemd-sysext, where only /usr is merged: configuration becomes default configuration that is copied
    to /etc once, and scripts become a unit. Otherwise the content stays where it is, and scripts run from the start
    script of Tiny Core. scripts: whether what they would have done is done; without, no unit is started, either.
    """
    found = sorted((read_package(deb), deb) for deb in debs)
    units: list[str] = []
    left: list[str] = []
    for package, deb in found:
        progress.say(f"{package.name} {package.version}: {human(deb.stat().st_size)}")
        effects = _unpack_one(package, deb, name, stage, work / package.name, merged=merged, scripts=scripts)
        units += effects.units
        left += [package.name] if effects.script else []
    if merged:
        # what is in it, in the form of an archive's index; no package's script can have that name
        _write(stage / PACKAGES.format(name=name), "\n".join(read_control(deb) for _, deb in found))
        _write_setup(stage, name, units, left)
    elif left:
        lines = [f"/usr/local/postinst/{script} configure" for script in left]
        _write(stage / f"usr/local/tce.installed/{name}", "#!/bin/sh\n" + "\n".join(lines) + "\n", mode=0o755)


def _unpack_one(
    package: Package, deb: Path, name: str, stage: Path, work: Path, *, merged: bool, scripts: bool
) -> Effects:
    tree, control = work / "data", work / "control"
    files.make_dir(work)
    for verb, target in (("--extract", tree), ("--control", control)):
        proc.require(proc.run(["dpkg-deb", verb, str(deb), str(target)], timeout_s=TOOL_TIMEOUT_S))
    for top in UNMERGED:
        if (tree / top).is_dir() and not (tree / top).is_symlink():
            make_folders(tree / "usr" / top)
            copy_tree(tree / top, tree / "usr" / top)
            files.remove_tree(tree / top)
    _prune(tree)
    postinst = control / "postinst"
    text = files.read_text(postinst) if scripts and postinst.is_file() else ""
    effects = parse_postinst(text)
    if effects.script:
        place = f"usr/lib/mk/extensions/{name}" if merged else "usr/local/postinst"
        _write(tree / place / package.name, effects.script, mode=0o755)
    if merged:
        files.remove_tree(tree / "etc/init.d")  # of systems without systemd
        _move_to_factory(tree, package.name)
    copy_tree(tree, stage)
    files.remove_tree(work)
    return effects


def _prune(tree: Path) -> None:
    """Leave out what no machine reads; a package's copyright stays with what it covers."""
    for name in LEFT_OUT:
        folder = tree / "usr/share" / name
        for copyright_file in folder.glob("*/copyright") if name == "doc" else ():
            if copyright_file.is_file() and not copyright_file.is_symlink():
                target = tree / f"usr/share/licenses/{copyright_file.parent.name}"
                _write(target / "copyright", files.read_text(copyright_file, COPYRIGHT_LIMIT_BYTES))
        files.remove_tree(folder)


def _move_to_factory(tree: Path, package: str) -> None:
    """Turn what lies outside /usr into defaults that systemd-tmpfiles copies to where nothing is yet."""
    lines: list[str] = []
    for top in sorted(path.name for path in tree.iterdir() if path.name not in ("usr", "opt")):
        if top in ("etc", "var"):
            for folder in sorted(path for path in (tree / top).rglob("*") if path.is_dir() and not path.is_symlink()):
                mode = folder.stat().st_mode & 0o7777
                lines.append(f"d {_quote('/' + folder.relative_to(tree).as_posix())} {mode:04o} root root -")
            lines += [
                f"C {_quote(f'/{top}/{path}')} - - - - {_quote(f'/{FACTORY}/{top}/{path}')}"
                for path in read_content(tree / top).paths
            ]
            make_folders(tree / FACTORY / top)
            copy_tree(tree / top, tree / FACTORY / top)
        elif (tree / top).is_dir() and not read_content(tree / top).paths:
            lines.append(f"d /{top} - root root -")
        else:
            raise BadInput(f"has /{top}, which cannot be merged", package)
        files.remove_tree(tree / top)
    if lines:
        _write(tree / f"usr/lib/tmpfiles.d/{package}-factory.conf", "\n".join(lines) + "\n")


def _quote(path: str) -> str:
    """Write a path for tmpfiles.d, where % and blanks mean something."""
    if not re.search(r"[\s\"'\\%]", path):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _write_setup(stage: Path, name: str, units: Sequence[str], scripts: Sequence[str]) -> None:
    """Write the unit that does after merging what the packages' scripts would have done, and start it and theirs."""
    steps: list[str] = []
    for folder, command in (("sysusers.d", "systemd-sysusers"), ("tmpfiles.d", "systemd-tmpfiles --create")):
        steps += [f"{command} {path.name}" for path in sorted((stage / "usr/lib" / folder).glob("*.conf"))]
    if (stage / "usr/lib/udev/rules.d").is_dir():
        steps.append("udevadm control --reload")
    steps += [f"/usr/lib/mk/extensions/{name}/{script} configure" for script in scripts]
    theirs = [unit for unit in dict.fromkeys(units) if (stage / "usr/lib/systemd/system" / unit).is_file()]
    if steps:
        own = f"{name}-setup.service"
        lines = ["[Unit]", f"Description=Set Up the Extension {name}"]
        lines += [f"Before={' '.join(theirs)}"] if theirs else []
        lines += ["[Service]", "Type=oneshot", "RemainAfterExit=yes"]
        lines += ["Environment=DEBIAN_FRONTEND=noninteractive DPKG_MAINTSCRIPT_NAME=postinst"]
        lines += [f"ExecStart=-{step}" for step in steps]  # one that fails costs itself alone
        _write(stage / f"usr/lib/systemd/system/{own}", "\n".join(lines) + "\n")
        theirs = [own, *theirs]
    if theirs:
        write_wants(stage, name, theirs)


def write_wants(stage: Path, name: str, units: Sequence[str]) -> None:
    """Write the drop-in by which these units are started once the extension is merged.

    Not Upholds=: systemd would start a unit that fails again and again, without a limit.
    """
    path = stage / f"usr/lib/systemd/system/multi-user.target.d/10-{name}.conf"
    before = re.findall(r"^Wants=(.*)$", files.read_text(path), re.MULTILINE) if path.is_file() else []
    wanted = dict.fromkeys([*" ".join(before).split(), *units])
    _write(path, f"[Unit]\nWants={' '.join(wanted)}\n")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    make_folders(path.parent)
    files.write_atomic(path, text.encode(), mode=mode)
