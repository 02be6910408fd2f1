"""A machine for mk-extensions in a folder: what was staged, mirrors on its disk, and programs that stand for PID 1.

The programs on PATH do what systemd-run would have it do, without mounting: an image is unpacked where it would be
mounted, and systemd-sysext merges nothing but tells what it would have merged. `asked` is what they were asked, a line
each. Real mounts are the matter of mount_scenarios.py and of booted machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from mkcore.paths import paths_under
from mkmirror import trust
from mkmirror.installed import Installed, read_installed
from mkmirror.staged import By, Folder, Item, Kind, Modules, Refused, Request, Staged, build_staged
from tests.unit.mirror_trees import REPO, make_squashfs

OWN = Folder("http://localhost:2157/tinycorelinux", f"sysext/{os.uname().machine}", True)
OWN_TCZ = Folder("http://localhost:2157/tinycorelinux", "15.x/x86_64/tcz", True)
REMOTE = Folder("http://mirror.example/tinycorelinux", f"sysext/{os.uname().machine}", False)
REMOTE_TCZ = Folder("http://mirror.example/tinycorelinux", "15.x/x86_64/tcz", False)
RELEASE = "ID=_any\n"
Content = dict[str, Union[str, bytes]]

PROGRAMS = {
    "systemd-run": r"""#!/bin/bash
while [ "$1" != -- ]; do shift; done
shift
exec "${@//\$\$/\$}"
""",
    "mount": r"""#!/bin/bash
echo "mount $*" >>"$ASKED"
note() {
    case $2 in none | --) set -- "$1" overlay ;; esac
    echo "1 1 0:1 / $1 rw - $2 x rw" >>"$ROOT/proc/self/mountinfo"
}
if [ "$1" = --all ]; then
    while read -r image target kind rest; do
        [ "$kind" != none ] || { note "$target" none; continue; }
        unsquashfs -quiet -no-progress -force -dest "$target" "$image" >/dev/null ||
            { echo "mount: $target: wrong fs type." >&2; failed=64; continue; }
        note "$target" "$kind"
    done <"$3"
    exit ${failed:-0}
fi
note "${!#}" "$2"
""",
    "umount": r"""#!/bin/bash
echo "umount $*" >>"$ASKED"
for place; do sed -i "\: $place :d" "$ROOT/proc/self/mountinfo"; done
""",
    "ldconfig": '#!/bin/sh\necho ldconfig >>"$ASKED"\n',
    "systemd-detect-virt": "#!/bin/sh\necho none\n",
    "systemd-sysusers": '#!/bin/sh\necho "systemd-sysusers $*" >>"$ASKED"\n',
    "systemd-sysext": r"""#!/bin/bash
echo "systemd-sysext $*" >>"$ASKED"
cd "$ROOT/run/extensions"
case $1 in
    refresh)
        for name in *.raw; do case $name in broken*) echo "$name: no file system" >&2; exit 1 ;; esac; done
        ls | sed 's/\.raw$//' | grep -v '^ignored' >"$ASKED.merged"; exit 0 ;;
    status)
        names=$(sed 's/.*/"&"/' "$ASKED.merged" | paste -sd,)
        echo "[{\"hierarchy\":\"/opt\",\"extensions\":\"none\"},{\"hierarchy\":\"/usr\",\"extensions\":[$names]}]" ;;
esac
""",
    "systemctl": r"""#!/bin/bash
echo "systemctl $*" >>"$ASKED"
case $1 in
    --version) echo "systemd 257 (257.1)" ;;
    show)
        shift 3
        for unit; do echo "LoadState=loaded"; echo "ActiveState=active"; [ "$unit" = "${!#}" ] || echo; done ;;
    start) case $* in *failing*) echo "Job for failing.service failed." >&2; exit 1 ;; esac ;;
esac
""",
}


class Node:
    """The machine."""

    def __init__(self, folder: Path) -> None:
        self.root, self.asked_file = folder / "root", folder / "asked"
        self.paths = paths_under(str(self.root))
        self.fetched = self.paths.run_fetch / "staging"
        for path in (self.fetched, self.paths.run_requests, self.root / "etc/mk/trust.d", self.root / "usr/local"):
            path.mkdir(parents=True)
        (self.root / "opt").mkdir()
        (self.root / "proc/self").mkdir(parents=True)
        (self.root / "proc/self/mountinfo").write_text("")
        (self.root / "etc/os-release").write_text("ID=debian\nVERSION_ID=13\n")
        self.folders: dict[str, Folder] = {}
        self.requests: list[Request] = []
        self.said = ""
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, text in PROGRAMS.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def configure(self, text: str) -> None:
        """Write the site's configuration."""
        (self.root / "etc/mk/mk.toml").write_text(text)

    def staging(self, folder: Folder) -> Path:
        """Return the staging folder of a mirror's folder."""
        number = next((key for key, each in self.folders.items() if each == folder), str(len(self.folders)))
        self.folders[number] = folder
        path = self.fetched / number
        path.mkdir(exist_ok=True)
        return path

    def on_disk(self, folder: Folder) -> Path:
        """Return the folder of the administrator's own mirror that a built-in folder is served from."""
        path = self.paths.mirror_admin / "tinycorelinux" / folder.path
        path.mkdir(parents=True, exist_ok=True)
        return path

    def item(
        self, name: str, content: Optional[Content] = None, *, folder: Folder = OWN, needs: Sequence[str] = ()
    ) -> Item:
        """Stage an extension; built-in ones lie on disk as well."""
        stem, _, ending = name.rpartition(".")
        files = dict(content or {f"usr/share/{stem}" if ending == "raw" else f"usr/local/share/{stem}": stem})
        if ending == "raw":
            files.setdefault(f"usr/lib/extension-release.d/extension-release.{stem}", RELEASE)
        return self.add(make_squashfs(self.staging(folder) / name, files), folder, needs)

    def add(self, staged: Path, folder: Folder, needs: Sequence[str] = ()) -> Item:
        """Take a staged file as an item."""
        if folder.builtin:
            (self.on_disk(folder) / staged.name).write_bytes(staged.read_bytes())
        if needs:
            self.need(staged.name, needs, folder)
        kind = {"raw": Kind.SYSEXT, "tcz": Kind.TCZ, "whl": Kind.WHEEL}[staged.suffix[1:]]
        return Item(kind, staged.name, staged.parent.name, size_bytes=staged.stat().st_size, needs=tuple(needs))

    def need(self, name: str, needs: Sequence[str], folder: Folder = OWN) -> None:
        """Stage the `.dep` of an extension, as its mirror has it."""
        for place in (self.staging(folder), *((self.on_disk(folder),) if folder.builtin else ())):
            (place / f"{name}.dep").write_text("".join(f"{each}\n" for each in needs))

    def want(self, *items: Item, by: By = By.ADMIN, name: str = "") -> None:
        """Request the last of the items with the others; the administrator's request is on file, too."""
        name = name or items[-1].name
        self.requests.append(Request(name, by, items))
        if by is By.ADMIN:
            self.ask(install=[*self.asked_for("install"), name])

    def asked_for(self, key: str) -> list[str]:
        """Return what the administrator's file has."""
        path = self.paths.requests
        found: list[str] = json.loads(path.read_text())[key] if path.exists() else []
        return found

    def ask(self, **lists: list[str]) -> None:
        """Write the administrator's file."""
        plain: dict[str, Any] = {"version": 1, "install": [], "packages": [], "remove": []}
        self.paths.requests.write_text(json.dumps({**plain, **lists}))

    def sign(self, folder: Folder) -> Path:
        """Write the sums of all that is staged of a folder; return their path, for signing."""
        place = self.staging(folder)
        found = {each.name: trust.digest_file(each) for each in place.iterdir() if not each.name.startswith("SHA")}
        (place / trust.SUMS).write_text(trust.build_sums(found))
        return place / trust.SUMS

    def stage(self, modules: tuple[Modules, ...] = (), refused: tuple[Refused, ...] = ()) -> None:
        """Write the document."""
        document = build_staged(Staged(self.folders, tuple(self.requests), modules, refused))
        self.paths.staged.write_text(json.dumps(document))

    def run(self, status: int = 0, *, stage: bool = True, around: Sequence[str] = ()) -> Installed:
        """Run mk-extensions; return what is installed. The document is written before, from what was wanted.

        around: a command line that runs the one that follows it.
        """
        if stage:
            self.stage()
        self.asked_file.write_text("")
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPO),
            "ASKED": str(self.asked_file),
            "ROOT": str(self.root),
        }
        command = [*around, sys.executable, "-m", "mkmirror.install", "--root", str(self.root)]
        (self.root / "run/extensions").mkdir(exist_ok=True)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        self.said = done.stderr
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        self.requests.clear()
        return read_installed(self.paths.installed)

    @property
    def asked(self) -> list[str]:
        """What the programs were asked in the last run."""
        return self.asked_file.read_text().splitlines()

    def merged(self) -> list[str]:
        """Names of what systemd-sysext would merge."""
        return sorted(path.name for path in (self.root / "run/extensions").iterdir())
