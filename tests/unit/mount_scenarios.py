"""Extensions of Tiny Core on real mounts: each scenario runs as root in a mount namespace of its own.

Started as `unshare --mount … python -m tests.unit.mount_scenarios NAME FOLDER`. PID 1 is not asked: programs on PATH do
at once what systemd-run would have it do, and take note. Mounts propagate as on a booted system.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mkcore.errors import BadInput, ToolFailed
from mkmirror import overlay, packages, tce_install
from tests.unit.mirror_trees import make_squashfs, make_wheel

SYSTEMD_RUN = r"""#!/bin/bash
asked="$*"
echo "$asked" >>"$ASKED"
while [ "$1" != -- ]; do shift; done
shift
case "$asked" in *--remain-after-exit*) "${@//\$\$/\$}" >/dev/null 2>&1; echo $? >"$ASKED.status"; exit 0 ;; esac
exec "${@//\$\$/\$}"
"""


class Machine:
    """A small root with /usr/local and /opt, all in memory, and a folder of extensions."""

    def __init__(self, folder: Path) -> None:
        subprocess.run(["mount", "--make-rshared", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
        self.root, self.run, self.images = folder / "root", folder / "run", folder / "images"
        self.local = self.root / "usr/local"
        self.root.mkdir()
        (self.root / "proc").symlink_to("/proc")
        (self.local / "bin").mkdir(parents=True)
        (self.local / "bin/own").write_text("own\n")
        for each in (self.root / "opt", self.run, self.images, folder / "bin"):
            each.mkdir()
        self.asked = folder / "asked"
        self.fake("systemd-run", SYSTEMD_RUN)
        self.fake("systemctl", '#!/bin/sh\ncat "$ASKED.status"\n')
        os.environ.update(PATH=f"{folder / 'bin'}:{os.environ['PATH']}", ASKED=str(self.asked))

    def fake(self, name: str, text: str) -> None:
        path = self.images.parent / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def image(self, name: str, **content: str) -> dict[str, Path]:
        """Make an extension; `usr_local_bin_x` is the key of usr/local/bin/x."""
        files = {key.replace("__", "/"): text for key, text in content.items()}
        return {name: make_squashfs(self.images / name, dict(files))}

    def install(self, images: dict[str, Path], order: list[str]) -> dict[str, str]:
        found, refused = tce_install.prepare(self.run, images)
        assert set(found) | set(refused) == set(images)
        tce_install.merge(self.run, order, self.root)
        return refused

    def shown(self) -> dict[str, str]:
        """What is below /usr/local: path -> content."""
        return {
            path.relative_to(self.local).as_posix(): path.read_text()
            for path in sorted(self.local.rglob("*"))
            if path.is_file()
        }

    def mounts(self) -> list[str]:
        top = self.run.parent
        points = overlay.parse_mountinfo(Path("/proc/self/mountinfo").read_text())
        return [point.relative_to(top).as_posix() for point, _ in points if top in point.parents]


def twenty_at_once(machine: Machine) -> None:
    """Twenty extensions become one overlay with a handful of requests to PID 1; the system's own files stay."""
    images: dict[str, Path] = {}
    for number in range(20):
        images.update(machine.image(f"x{number}.tcz", **{f"usr__local__bin__x{number}": f"{number}\n"}))
    assert machine.install(images, list(images)) == {}
    expected = {"bin/own": "own\n", **{f"bin/x{n}": f"{n}\n" for n in range(20)}}
    expected.update({f"tce.installed/x{n}": "" for n in range(20)})
    assert machine.shown() == expected
    assert len(machine.asked.read_text().splitlines()) <= 6, machine.asked.read_text()
    assert machine.mounts().count("root/usr/local") == 1
    assert "root/opt" not in machine.mounts(), "nothing has files there"
    before = machine.asked.read_text()
    tce_install.merge(machine.run, list(images), machine.root)
    assert machine.asked.read_text() == before, "what is shown already is left alone"


def a_folder_that_the_system_lacks(machine: Machine) -> None:
    """It is made, as an extension has files there."""
    (machine.root / "opt").rmdir()
    machine.install(machine.image("a.tcz", opt__a="a"), ["a.tcz"])
    assert (machine.root / "opt/a").read_text() == "a"


def many_layers(machine: Machine) -> None:
    """Many layers with long paths fit into one page of options."""
    places = [machine.run / f"{'layer' * 8}{number}" for number in range(400)]
    for number, place in enumerate(places):
        (place / "share").mkdir(parents=True)
        (place / f"share/f{number}").write_text("")
    local = overlay.hierarchies(machine.run, machine.root)[0]
    overlay.apply(local, places)
    assert len(machine.shown()) == 401
    try:
        overlay.apply(local, places * 2)
        raise AssertionError("it must fail")
    except BadInput as error:
        assert str(error) == "extensions: 801 layers are more than an overlay can have (480)"
    assert len(machine.shown()) == 401


def newest_first_and_later_ones(machine: Machine) -> None:
    """The first named wins; another one comes later; what was written meanwhile stays, also over removals."""
    machine.install(machine.image("a.tcz", usr__local__bin__t="a", usr__local__etc__a="a"), ["a.tcz"])
    (machine.local / "etc/a").write_text("changed")
    (machine.local / "bin/own").unlink()
    machine.install(machine.image("b.tcz", usr__local__bin__t="b"), ["b.tcz", "a.tcz"])
    assert machine.shown() == {"bin/t": "b", "etc/a": "changed", "tce.installed/a": "", "tce.installed/b": ""}
    (machine.local / "etc/later").write_text("later")
    tce_install.merge(machine.run, ["b.tcz"], machine.root)
    tce_install.discard(machine.run, ["a.tcz"])
    assert machine.shown() == {"bin/t": "b", "etc/a": "changed", "etc/later": "later", "tce.installed/b": ""}
    assert "run/tcz/a.tcz" not in machine.mounts()
    assert not tce_install.place_of(machine.run, "a.tcz").exists()
    assert machine.mounts().count("root/usr/local") == 1
    merged = [each for each in machine.mounts() if each.endswith("/merged")]
    assert len(merged) == 1, "overlays that are shown no longer are gone"


def removal_leaves_nothing(machine: Machine) -> None:
    """After the last extension is gone, the system's folder itself is seen, and nothing of ours is mounted on it."""
    machine.install(machine.image("a.tcz", usr__local__bin__t="a", opt__a="a"), ["a.tcz"])
    assert (machine.root / "opt/a").read_text() == "a"
    tce_install.merge(machine.run, [], machine.root)
    tce_install.discard(machine.run, ["a.tcz"])
    assert machine.shown() == {"bin/own": "own\n"}
    assert sorted(machine.mounts()) == ["run/local/original", "run/opt/original"]
    assert sorted(path.name for path in (machine.run / "local").iterdir()) == ["original"]


def files_elsewhere_are_refused(machine: Machine) -> None:
    """An extension with files outside its folders costs itself alone; the others are shown."""
    images = machine.image("etc.tcz", usr__local__bin__e="e", etc__passwd="x")
    images.update(machine.image("good.tcz", usr__local__bin__g="g"))
    images.update(machine.image("usr.tcz", usr__bin__sh="x"))
    (machine.images / "none.tcz").write_bytes(b"nothing")
    (machine.images / "short.tcz").write_bytes(images["good.tcz"].read_bytes()[:200])
    images.update({name: machine.images / name for name in ("none.tcz", "short.tcz")})
    refused = machine.install(images, ["good.tcz"])
    assert refused == {
        "etc.tcz": "etc.tcz: has 'etc/passwd', which is neither below usr/local nor below opt",
        "usr.tcz": "usr.tcz: has 'usr/bin/sh', which is neither below usr/local nor below opt",
        "none.tcz": "none.tcz: is neither squashfs, erofs nor a GPT image",
        "short.tcz": f"short.tcz: is truncated: 200 of {refused['short.tcz'].split()[-2]} bytes",
    }
    assert set(machine.shown()) == {"bin/own", "bin/g", "tce.installed/good"}
    assert [each for each in machine.mounts() if each.startswith("run/tcz/")] == ["run/tcz/good.tcz"]
    assert sorted(path.name for path in (machine.run / "tcz").iterdir()) == ["good.tcz"]


def odd_files_are_refused(machine: Machine) -> None:
    """A device that would hide a file of the system (a whiteout), and a name that is none of a file."""
    tree = machine.images / "tree"
    (tree / "usr/local/bin").mkdir(parents=True)
    (tree / "home").mkdir()
    for name, command in (
        ("hide.tcz", ["mknod", str(tree / "usr/local/bin/own"), "c", "0", "0"]),
        ("pipe.tcz", ["mkfifo", str(tree / "usr/local/bin/own")]),
        ("link.tcz", ["ln", "-s", "/etc/passwd", str(tree / "usr/local/bin/own")]),
    ):
        subprocess.run(command, check=True)
        image = machine.images / name
        subprocess.run(["mksquashfs", str(tree), str(image), "-quiet", "-no-progress"], check=True)
        (tree / "usr/local/bin/own").unlink()
    names = ("hide.tcz", "pipe.tcz", "link.tcz")
    found, refused = tce_install.prepare(machine.run, {name: machine.images / name for name in names})
    odd = "has 'usr/local/bin/own', which is a device, pipe or socket"
    assert refused == {"hide.tcz": f"hide.tcz: {odd}", "pipe.tcz": f"pipe.tcz: {odd}"}
    assert list(found) == ["link.tcz"], "links lead nowhere by themselves; empty folders are no files"


def too_many_files(machine: Machine) -> None:
    """The number of files that an image claims is looked at before it is mounted."""
    image = bytearray(machine.image("many.tcz", usr__local__x="x")["many.tcz"].read_bytes())
    image[4:8] = (200_001).to_bytes(4, "little")
    (machine.images / "many.tcz").write_bytes(bytes(image))
    _, refused = tce_install.prepare(machine.run, {"many.tcz": machine.images / "many.tcz"})
    assert refused == {"many.tcz": "many.tcz: has 200001 files, more than 200000"}
    assert not machine.asked.exists(), "nothing was mounted"


def a_failing_overlay_changes_nothing(machine: Machine) -> None:
    """What was shown before is shown still when the next overlay cannot be mounted; the next try succeeds."""
    machine.install(machine.image("a.tcz", usr__local__bin__a="a"), ["a.tcz"])
    before, mounts = machine.shown(), machine.mounts()
    images = machine.image("b.tcz", usr__local__bin__b="b")
    tce_install.prepare(machine.run, images)
    machine.fake(
        "mount", '#!/bin/sh\ncase "$*" in *overlay*) echo "mount: no" >&2; exit 32;; esac\nexec /bin/mount "$@"\n'
    )
    try:
        tce_install.merge(machine.run, ["b.tcz", "a.tcz"], machine.root)
        raise AssertionError("it must fail")
    except ToolFailed as error:
        assert "mount: no" in str(error)
    assert machine.shown() == before
    tce_install.discard(machine.run, ["b.tcz"])
    assert machine.mounts() == mounts
    (machine.images.parent / "bin/mount").unlink()
    machine.install(images, ["b.tcz", "a.tcz"])
    assert {"bin/a", "bin/b"} <= set(machine.shown())


def start_scripts(machine: Machine) -> None:
    """A start script is told of, run in a unit of its own; one without has its mark as tce-status wants it."""
    tree = {"usr/local/tce.installed/s++": "echo started\n", "usr/local/bin/s": ""}
    images = {"s++.tcz": make_squashfs(machine.images / "s++.tcz", dict(tree))}
    found, _ = tce_install.prepare(machine.run, images)
    assert found["s++.tcz"].script
    assert found["s++.tcz"].hierarchies == ("usr/local",)
    tce_install.merge(machine.run, ["s++.tcz"], machine.root)
    assert machine.shown()["tce.installed/s++"] == "echo started\n"
    said = tce_install.start("s++.tcz")
    unit = "mk-tce-s\\x2b\\x2b.service"
    start, _, end = said.partition(" ended with status ")
    assert start == "s++.tcz: its start script: sh", "there is none in the real /usr/local"
    assert end in (f"2; see journalctl -u {unit}", f"127; see journalctl -u {unit}")
    last = machine.asked.read_text().splitlines()[-1]
    assert f"--unit={unit} " in last
    assert last.endswith("-- sh /usr/local/tce.installed/s++")
    machine.fake("sh", "#!/bin/true\n")
    assert tce_install.start("s++.tcz") == ""
    machine.fake("systemd-run", '#!/bin/sh\necho "Job for x.service failed." >&2\nexit 1\n')
    assert "Job for x.service failed." in tce_install.start("s++.tcz")


def commands_of_packages(machine: Machine) -> None:
    """Commands of Python packages are below those of extensions and above the system's; both come and go alone."""
    wheel = make_wheel(machine.images, "foo", "1.0", commands={"foo": "foo:main", "own": "foo:main"})
    packages.prepare(machine.run, wheel.name, wheel)
    packages.commit(machine.run, [wheel.name])
    tce_install.merge(machine.run, [], machine.root)
    packages.forget_old(machine.run)
    assert "from foo import main" in machine.shown()["bin/foo"]
    assert machine.shown()["bin/own"] != "own\n"
    machine.install(machine.image("a.tcz", usr__local__bin__foo="a"), ["a.tcz"])
    assert machine.shown()["bin/foo"] == "a"
    packages.commit(machine.run, [])
    tce_install.merge(machine.run, ["a.tcz"], machine.root)
    packages.forget_old(machine.run)
    assert machine.shown() == {"bin/own": "own\n", "bin/foo": "a", "tce.installed/a": ""}
    assert not list((machine.run / "python/made").iterdir())


def an_unreadable_image(machine: Machine) -> None:
    """An image whose tables are damaged is refused, whatever its head says."""
    image = bytearray(machine.image("bad.tcz", usr__local__bin__x="x")["bad.tcz"].read_bytes())
    image[96:600] = bytes(504)
    (machine.images / "bad.tcz").write_bytes(bytes(image))
    found, refused = tce_install.prepare(machine.run, {"bad.tcz": machine.images / "bad.tcz"})
    assert not found
    assert list(refused) == ["bad.tcz"]
    assert len(refused["bad.tcz"].splitlines()) == 1
    assert not [each for each in machine.mounts() if each.startswith("run/tcz")]


SCENARIOS: tuple[Callable[[Machine], None], ...] = (
    twenty_at_once,
    a_folder_that_the_system_lacks,
    many_layers,
    newest_first_and_later_ones,
    removal_leaves_nothing,
    files_elsewhere_are_refused,
    odd_files_are_refused,
    too_many_files,
    a_failing_overlay_changes_nothing,
    start_scripts,
    commands_of_packages,
    an_unreadable_image,
)


if __name__ == "__main__":
    scenario = next(each for each in SCENARIOS if each.__name__ == sys.argv[1])
    try:
        scenario(Machine(Path(sys.argv[2])))
    except BadInput as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
