"""`mkmirror build`: real images from folders and Debian packages, the same bytes for the same input."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from mkmirror import debs
from mkmirror.formats import sysext
from tests.unit.mirror_trees import make_deb, run_mkmirror, unsquash, write_tree

CONTENT = {"usr/bin/hello*": "#!/bin/sh\necho hello\n", "usr/share/hello/a b": "x", "opt/hello/y": "y"}
BESIDE = (".md5.txt", ".info", ".list")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_sysext_and_the_files_beside_it(tmp_path: Path) -> None:
    tree, out = write_tree(tmp_path / "tree", CONTENT), tmp_path / "out"
    (tree / "usr/bin/hi").symlink_to("hello")
    done = run_mkmirror(
        "build", "hello", "--format", "sysext", "--from", tree, "--out", out, "--dep", "base.raw", "--unit", "h.service"
    )
    image = out / "hello.raw"
    assert done.stdout == f"{image}\n"
    assert "packing" in done.stderr
    assert sorted(files_of(out)) == sorted(f"hello.raw{ending}" for ending in ("", ".dep", *BESIDE))
    found = unsquash(image, tmp_path / "unpacked")
    release = (found / sysext.release_path("hello")).read_text()
    assert sysext.parse_release(release, "f") == {"ID": "_any", "EXTENSION_RELOAD_MANAGER": "1"}
    assert (found / "usr/bin/hi").readlink() == Path("hello")
    assert (found / "usr/bin/hello").stat().st_mode & 0o777 == 0o755
    wants = (found / "usr/lib/systemd/system/multi-user.target.d/10-hello.conf").read_text()
    assert wants == "[Unit]\nWants=h.service\n"
    assert (out / "hello.raw.dep").read_text() == "base.raw\n"
    assert "usr/share/hello/a b\n" in (out / "hello.raw.list").read_text()
    assert not (tree / sysext.release_path("hello")).exists()


def test_what_a_converted_package_lacked_is_there(tmp_path: Path) -> None:
    """Defect B59: no sum and no dependencies."""
    tree, out = write_tree(tmp_path / "tree", {"usr/local/bin/x*": "x"}), tmp_path / "out"
    needs = ("--dep", "y.tcz", "--dep", "z-KERNEL.tcz")
    done = run_mkmirror("build", "x", "--format", "tcz", "--from", tree, "--out", out, *needs)
    assert "warning" not in done.stderr
    check = subprocess.run(["md5sum", "--check", "x.tcz.md5.txt"], cwd=out, capture_output=True, check=True)
    assert check.stdout == b"x.tcz: OK\n"
    assert (out / "x.tcz.dep").read_text() == "y.tcz\nz-KERNEL.tcz\n"
    assert (out / "x.tcz.list").read_text() == "usr/local/bin/x\n"
    shown = subprocess.run(["unsquashfs", "-stat", "x.tcz"], cwd=out, capture_output=True, text=True, check=True).stdout
    assert "Compression gzip" in shown  # every kernel of Tiny Core's has it


@pytest.mark.parametrize("form", ["sysext", "tcz"])
def test_the_same_bytes_for_the_same_input(tmp_path: Path, form: str) -> None:
    made = []
    for turn in (0, 1):
        names = list(CONTENT.items()) if turn else list(reversed(CONTENT.items()))
        tree, out = write_tree(tmp_path / f"tree{turn}", dict(names)), tmp_path / f"out{turn}"
        os.link(tree / "usr/bin/hello", tree / "usr/bin/two")
        for path in sorted(tree.rglob("*")):
            os.utime(path, (1e9 + turn * 1e6, 1e9))
            if os.geteuid() == 0:
                os.chown(path, turn * 1000, turn * 1000)
        old = os.umask(0o077 if turn else 0o022)
        try:
            more = {"SOURCE_DATE_EPOCH": "5"} if turn else {}
            run_mkmirror("build", "h", "--format", form, "--from", tree, "--out", out, "--unit", "h.service", **more)
        finally:
            os.umask(old)
        made.append(files_of(out))
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"etc/x": "x", "usr/x": "x"}, "'etc/x' is outside usr and opt"),
        ({"x": "x"}, "'x' is outside usr and opt"),
        ({"usr/lib/os-release": "ID=x"}, "os-release"),
        ({}, "nothing in it"),
        ({"usr/a\nb": "x"}, "is not the path of a file inside"),
        ({"usr/lib/extension-release.d/extension-release.other": "ID=_any"}, "release file of another extension"),
        ({"usr/lib/extension-release.d/extension-release.bad": "ID=$(x)", "usr/x": "x"}, "not of the form KEY=VALUE"),
    ],
)
def test_content_that_would_not_be_merged(tmp_path: Path, files: dict[str, str], said: str) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    write_tree(tree, dict(files))
    done = run_mkmirror("build", "bad", "--format", "sysext", "--from", tree, "--out", out, "-q", status=65)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())


def test_odd_files_are_refused_before_anything_is_copied(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"usr/x": "x"})
    os.mkfifo(tree / "usr/pipe")
    done = run_mkmirror("build", "x", "--format", "sysext", "--from", tree, "--out", tmp_path / "out", status=65)
    assert "usr/pipe is a named pipe" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["../x", "--format", "tcz", "--from", "."], 65),
        (["x.tcz", "--format", "tcz", "--from", "."], 65),
        (["x", "--format", "tcz", "--from", "/nonexistent"], 65),
        (["x", "--format", "tcz", "--from", ".", "--dep", "../y.tcz"], 65),
        (["x", "--format", "tcz", "--from", ".", "--dep", "y"], 65),
        (["x", "--format", "sysext", "--from", ".", "--unit", "a b"], 65),
        (["x", "--format", "sysext", "--from-deb", "Not A Package"], 65),
        (["x", "--format", "sysext", "--from-deb", "-o"], 64),
        (["x", "--format", "sysext", "--from-deb", "/nonexistent.deb"], 65),
        (["x", "--format", "rpm", "--from", "."], 64),
        (["x", "--format", "tcz"], 64),
        (["x", "--format", "tcz", "--from", ".", "--time", "-1"], 64),
    ],
)
def test_wrong_usage_and_names(tmp_path: Path, arguments: list[str], status: int) -> None:
    done = run_mkmirror("build", "--out", tmp_path / "out", *arguments, status=status)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_mksquashfs(tmp_path: Path) -> None:
    tree, tools = write_tree(tmp_path / "tree", {"usr/x": "x"}), tmp_path / "bin"
    tools.mkdir()
    for name in ("cp", "env"):
        (tools / name).symlink_to(Path("/bin") / name)
    command = ["build", "x", "--format", "sysext", "--from", tree, "--out", tmp_path / "out", "-q"]
    done = run_mkmirror(*command, status=70, PATH=str(tools))
    assert "squashfs-tools" in done.stderr
    assert not list((tmp_path / "out").iterdir())


POSTINST = """\
#!/bin/sh
set -e

# Automatically added by dh_installsystemd/13
if [ "$1" = "configure" ]; then
	deb-systemd-helper unmask 'tool.service' >/dev/null || true
	if deb-systemd-helper --quiet was-enabled 'tool.service'; then
		deb-systemd-helper enable 'tool.service' >/dev/null || true
	fi
fi
# End automatically added section

exit 0
"""
OWN = POSTINST.replace("exit 0", 'if [ "$1" = configure ]; then\n\ttouch /var/lib/tool/made\nfi')
OWN_LEFT = '#!/bin/sh\nset -e\n\n\nif [ "$1" = configure ]; then\n\ttouch /var/lib/tool/made\nfi\n'
TOOL = {
    "usr/bin/tool*": "#!/bin/sh\n",
    "lib/systemd/system/tool.service": "[Service]\nExecStart=/usr/bin/tool\n",
    "usr/lib/sysusers.d/tool.conf": "u tool -\n",
    "usr/share/doc/tool/copyright": "free",
    "usr/share/doc/tool/changelog": "long",
    "usr/share/man/man1/tool.1": "page",
    "etc/init.d/tool*": "#!/bin/sh\n",
    "etc/tool/tool.conf": "a=1\n",
    "etc/tool/with blank": "b\n",
    "var/lib/tool/state": "s\n",
}


def test_what_a_postinst_does() -> None:
    assert debs.parse_postinst("") == debs.Effects((), "")
    assert debs.parse_postinst(POSTINST) == debs.Effects(("tool.service",), "")
    assert debs.parse_postinst(OWN) == debs.Effects(("tool.service",), OWN_LEFT)
    ucf = POSTINST.replace("dh_installsystemd", "dh_ucf")
    assert debs.parse_postinst(ucf).script == ucf


@pytest.mark.parametrize("own", [False, True])
def test_a_sysext_from_debian_packages(tmp_path: Path, own: bool) -> None:
    deb = make_deb(tmp_path, "tool", dict(TOOL), postinst=OWN if own else POSTINST)
    other = make_deb(tmp_path, "library", {"lib/x86_64-linux-gnu/libtool.so.1": "elf"})
    run_mkmirror("build", "tool", "--format", "sysext", "--from-deb", deb, other, "--out", tmp_path / "out")
    found = unsquash(tmp_path / "out/tool.raw", tmp_path / "unpacked")
    have = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert {each.split("/")[0] for each in have} == {"usr"}
    assert {"usr/lib/x86_64-linux-gnu/libtool.so.1", "usr/lib/systemd/system/tool.service"} <= have
    assert "usr/share/licenses/tool/copyright" in have
    assert not [each for each in have if "/doc/" in each or "/man/" in each]
    factory = (found / "usr/lib/tmpfiles.d/tool-factory.conf").read_text()
    assert "C /etc/tool/tool.conf - - - - /usr/share/factory/etc/tool/tool.conf\n" in factory
    assert 'C "/etc/tool/with blank" - - - - "/usr/share/factory/etc/tool/with blank"\n' in factory
    assert "d /var/lib/tool 0755 root root -\n" in factory
    assert (found / "usr/share/factory/etc/tool/tool.conf").read_text() == "a=1\n"
    setup = (found / "usr/lib/systemd/system/tool-setup.service").read_text()
    assert "Before=tool.service\n" in setup
    assert "ExecStart=-systemd-sysusers tool.conf\n" in setup
    assert "ExecStart=-systemd-tmpfiles --create tool-factory.conf\n" in setup
    script = found / "usr/lib/mk/extensions/tool/tool"
    assert script.is_file() == own
    assert not [each for each in have if "init.d" in each]
    assert ("ExecStart=-/usr/lib/mk/extensions/tool/tool configure\n" in setup) == own
    wants = (found / "usr/lib/systemd/system/multi-user.target.d/10-tool.conf").read_text()
    assert wants == "[Unit]\nWants=tool-setup.service tool.service\n"


def test_packages_content_alone(tmp_path: Path) -> None:
    """Without what their scripts do: no unit is started, and a package that is not wanted stays out."""
    deb = make_deb(tmp_path, "tool", dict(TOOL), postinst=OWN)
    other = make_deb(tmp_path, "library", {"lib/x86_64-linux-gnu/libtool.so.1": "elf"})
    command = ["build", "tool", "--format", "sysext", "--from-deb", deb, other, "--out", tmp_path / "out"]
    run_mkmirror(*command, "--no-scripts", "--without", "library")
    found = unsquash(tmp_path / "out/tool.raw", tmp_path / "unpacked")
    assert (found / "usr/lib/systemd/system/tool.service").is_file()
    assert [path.name for path in (found / "usr/lib/mk/extensions/tool").iterdir()] == ["Packages"], "no script"
    listed = (found / "usr/lib/mk/extensions/tool/Packages").read_text()
    assert re.findall(r"^(?:Package|Version): (.*)$", listed, re.MULTILINE) == ["tool", "1.0"]
    assert not list(found.rglob("libtool.so.1"))
    wants = (found / "usr/lib/systemd/system/multi-user.target.d/10-tool.conf").read_text()
    assert wants == "[Unit]\nWants=tool-setup.service\n"
    assert "'nothing' is not among" in run_mkmirror(*command, "--without", "nothing", status=65).stderr


def test_a_long_copyright_stays_with_what_it_covers(tmp_path: Path) -> None:
    deb = make_deb(
        tmp_path, "boosted", {"usr/share/doc/boosted/copyright": "x" * (3 << 19), "usr/bin/b*": "#!/bin/sh\n"}
    )
    run_mkmirror("build", "boosted", "--format", "sysext", "--from-deb", deb, "--out", tmp_path / "out")
    found = unsquash(tmp_path / "out/boosted.raw", tmp_path / "unpacked")
    assert (found / "usr/share/licenses/boosted/copyright").stat().st_size == 3 << 19


def test_a_tcz_from_a_debian_package(tmp_path: Path) -> None:
    """Row 97: content stays at its place, scripts run from the start script."""
    deb = make_deb(tmp_path, "tool", dict(TOOL), postinst=OWN)
    done = run_mkmirror("build", "tool", "--format", "tcz", "--from-deb", deb, "--out", tmp_path / "out")
    assert "warning: tool.tcz: 'etc/init.d/tool' is neither below usr/local nor below opt" in done.stderr
    found = unsquash(tmp_path / "out/tool.tcz", tmp_path / "unpacked")
    assert (found / "etc/tool/tool.conf").is_file()
    start = found / "usr/local/tce.installed/tool"
    assert start.read_text() == "#!/bin/sh\n/usr/local/postinst/tool configure\n"
    assert start.stat().st_mode & 0o777 == 0o755
    assert (found / "usr/local/postinst/tool").read_text() == OWN_LEFT
    assert not (found / "usr/share/man").exists()


def test_debian_packages_make_the_same_bytes_again(tmp_path: Path) -> None:
    deb, other = make_deb(tmp_path, "tool", dict(TOOL), postinst=OWN), make_deb(tmp_path, "bb", {"usr/bin/b": "b"})
    for out, packages in (("one", [deb, other]), ("two", [other, deb])):
        run_mkmirror("build", "t", "--format", "sysext", "--out", tmp_path / out, "--from-deb", *packages)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_dependencies_that_the_base_lacks_are_fetched_by_apt(tmp_path: Path) -> None:
    """apt itself decides, from an archive in a folder and a status file that is not this host's."""
    archive = tmp_path / "archive"
    archive.mkdir()
    stanzas = []
    for name, depends in (("top", "middle, present"), ("middle", "deep"), ("deep", ""), ("present", ""), ("alien", "")):
        deb = make_deb(archive, name, {f"usr/share/{name}": name}, depends=depends)
        control = subprocess.run(["dpkg-deb", "--field", str(deb)], capture_output=True, text=True, check=True).stdout
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        stanzas.append(f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
    (archive / "Packages").write_text("\n".join(stanzas))
    state = tmp_path / "state"
    (state / "lists/partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\nDir::State "{state}";\n'
    )
    base = tmp_path / "status"
    base.write_text("Package: present\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\n")
    update = ["apt-get", f"--config-file={tmp_path}/apt.conf", "-qq", "-o", f"Dir::State::status={base}"]
    subprocess.run([*update, "-o", f"Dir::Cache={tmp_path}/cache", "update"], check=True, timeout=60)
    command = ["build", "top", "--format", "tcz", "--from-deb", "top", "--base", base]
    run_mkmirror(*command, "--apt-config", tmp_path / "apt.conf", "--out", tmp_path / "out")
    again = ["build", "x", "--format", "tcz", "--from-deb", "top", "present", "--base", base, "--out", tmp_path / "x"]
    done = run_mkmirror(*again, "--apt-config", tmp_path / "apt.conf", "-q")
    assert done.stderr.splitlines()[0] == f"warning: present is in {base} already, and is not packed"
    listed = (tmp_path / "out/top.tcz.list").read_text().split()
    assert listed == ["usr/share/deep", "usr/share/middle", "usr/share/top"]
    command[command.index("top", 3)] = "nowhere"
    done = run_mkmirror(*command, "--apt-config", tmp_path / "apt.conf", "--out", tmp_path / "none", "-q", status=70)
    assert "Unable to locate package nowhere" in done.stderr


def test_a_base_that_is_not_there_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    words = ["build", "x", "--format", "sysext", "--from-deb", "strace", "--base", tmp_path / "gone", "--out", tmp_path]
    said = run_mkmirror(*words, status=65).stderr
    assert "apt:" not in said
    assert f"{tmp_path}/gone: is no file: the dpkg status of the system" in said


def test_nothing_installed_is_said(tmp_path: Path) -> None:
    done = run_mkmirror("--root", tmp_path, "list")
    assert (done.stdout, done.stderr) == ("", "mkmirror: nothing is installed, and nothing waits to be\n")
