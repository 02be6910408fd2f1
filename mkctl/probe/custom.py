"""Facts of the site's own: files and programs in facts.d, in the forms of Facter's external facts.

    *.json       an object: name and value, structures allowed
    *.txt        lines `name=value`
    executables  print either of these

Folders are /usr/lib/mk/facts.d (packages, extensions), /usr/local/lib/mk/facts.d (extensions of Tiny Core's, which lie
below /usr/local) and /etc/mk/facts.d (the site); a file of a later one replaces one of the same name in those before,
and a link to /dev/null there removes it. Files that others than root can write are refused, as mk-facts is root. Each
executable is a collector of its own, so that one that fails or hangs costs only its own facts; it runs without
capabilities (`mkctl.probe.rights`), and without the network, which its unit denies to all.
Names are lower-cased as Facter does; a custom fact replaces another fact of its name.
Source: Facter's documentation on external facts; systemd.unit(5) for the masking by /dev/null.
"""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_attribute, read_bytes
from mkcore.jsonfields import Json, parse_object, show
from mkctl.probe.collect import Collected, Collector
from mkctl.probe.model import CUSTOM, Status
from mkctl.probe.names import clean_name
from mkctl.probe.texts import clean_text

FOLDERS = ("usr/lib/mk/facts.d", "usr/local/lib/mk/facts.d", "etc/mk/facts.d")
LIMIT_BYTES = 256 << 10
TIMEOUT_S = 10.0
EXECUTABLES_LIMIT = 32
NAME_LIMIT = 128
_MARGIN_S = 2.0
_PLAIN = (".json", ".txt")
_YAML = (".yaml", ".yml")
_MARK = b"\xef\xbb\xbf"
"""What some editors write before UTF-8."""


class Found:
    """What lies in the folders: data files and executables by path, and a line for each entry that cannot be used."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.executables: dict[str, str] = {}
        self.problems: list[str] = []

    def forget(self, name: str) -> None:
        """An entry of a later folder stands in place of the one found before."""
        self.files.pop(name, None)
        self.executables.pop(name, None)

    def refuse(self, path: str, reason: str) -> None:
        """Note why an entry is not used."""
        self.problems.append(f"{path}: {reason}")


def build_custom(top: Path, timeout_s: float = TIMEOUT_S) -> list[Collector]:
    """Return the collectors of the folders below `top`: "custom" for all data files, "custom:NAME" per executable."""
    found = find_files(top)
    names = sorted(found.executables)
    for name in names[EXECUTABLES_LIMIT:]:
        found.refuse(found.executables[name], f"not run: there are more than {EXECUTABLES_LIMIT} executables")
    paths = [found.files[name] for name in sorted(found.files)]
    collectors = [Collector(CUSTOM, timeout_s, partial(collect_files, paths, found.problems))]
    for name in names[:EXECUTABLES_LIMIT]:
        run = partial(collect_executable, found.executables[name], timeout_s)
        collectors.append(Collector(f"{CUSTOM}:{name}", timeout_s + _MARGIN_S, run))
    return collectors


def find_files(top: Path) -> Found:
    """Look into the folders; folders that do not exist cost one system call each."""
    found = Found()
    for folder in FOLDERS:
        path = str(top / folder)
        try:
            with os.scandir(path) as entries:
                reason = _untrusted(Path(path).stat())
                if reason:
                    found.refuse(path, reason)
                    continue
                for entry in sorted(entries, key=lambda each: each.name):
                    _take(found, entry)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.refuse(path, error.strerror or "cannot be read")
    return found


def _take(found: Found, entry: os.DirEntry[str]) -> None:
    name, ending = entry.name, "." + entry.name.rpartition(".")[2].lower()
    if name.startswith((".", "README")) or name.endswith("~"):
        return
    found.forget(name)
    if entry.is_symlink():
        if str(Path(entry.path).readlink()) != os.devnull:
            found.refuse(entry.path, "is a link, and only links to /dev/null are allowed")
        return
    status = entry.stat(follow_symlinks=False)
    reason = "is not a file" if not stat.S_ISREG(status.st_mode) else _untrusted(status)
    if not reason and not (name.isascii() and name.isprintable() and " " not in name):
        reason = "the name has blanks or letters beyond ASCII"
    if not reason and ending in _YAML:
        reason = "YAML is not read: write JSON (.json) or lines of name=value (.txt)"
    if reason:
        found.refuse(entry.path, reason)
    elif ending in _PLAIN:
        found.files[name] = entry.path
    elif status.st_mode & 0o111:
        found.executables[name] = entry.path
    else:
        found.refuse(entry.path, "neither .json nor .txt nor executable")


def _untrusted(status: os.stat_result) -> str:
    """Say why a file or folder may come from somebody else than root (or than whoever runs this), "" for no reason."""
    if status.st_uid not in (0, os.geteuid()):
        return "belongs to another user than root"
    return "can be written by others than root" if status.st_mode & 0o022 else ""


def collect_files(paths: list[str], problems: list[str]) -> Collected:
    """Read the data files; a bad one is named and costs itself only."""
    facts: dict[str, Json] = {}
    remarks = list(problems)
    for path in paths:
        try:
            found, bad = parse_facts(read_bytes(path, LIMIT_BYTES), path, path.lower().endswith(".json"))
        except (BadInput, OSError) as error:
            remarks.append(str(error))
            continue
        facts.update(found)
        remarks += bad
    return Collected(facts, Status.OK, "; ".join(remarks))


def collect_executable(path: str, timeout_s: float) -> Collected:
    """Run one executable without capabilities and read what it prints.

    Raises ToolFailed when capabilities cannot be given up (it is not run then), BadInput for broken JSON.
    """
    from mkcore.proc import Outcome, run
    from mkctl.probe.rights import drop_capabilities

    drop_capabilities()
    finished = run((path,), timeout_s=timeout_s, limit_bytes=LIMIT_BYTES)
    if not finished.ok:
        status = Status.TIMED_OUT if finished.outcome is Outcome.TIMED_OUT else Status.FAILED
        hint = _start_hint(path) if finished.outcome is Outcome.MISSING else ""
        return Collected({}, status, finished.describe() + hint)
    output = finished.stdout.removeprefix(_MARK)
    facts, remarks = parse_facts(output, path, output.lstrip().startswith(b"{"))
    return Collected(facts, Status.OK, "; ".join(remarks))


def _start_hint(path: str) -> str:
    """Say what the kernel's error leaves out: of a script, "No such file" means the interpreter that it names."""
    start, _, rest = read_attribute(path).partition(b"\n")
    if start.startswith(b"#!"):
        return f"; its first line wants {show(start[2:].decode('utf-8', 'replace').strip(' '))}"
    return "" if b"\0" in start + rest else "; a script's first line names its interpreter: #!/bin/sh"


def parse_facts(data: bytes, where: str, as_json: bool) -> tuple[dict[str, Json], list[str]]:
    """Parse a JSON object or lines `name=value`; return the facts and a remark for each line or name that is none.

    Empty lines and those that start with # are skipped; values are stripped texts, in which what is not UTF-8 becomes
    U+FFFD. JSON's null gives no fact. Raises BadInput for broken JSON.
    """
    if as_json:
        return _named(parse_object(data, where), where)
    values: dict[str, Json] = {}
    wrong: list[str] = []
    data = data.removeprefix(_MARK)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        wrong.append(f"{where}: line {number} is not UTF-8: what cannot be read of it is sent as U+FFFD")
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        name, equals, value = text.partition("=")
        if text and not text.startswith("#"):
            if equals:
                values[name.strip()] = clean_text(value)
            else:
                wrong.append(f"{where}: line {number} is not name=value: {show(text)}")
    facts, remarks = _named(values, where)
    return facts, wrong[:3] + remarks


def _named(values: dict[str, Json], where: str) -> tuple[dict[str, Json], list[str]]:
    facts: dict[str, Json] = {}
    remarks: list[str] = []
    for raw, value in values.items():
        name = clean_name(raw).lower()
        if not name or len(name) > NAME_LIMIT or not name.isprintable() or " " in name or "\ufffd" in name:
            remarks.append(f"{where}: {show(raw)} cannot be the name of a fact")
        elif value is not None:
            facts[name] = value
    return facts, remarks[:3]
