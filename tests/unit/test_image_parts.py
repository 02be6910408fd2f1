"""packaging/image/lib: version, archive, layers, modules, weights and manifest, each by itself."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from types import ModuleType

import pytest

from mkcore.paths import Paths
from mkmirror.glance import SECTIONS
from tests.unit.mirror_trees import write_tree

IMAGE = Path(__file__).resolve().parent.parent.parent / "packaging/image"
EPOCH = 1_700_000_000

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="these scripts run on the Python of a Debian host")


PARTS = ("archives", "first_process", "load_order", "manifest", "mkosi", "places", "squashfs", "version", "weigh")


@pytest.fixture(scope="module")
def lib() -> ModuleType:
    """The builder's parts; their folder is no package of the suite."""
    sys.path.insert(0, str(IMAGE))
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    found = ModuleType("parts")
    try:
        for name in PARTS:
            setattr(found, name, importlib.import_module(f"lib.{name}"))
    finally:
        sys.path.remove(str(IMAGE))
        sys.dont_write_bytecode = dont_write
    return found


def git(folder: Path, *words: str) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@x"}
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, env={**os.environ, **who})


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v0.12.0-4-g104a9bc", "0.12.0+4-g104a9bc"),
        ("0.10.0", "0.10.0"),
        ("v2.0.1-13-g3eade33", "2.0.1+13-g3eade33"),
    ],
)
def test_version_of_the_originals(lib: ModuleType, described: str, version: str) -> None:
    """Protocol 8.2: a leading v goes, the first minus becomes a plus."""
    assert lib.version.format_version(described) == version


def test_version_follows_what_the_image_is_made_of(lib: ModuleType, tmp_path: Path) -> None:
    write_tree(tmp_path, {"mkctl/a.py": "1", "docs/x": "1"})
    assert lib.version.read_version(tmp_path, "0.1.0") == "0.1.0", "an unpacked archive has no git"
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    first = lib.version.read_version(tmp_path, "0.1.0")
    assert first.startswith("0.1.0+1-g")
    (tmp_path / "docs/x").write_text("2")
    git(tmp_path, "commit", "-q", "-a", "-m", "two")
    assert lib.version.read_version(tmp_path, "0.1.0") == first, "documents are not in the image"
    git(tmp_path, "tag", "v0.2.0", "HEAD~1")
    assert lib.version.read_version(tmp_path, "0.1.0") == "0.2.0"
    (tmp_path / "mkctl/a.py").write_text("2")
    assert lib.version.read_version(tmp_path, "0.1.0") == "0.2.0-dirty"
    git(tmp_path, "commit", "-q", "-a", "-m", "three")
    assert lib.version.read_version(tmp_path, "0.1.0").startswith("0.2.0+2-g")


def test_image_version_is_what_os_release_permits(lib: ModuleType) -> None:
    assert lib.version.format_image_version("2.0.1+13-g3eade33-dirty") == "2.0.1_13-g3eade33-dirty"


def test_archive_is_what_cpio_reads(lib: ModuleType, tmp_path: Path) -> None:
    """Root's files of one time, each folder once and first; the same bytes again; another archive can follow."""
    (tmp_path / "big").write_bytes(b"b" * 3_000_001)
    members = [
        lib.archives.Member("init", b"#!", 0o755),
        lib.archives.Member("layers/10-root.squashfs", tmp_path / "big"),
        lib.archives.Member("layers/20-mirror.squashfs", b"m"),
    ]
    for name in ("one", "two"):
        lib.archives.write_archive(members, tmp_path / name, EPOCH)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_size % 4 == 0
    listed = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet", "--file", str(tmp_path / "one")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert [(line.split()[0], line.split()[4], line.split()[-1]) for line in listed] == [
        ("-rwxr-xr-x", "2", "init"),
        ("drwxr-xr-x", "0", "layers"),
        ("-rw-r--r--", "3000001", "layers/10-root.squashfs"),
        ("-rw-r--r--", "1", "layers/20-mirror.squashfs"),
    ]
    assert {tuple(line.split()[2:4]) for line in listed} == {("0", "0")}


def test_layer_of_a_folder_is_roots_and_hides_what_is_hidden(lib: ModuleType, tmp_path: Path) -> None:
    """A mirror's layer: all root's, readable, of one time, at its place; the same bytes again."""
    mirror = write_tree(tmp_path / "mirror", {"tinycorelinux/sysext/x86_64/a.raw": "a", ".made/a": "hidden"})
    (mirror / "tinycorelinux").chmod(0o700)
    for name in ("one", "two"):
        lib.squashfs.pack_folder(mirror, "usr/share/mk/mirror", tmp_path, tmp_path / name, EPOCH)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    listed = subprocess.run(
        ["unsquashfs", "-lln", str(tmp_path / "one")], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [(line.split()[0], line.split()[1], line.split()[-1].removeprefix("squashfs-root")) for line in listed] == [
        ("drwxr-xr-x", "0/0", ""),
        ("drwxr-xr-x", "0/0", "/usr"),
        ("drwxr-xr-x", "0/0", "/usr/share"),
        ("drwxr-xr-x", "0/0", "/usr/share/mk"),
        ("drwxr-xr-x", "0/0", "/usr/share/mk/mirror"),
        ("drwxr-xr-x", "0/0", "/usr/share/mk/mirror/tinycorelinux"),
        ("drwxr-xr-x", "0/0", "/usr/share/mk/mirror/tinycorelinux/sysext"),
        ("drwxr-xr-x", "0/0", "/usr/share/mk/mirror/tinycorelinux/sysext/x86_64"),
        ("-rw-r--r--", "0/0", "/usr/share/mk/mirror/tinycorelinux/sysext/x86_64/a.raw"),
    ]


def test_layer_of_a_tar_keeps_owners_and_rights(lib: ModuleType, tmp_path: Path) -> None:
    """polkit's rules and D-Bus's helper have owners and rights that the system needs."""
    (tmp_path / "rules").mkdir(mode=0o750)
    (tmp_path / "helper").write_text("x")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        for name, mode, gid in (("rules", 0o750, 994), ("helper", 0o4754, 101)):
            member = tar.gettarinfo(str(tmp_path / name), f"./{name}")
            member.mode, member.uid, member.gid, member.mtime = mode, 0, gid, EPOCH
            member.uname = member.gname = ""  # numbers alone, as mkosi writes them
            with (tmp_path / "helper").open("rb") as content:
                tar.addfile(member, content if member.isreg() else None)
    lib.squashfs.pack_tar(tmp_path / "root.tar", tmp_path / "layer", EPOCH)
    listed = subprocess.run(
        ["unsquashfs", "-lln", str(tmp_path / "layer")], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["-rwsr-xr--", "0/101"], ["drwxr-x---", "0/994"]]


def test_what_the_services_load_is_a_layer_of_its_own(lib: ModuleType, tmp_path: Path) -> None:
    """In the order of loading: by name, its blocks would be unpacked again and again, as the kernel keeps three."""
    tree = tmp_path / "tree"
    for name in ("b/2.pyc", "b/c/1.pyc", "b/a.pyc", "b.d/x", "a", "dev/null"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "link").symlink_to("b")
    record = tmp_path / "load-order"
    record.write_text("/b/c/1.pyc\n/b/2.pyc\n/gone.pyc\n/b/c/1.pyc\n")
    first = lib.load_order.read(record)
    lib.mkosi.pack_tree(tree, tmp_path / "root", tmp_path / "services", EPOCH, first)
    wanted = {
        "root": [".", "b", "b/c", "b.d", "dev", "a", "b/a.pyc", "b.d/x", "link"],
        "services": [".", "b", "b/c", "b/c/1.pyc", "b/2.pyc"],
    }
    for name, members in wanted.items():
        with tarfile.open(tmp_path / name) as tar:
            assert [member.name.removeprefix("./") for member in tar] == members
        lib.squashfs.pack_tar(tmp_path / name, tmp_path / "layer", EPOCH, quick=name == "services")
        command = ["unsquashfs", "-lln", "-UTC", str(tmp_path / "layer")]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(listed) == len(members)
        assert listed[0].startswith("drwxr-xr-x 0/0 ") and " 2023-11-14 22:13 " in listed[0]
    shown = subprocess.run(["unsquashfs", "-s", str(tmp_path / "layer")], capture_output=True, text=True, check=True)
    assert "Compression zstd" in shown.stdout


def test_modules_that_could_not_be_loaded_are_an_error(lib: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "load-order").write_text("\n")
    with pytest.raises(lib.places.BuildError, match="load-order"):
        lib.load_order.read(tmp_path / "load-order")


def test_broken_tar_is_one_error(lib: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(lib.places.BuildError, match="mksquashfs"):
        lib.squashfs.pack_tar(tmp_path / "tar", tmp_path / "layer", EPOCH)


DEPENDENCIES = """\
kernel/fs/overlayfs/overlay.ko: kernel/lib/b.ko kernel/lib/a.ko
kernel/lib/a.ko:
kernel/lib/b.ko: kernel/lib/a.ko
kernel/drivers/block/loop.ko:
"""


def test_modules_are_loaded_after_what_they_need(lib: ModuleType) -> None:
    assert lib.first_process.sort_modules(DEPENDENCIES, ("loop", "overlay")) == [
        "kernel/drivers/block/loop.ko",
        "kernel/lib/a.ko",
        "kernel/lib/b.ko",
        "kernel/fs/overlayfs/overlay.ko",
    ]
    with pytest.raises(lib.places.BuildError, match=r"no squashfs\.ko"):
        lib.first_process.sort_modules(DEPENDENCIES, ("squashfs",))


def test_first_process_compiles_without_a_warning(lib: ModuleType, tmp_path: Path) -> None:
    """And to the same bytes each time; linked whole."""
    if not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed (packaging/setup image installs it)")
    one, two = (lib.first_process.compile_init(tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 100_000
    assert b"ld-musl" not in one.read_bytes()


def test_what_is_said_at_the_start_is_seen_in_spite_of_quiet() -> None:
    """With it the consoles show what is below 4 (CONFIG_CONSOLE_LOGLEVEL_QUIET of Debian's kernel): no warning."""
    image = Path(__file__).resolve().parent.parent.parent / "packaging/image"
    sources = image / "init/init.c", image / "forms/first-stage/init"
    said = [int(each) for each in re.findall(r"\bsay\((\d), ", sources[0].read_text(encoding="utf-8"))]
    shell = sources[1].read_text(encoding="utf-8")
    default = re.findall(r'^say\(\) \{ echo "<\$\{2:-(\d)\}>mk: ', shell, re.M)
    given = re.findall(r'\bsay "[^\n]*" (\d)$', shell, re.M)
    assert len(said) >= 3 and len(default) == 1
    assert max([*said, *map(int, default + given)]) < 4


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("usr/lib/modules/6.12/kernel/drivers/net/ethernet/intel/igb/igb.ko", "modules: network cards"),
        ("usr/lib/modules/6.12/modules.dep", "modules: index"),
        ("usr/lib/firmware/bnx2/x.fw", "firmware of network cards"),
        ("usr/lib/python3/dist-packages/mkctl/agent.py", "the suite"),
        ("usr/lib/python3/dist-packages/requests/api.pyc", "Python: libraries"),
        ("usr/lib/python3.13/os.pyc", "Python: itself"),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", "libraries"),
        ("etc/passwd", "all else"),
    ],
)
def test_what_a_file_is_for(lib: ModuleType, path: str, kind: str) -> None:
    assert lib.weigh.find_kind(path) == kind


def test_weights_add_up_to_the_layer(lib: ModuleType, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"usr/bin/a": "a" * 5000, "usr/lib/python3.13/b": "b", "etc/c": "c" * 70})
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tree, ".")
    weights = lib.weigh.weigh([tmp_path / "root.tar"], 1_000_000)
    assert set(weights) == {"commands", "Python: itself", "all else"}
    assert sum(weight["image_bytes"] for weight in weights.values()) == pytest.approx(1_000_000, abs=3)
    assert weights["commands"]["raw_bytes"] == 5000
    assert "commands" in lib.weigh.format_weights(weights)


def test_manifest_keeps_what_several_write_at_once(lib: ModuleType, tmp_path: Path) -> None:
    lib.manifest.write(tmp_path, {"files": {}})
    names = [f"form{number}" for number in range(16)]
    for name in names:
        (tmp_path / name).write_text(name)
    threads = [threading.Thread(target=lib.manifest.record, args=(tmp_path, name, "0" * 64)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert sorted(files) == sorted(names)
    assert all(lib.manifest.is_recorded(tmp_path, name, "0" * 64) for name in names)
    assert not lib.manifest.is_recorded(tmp_path, "form0", "1" * 64)
    (tmp_path / "form0").write_text("cut")
    assert not lib.manifest.is_recorded(tmp_path, "form0", "0" * 64)
    assert not list(tmp_path.glob("*.new"))


def test_no_image_says_what_makes_it(lib: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(lib.places.BuildError, match="run make image"):
        lib.manifest.read(tmp_path)


def test_mk_fetch_is_left_out_where_nobody_said_anything() -> None:
    """The image's conditions of mk-fetch.service name all that mkmirror.glance looks at, and what is built in."""
    extra, plain = IMAGE / "mkosi.extra/usr/lib", Paths()
    lines = (extra / "systemd/system/mk-fetch.service.d/50-image.conf").read_text(encoding="utf-8").splitlines()
    found = {tuple(line.split("=|")) for line in lines if line.startswith("Condition")}
    said = (plain.pushed, plain.requests, plain.staged, plain.installed, plain.etc / "mk.toml")
    stores = {f"{top}/credstore/mk.toml" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib")}
    recipes = tomllib.loads((IMAGE.parent / "extensions/recipes.toml").read_text(encoding="utf-8")).values()
    built_in = [recipe["when"] for recipe in recipes if recipe.get("image")]
    assert found == {
        *(("ConditionPathExists", path) for path in {*map(str, said), *stores}),
        ("ConditionDirectoryNotEmpty", str(plain.etc / "mk.toml.d")),
        ("ConditionDirectoryNotEmpty", str(plain.mirror_admin)),
        ("ConditionCredential", "mk.toml"),
        *(("ConditionVirtualization", line.removeprefix("virtualization ")) for when in built_in for line in when),
    }
    assert all(built_in), "an extension for every machine is something to fetch at each boot"
    assert not SECTIONS & tomllib.loads((extra / "mk/mk.toml").read_text(encoding="utf-8")).keys()
