"""Attacks on the root's half: whoever controls a mirror, a push, or mk-fetch itself gains nothing by them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mkcore.errors import BadInput, ToolFailed
from mkmirror import merge, unpack
from mkmirror.claims import Claims, What
from mkmirror.discarding import forget
from mkmirror.installed import LIMIT_BYTES, Extension, Installed, Module, Refusal, read_installed, write_installed
from mkmirror.layers import Layers
from mkmirror.native import Sort, judge, require_mergeable
from mkmirror.staged import By, Folder, Item, Kind, Modules, Staged, build_staged, parse_staged
from mkmirror.transaction import Candidate, take_in
from mkmirror.verifying import Checked
from tests.unit.extension_node import OWN, OWN_TCZ, REMOTE, Node

RELEASE = "usr/lib/extension-release.d/extension-release.a"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_module_lists_do_not_push_out_what_is_installed(node: Node) -> None:
    """List after list: what was skipped before is forgotten; what is installed stays, and can be read again."""
    node.want(node.item("a.raw"))
    installed = node.run()
    for at in range(3):
        node.stage(modules=(Modules(By.PUSH, tuple(f"m{at}x{n}" for n in range(900)), f"http://m/{at}"),))
        installed = node.run(stage=False)
    assert set(installed.extensions) == {"a.raw"} and len(installed.modules) == 900
    assert set(node.run().extensions) == {"a.raw"} and node.merged() == ["a.raw"]


def test_no_record_that_cannot_be_read_again(tmp_path: Path) -> None:
    """What is only told is left out first; more than is read is not written."""
    path = tmp_path / "installed.json"
    extensions = {"a.raw": Extension("sysext", "push")}
    long = {f"{n}": Refusal("push", "x" * 100_000) for n in range(100)}
    modules = {"gone": Module("push", "skipped"), "there": Module("push", "loaded")}
    write_installed(path, Installed(extensions, refused=long, modules=modules, signed={"k": 7}))
    assert read_installed(path) == Installed(extensions, modules={"there": modules["there"]}, signed={"k": 7})
    with pytest.raises(BadInput, match="would be larger"):
        write_installed(path, Installed({"a.raw": Extension("sysext", "push", units=("x" * LIMIT_BYTES,))}))
    assert read_installed(path).signed == {"k": 7}
    units = {f"usr/lib/systemd/system/unit-{n}.service": Sort.FILE for n in range(1_000)}
    with pytest.raises(BadInput, match=r"a\.raw: has 1000 units"):
        judge("a.raw", units, lambda _: "")


def test_a_damaged_record_sweeps_nothing_away(node: Node) -> None:
    """What is shown is found out from the system, the times of signatures from what is left of the record."""
    node.want(node.item("a.raw"))
    node.want(node.item("b.tcz", folder=OWN_TCZ))
    before = node.run()
    node.paths.installed.write_text('{"version": 1, "extensions": {"a.raw": 3}, "signed": {"k": 7}}')
    after = node.run()
    assert {name: each.sha256 for name, each in after.extensions.items()} == {
        name: each.sha256 for name, each in before.extensions.items()
    }
    assert after.signed == {"k": 7} and node.merged() == ["a.raw"]
    node.ask(remove=["a", "b"])
    assert not node.run(stage=False).extensions


def with_attributes(image: Path) -> None:
    """Rewrite a squashfs image's head so that it says that it has extended attributes."""
    data = bytearray(image.read_bytes())
    data[56:64] = (len(data) - 8).to_bytes(8, "little")
    image.write_bytes(data)


@pytest.mark.parametrize(("name", "folder"), [("a.raw", OWN), ("a.tcz", OWN_TCZ)])
def test_attributes_that_hide_the_systems_folders(node: Node, name: str, folder: Folder) -> None:
    """trusted.overlay.opaque on usr/lib would hide the system's: such an image is not even mounted."""
    item = node.item(name, folder=folder)
    staged = node.staging(folder) / name
    with_attributes(staged)
    node.want(node.add(staged, folder, item.needs))
    installed = node.run()
    assert not installed.extensions and "has extended attributes, by which" in installed.refused[name].reason
    assert not [line for line in node.asked if line.startswith("mount")]


def test_attributes_that_hide_folders_where_the_head_does_not_tell(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of erofs each file is asked for, by PID 1."""
    monkeypatch.setenv("PATH", str(node.programs), prepend=":")
    tree = node.root / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    merge.require_plain(tree, "a.raw")
    os.setxattr(tree / "usr/lib", "user.overlay.opaque", b"y")
    with pytest.raises(BadInput, match=r"a\.raw: has extended attributes"):
        merge.require_plain(tree, "a.raw")
    with pytest.raises(ToolFailed):
        merge.require_plain(tree / "absent", "a.raw")


REPLACED = (
    "usr/bin/gpgv",
    "usr/bin/systemd-run",
    "usr/bin/sh",
    "usr/sbin/ldconfig",
    "usr/bin/dbus-daemon",
    "usr/lib/systemd/systemd",
    "usr/lib/systemd/libsystemd-shared-257.so",
    "usr/lib/x86_64-linux-gnu/libc.so.6",
    "usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0",
    "usr/lib64/ld-linux-x86-64.so.2",
)


@pytest.mark.parametrize("path", REPLACED)
def test_programs_that_root_runs_are_not_replaced(path: str) -> None:
    """Where the system has none of that name, an extension may bring one."""
    entries = {RELEASE: Sort.FILE, path: Sort.FILE}
    with pytest.raises(BadInput, match="would replace a file that the suite runs with"):
        require_mergeable("a.raw", entries, lambda found: "other" if found == path else "")
    require_mergeable("a.raw", entries, lambda _: "")
    entries = {RELEASE: Sort.FILE, "usr/lib/x86_64-linux-gnu/libpci.so.3": Sort.LINK}
    require_mergeable("a.raw", entries, lambda _: "other")


@pytest.mark.parametrize(
    ("path", "sort"),
    [
        ("six", Sort.FOLDER),
        ("six.cpython-313-x86_64-linux-gnu.so", Sort.FILE),
        ("requests/adapters.abi3.so", Sort.LINK),
        ("requests/adapters", Sort.FOLDER),
        ("requests.so", Sort.FILE),
        ("__pycache__/six.cpython-313.pyc", Sort.FILE),
    ],
)
@pytest.mark.parametrize("ending", ["py", "pyc"])
def test_modules_that_would_be_found_before_the_systems(path: str, sort: Sort, ending: str) -> None:
    """The image has byte code alone of what Debian wrote."""
    top = "usr/lib/python3/dist-packages"
    there = {f"{top}/six.{ending}": "other", f"{top}/requests": "folder", f"{top}/requests/adapters.{ending}": "other"}
    with pytest.raises(BadInput, match="would be imported instead of"):
        require_mergeable("a.raw", {RELEASE: Sort.FILE, f"{top}/{path}": sort}, lambda each: there.get(each, ""))
    others = (f"{top}/x.py", f"{top}/x", f"{top}/requests/new.py", f"{top}/six-1.0.dist-info/METADATA")
    entries = {RELEASE: Sort.FILE, **dict.fromkeys(others, Sort.FILE), f"{top}/x": Sort.FOLDER, top: Sort.FOLDER}
    require_mergeable("a.raw", entries, lambda each: {**there, top: "folder"}.get(each, ""))


def test_a_source_does_not_hide_byte_code() -> None:
    path = "usr/lib/python3/dist-packages/six.py"
    with pytest.raises(BadInput, match="would be imported instead of"):
        require_mergeable(
            "a.raw", {RELEASE: Sort.FILE, path: Sort.FILE}, lambda each: "other" if each == f"{path}c" else ""
        )


@pytest.mark.parametrize(("name", "folder", "path"), [("a.raw", OWN, "usr/x\ny"), ("a.tcz", OWN_TCZ, "usr/local/x\ny")])
def test_names_with_line_ends(node: Node, name: str, folder: Folder, path: str) -> None:
    node.want(node.item(name, {path: ""}, folder=folder))
    assert "is not the path of a file inside" in node.run().refused[name].reason


def test_names_that_only_begin_like_allowed_ones(node: Node) -> None:
    """smart does not stand for smart.evil; nor does a module's name for an extension's."""
    node.configure('[extensions]\nallow = ["smart"]\nmodules = ["drivers/net/tool.ko"]\ninstall = ["foo"]\n')
    node.want(node.item("smart.raw"), by=By.PUSH)
    node.want(node.item("smart.evil.raw"), by=By.PUSH)
    node.want(node.item("tool.raw"), by=By.SITE)
    node.want(node.item("foo.raw"), by=By.SITE)
    installed = node.run()
    assert set(installed.extensions) == {"smart.raw", "foo.raw"}
    assert set(installed.refused) == {"smart.evil.raw", "tool.raw"}
    claims = Claims({(By.SITE, What.EXTENSION): frozenset(("foo", "vmci"))}, ("/x/",))
    claims.require(By.SITE, "foo.raw", What.EXTENSION)
    for name, what in (("foo", What.PACKAGE), ("drivers/misc/vmci.ko", What.MODULE), ("foo.evil.raw", What.EXTENSION)):
        with pytest.raises(BadInput, match="nothing on this machine says that the site asks for it"):
            claims.require(By.SITE, name, what)


def test_a_claim_that_nothing_shows_is_no_push(node: Node) -> None:
    """Whoever claims another origin than is on file lies, though a push might have asked for it."""
    for name, by in (("site", By.SITE), ("builtin", By.BUILTIN), ("pushed", By.PUSH)):
        node.want(node.item(f"{name}.raw"), by=by)
    installed = node.run()
    assert set(installed.extensions) == {"pushed.raw"}
    assert installed.refused["builtin.raw"].reason == (
        "builtin.raw: nothing on this machine says that its own list asks for it"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gem_mirror", "http://site/g"),
        ("tce_install_list_uri", ""),
        ("tce_mirror", "http://127.0.0.1:2157/tinycorelinux"),
        ("tce_install_list_uri", "http://site/list"),
        ("kmod_install_list_uri", "http://site/list"),
        ("gemlist_uri", "http://site/list"),
        ("tce_mirror_uri", "http://site/m"),
    ],
)
def test_a_list_elsewhere_shows_nothing(node: Node, key: str, value: str) -> None:
    """Root cannot read it, and the network says what is in it: no way past extensions.allow, whoever named it."""
    node.configure(f'[mirror]\n{key} = "{value}"\n[extensions]\nallow = []\n')
    node.want(node.item("any.raw"), by=By.SITE)
    node.stage(modules=(Modules(By.SITE, ("vfio",), "http://site/kmod"),))
    installed = node.run(stage=False)
    said = {name for name, each in installed.refused.items() if "says that the site asks for it" in each.reason}
    assert said == {"any.raw", "vfio"} and not installed.extensions and not installed.modules


@pytest.mark.parametrize("by", [By.PUSH, By.BUILTIN, By.SITE, By.ADMIN])
@pytest.mark.parametrize(("name", "folder"), [("a.raw", OWN), ("a.tcz", OWN_TCZ)])
def test_what_is_not_for_this_machine(node: Node, name: str, folder: Folder, by: By) -> None:
    """Who has mk-fetch leaves out the condition, or hands over another one: root reads the mirror's own."""
    node.configure('[extensions]\ninstall = ["a"]\n')
    (node.paths.mirror_admin / "tinycorelinux").mkdir(parents=True)
    (node.paths.mirror_admin / "tinycorelinux/tce-install-list").write_text(f'["{name}"]')
    item = node.item(name, folder=folder)
    (node.on_disk(folder) / f"{name}.when").write_text("virtualization vmware\n")
    staged = node.staging(folder) / f"{name}.when"
    for text, said in (
        ("", f"{name}.when: was not staged"),
        ("virtualization none\n", f"{name}.when: is not what the machine's own mirror has"),
        ("virtualization vmware\n", f"{name}: its .when says that it is not for this machine (none)"),
    ):
        item = node.item(name, folder=folder)
        staged.unlink(missing_ok=True)
        if text:
            staged.write_text(text)
        node.want(item, by=by)
        installed = node.run()
        if by is By.ADMIN and "not for this" in said:
            assert set(installed.extensions) == {name}, "anywhere, who asks for it by name"
        else:
            assert said in installed.refused[name].reason and not installed.extensions


def test_what_another_needs_comes_along_on_any_machine(node: Node) -> None:
    needed = node.item("b.raw")
    for place in (node.on_disk(OWN), node.staging(OWN)):
        (place / "b.raw.when").write_text("virtualization vmware\n")
    node.want(needed, node.item("a.raw", needs=["b.raw"]), by=By.PUSH)
    assert set(node.run().extensions) == {"a.raw", "b.raw"}


@pytest.mark.parametrize(
    ("name", "folder", "said"),
    [
        ("a.tcz", replace(OWN_TCZ, path="14.x/x86_64/tcz"), "is not a folder for this machine"),
        ("a.raw", replace(OWN, path="sysext/other"), "is not a folder for this machine"),
        ("a.raw", OWN_TCZ, "is not a folder for this machine"),
        ("a.tcz", OWN, "is not a folder for this machine"),
        ("a.raw", replace(OWN, mirror="http://localhost:2157"), "is not in the machine's own mirror"),
        ("a.raw", replace(OWN, mirror="http://localhost:2157/tinycorelinux/x"), "is not in the machine's own mirror"),
        ("a.raw", replace(OWN, mirror="http://localhost:2157/%2e%2e"), "is not in the machine's own mirror"),
        ("a.raw", replace(OWN, mirror="http://localhost:2158/gem-mirror"), "is not in the machine's own mirror"),
        ("a.raw", replace(OWN, mirror="http://mirror.example/tinycorelinux"), "is not in the machine's own mirror"),
        ("a.raw", replace(OWN, mirror="http://[::2]/tinycorelinux"), "is not in the machine's own mirror"),
    ],
)
def test_a_folder_on_disk_that_is_not_the_configured_one(node: Node, name: str, folder: Folder, said: str) -> None:
    """It lies in the machine's own mirror all the same, for another release or kind: that counts for nothing."""
    place = node.on_disk(folder)
    item = node.item(name, folder=folder)
    base = urlsplit(folder.mirror).path.strip("/") or "."
    assert (place / name).is_file()
    other = node.paths.mirror_admin / base / folder.path
    other.mkdir(parents=True, exist_ok=True)
    (other / name).write_bytes((place / name).read_bytes())
    node.want(item)
    installed = node.run()
    assert said in installed.refused[name].reason and not installed.extensions


def test_a_listed_name_from_another_mirror_is_a_pushs() -> None:
    """The site's list and the machine's own vouch for what their own mirrors have."""
    both = {(by, What.EXTENSION): frozenset(("a",)) for by in (By.SITE, By.BUILTIN, By.ADMIN)}
    claims = Claims(both, ("other",), ("http://site/m",))
    near = (OWN, Folder("http://site/m", "sysext/x86_64", False), Folder("http://site/m/below/", "x", False))
    for by in (By.SITE, By.BUILTIN):
        assert claims.require(by, "a.raw", What.EXTENSION, near) is by
        with pytest.raises(BadInput, match="does not let a push"):
            claims.require(by, "a.raw", What.EXTENSION, (*near, Folder("http://site/m2", "x", False)))
    assert claims.require(By.ADMIN, "a.raw", What.EXTENSION, (REMOTE,)) is By.ADMIN


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_document_that_is_no_file_is_gone_afterwards(node: Node, kind: str) -> None:
    """It costs one run, not each later one."""
    if kind == "pipe":
        os.mkfifo(node.paths.staged)
    elif kind == "link":
        node.paths.staged.symlink_to("/etc/passwd")
    else:
        (node.paths.staged / "below").mkdir(parents=True)
    node.run(1, stage=False)
    assert "what was fetched is not used" in node.said and not os.path.lexists(node.paths.staged)
    node.want(node.item("a.raw"))
    assert set(node.run().extensions) == {"a.raw"}


def test_forgetting_follows_no_link_and_costs_nothing(tmp_path: Path) -> None:
    """A folder of staging that became a link to somebody else's; a file that became a folder."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.raw").write_text("kept")
    (tmp_path / "run/staging/1/a.raw").mkdir(parents=True)
    (tmp_path / "run/staging/2").mkdir()
    (tmp_path / "run/staging/2/a.raw").write_text("goes")
    (tmp_path / "run/staging/0").symlink_to(tmp_path / "other")
    forget(tmp_path / "run", [Item(Kind.SYSEXT, "a.raw", number) for number in "0123"])
    assert (tmp_path / "other/a.raw").read_text() == "kept" and (tmp_path / "run/staging/1/a.raw").is_dir()
    assert not (tmp_path / "run/staging/2/a.raw").exists()


@pytest.mark.parametrize("place", ["run/extensions/a.raw", "etc/extensions/a", "var/lib/extensions/a.raw"])
def test_an_administrators_own_extension_is_not_replaced(node: Node, place: str) -> None:
    theirs = node.root / place
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    node.want(node.item("a.raw"))
    node.want(node.item("b.raw"))
    installed = node.run()
    assert set(installed.extensions) == {"b.raw"} and theirs.read_text() == "theirs"
    assert "has an extension of that name" in installed.refused["a.raw"].reason


def test_a_refused_request_leaves_no_claim_on_a_name(tmp_path: Path) -> None:
    """Its first file does not keep another request from having that name, when its second one is why it is refused."""

    def checked(name: str, digit: str) -> Checked:
        (tmp_path / digit).write_text(digit)
        return Checked(Item(Kind.SYSEXT, name, "0"), tmp_path / digit, digit * 64, 1, "http://m", "")

    layers, taken = Layers(tmp_path / "run", tmp_path), {"b.raw": "9" * 64}
    bad = Candidate("b.raw", By.PUSH, (checked("a.raw", "1"), checked("b.raw", "2")))
    assert "two mirrors" in take_in(layers, bad, taken)
    assert take_in(layers, Candidate("a.raw", By.PUSH, (checked("a.raw", "3"),)), taken) == ""


def test_a_wheel_whose_name_is_none_costs_its_request_alone(node: Node) -> None:
    folder = Folder("http://localhost:2157/tinycorelinux", "wheels", True)
    (node.staging(folder) / "foo.whl").write_text("no wheel")
    node.want(node.add(node.staging(folder) / "foo.whl", folder), node.item("a.raw"))
    node.want(node.item("b.raw"))
    document = json.dumps(build_staged(Staged(node.folders, tuple(node.requests))))
    try:
        parse_staged(document.encode())
    except BadInput:
        return  # the document is refused already
    assert set(node.run().extensions) == {"b.raw"} and "foo.whl" in node.said


def test_headers_of_a_package_without_a_name_lead_nowhere() -> None:
    target = unpack._target  # pyright: ignore[reportPrivateUsage]
    assert target("foo-1.data/headers/x.h", "foo-1.data", "foo", "f")[0] == "local/include/foo/x.h"
    for package in ("-", "..", "_", ""):
        with pytest.raises(BadInput, match="has no place here"):
            target("..-1.data/headers/x.h", "..-1.data", package, "f")
