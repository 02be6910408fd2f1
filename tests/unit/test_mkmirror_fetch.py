"""mk-fetch: what it stages from its own mirror and from others, in which order, by whose word."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkmirror import trust
from mkmirror.ground import Ground
from mkmirror.staged import By, Kind, Staged
from mkmirror.verifying import Verifier
from tests.unit.fetch_node import (
    KERNEL,
    LIST,
    MODULES,
    PACKAGES,
    RAW,
    TCZ,
    WHEELS,
    Node,
    add_raw,
    add_sums,
    add_tcz,
    make_node,
    order,
    put,
)
from tests.unit.mirror_trees import make_wheel
from tests.unit.pgp_keys import Gpg


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory() as folder:
        made = Gpg(Path(folder))
        made.make_key("site")
        yield made
        made.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with make_node(tmp_path) as made:
        yield made


def three_levels(root: Path) -> None:
    add_tcz(root, "a", "b.tcz", "mods-KERNEL.tcz")
    add_tcz(root, "b", "c.tcz")
    add_tcz(root, "c")
    add_tcz(root, f"mods-{KERNEL}")


def test_nothing_is_wanted(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """No lists, no configuration: no document, so that nothing more happens."""
    assert node.run() == Staged()
    assert not node.paths.staged.exists()
    assert "Nothing new is wanted" in capsys.readouterr().err


def test_the_built_in_list_before_the_first_checkin(node: Node) -> None:
    """Asked over HTTP, by the machine's own sums; a configured mirror elsewhere is not asked yet."""
    image = add_raw(node.own, "tools")
    add_raw(node.own, "unwanted")
    put(node.own, LIST, '["tools.raw"]')
    node.site(f'[mirror]\ntce_mirror = "{node.tce}"\n[extensions]\ninstall = ["elsewhere.raw"]\n')
    staged = node.run(remote=False)
    (request,) = staged.requests
    assert (request.name, request.by, order(request)) == ("tools.raw", By.BUILTIN, ["tools.raw"])
    folder = staged.folders[request.items[0].folder]
    assert (folder.builtin, folder.path, folder.mirror) == (
        True,
        RAW.split("/", 1)[1],
        f"{node.own_server.uri}/tinycorelinux",
    )
    assert node.file(request.items[0]).read_bytes() == image.read_bytes()
    assert request.items[0].size_bytes == image.stat().st_size
    assert node.names() == ["tools.raw"]
    assert staged.refused == ()  # what only the mirror elsewhere may have waits
    assert node.remote_server.asked == []
    assert f"/{RAW}/tools.raw" in node.own_server.asked


def test_three_levels_of_a_tiny_core_mirror_with_modules_of_the_kernel(node: Node) -> None:
    """The deepest first, -KERNEL in a name, by MD5 sums where the site says that these will do."""
    three_levels(node.remote)
    put(node.remote, LIST, '["a.tcz"]')
    node.site(f'[mirror]\ntce_mirror_uri = "{node.tce}"\n[extensions]\nverify = "checksum"\n')
    node.push(mk_tce_install_list_uri=f"{node.tce}/tce-install-list")
    staged = node.run()
    (request,) = staged.requests
    assert (request.name, request.by) == ("a.tcz", By.PUSH)
    assert order(request) == ["c.tcz", "b.tcz", f"mods-{KERNEL}.tcz", "a.tcz"]
    assert [item.needs for item in request.items] == [(), ("c.tcz",), (), ("b.tcz", f"mods-{KERNEL}.tcz")]
    for item in request.items:
        assert item.kind is Kind.TCZ
        assert item.md5 == trust.digest_file(node.remote / TCZ / item.name, "md5")
        assert node.file(item).with_name(f"{item.name}.md5.txt").is_file()


def test_what_is_installed_is_left_out_and_what_is_only_staged_is_not(node: Node) -> None:
    """Defect B27: a file that was downloaded before is installed all the same, without being fetched again."""
    three_levels(node.remote)
    node.site(f'[mirror]\ntce_mirror = "{node.tce}"\n[extensions]\nverify = "checksum"\ninstall = ["a", "c.tcz"]\n')
    first = node.run()
    assert [each.name for each in first.requests] == ["a.tcz", "c.tcz"]
    asked = len(node.remote_server.asked)
    assert node.run() == first
    assert not [path for path in node.remote_server.asked[asked:] if path.endswith(".tcz")]
    node.installed(extensions={"c.tcz": {"kind": "tcz", "by": "site"}})
    (request,) = node.run().requests
    assert order(request) == ["b.tcz", f"mods-{KERNEL}.tcz", "a.tcz"]
    node.installed(extensions={name: {"kind": "tcz", "by": "site"} for name in ("a.tcz", "c.tcz")})
    assert node.run() == Staged()
    assert node.names() == []


def test_a_signed_mirror_and_back(node: Node, gpg: Gpg) -> None:
    """Changing over by Razor's key and by Hanlon's, and back: the machine's own mirror again."""
    add_raw(node.remote, "far")
    add_raw(node.own, "near")
    put(node.own, LIST, '["near.raw"]')
    put(node.remote, LIST, '["far"]')
    add_sums(node.remote / RAW, gpg, "site")
    node.trust(gpg, "site")
    for keys in (
        {"mk_tce_mirror_uri": node.tce, "mk_tce_install_list_uri": f"{node.tce}/tce-install-list"},
        {"mk_tce_mirror": f"{node.tce}/", "mk_tce_install_list_uri": "/tce-install-list"},
    ):
        node.push(**keys)
        staged = node.run()
        assert {each.name: each.by for each in staged.requests} == {"near.raw": By.BUILTIN, "far.raw": By.PUSH}
        far = next(each for each in staged.requests if each.name == "far.raw").items[0]
        assert far.sha256 == trust.digest_file(node.remote / RAW / "far.raw")
        for name in (trust.SUMS, trust.SIGNATURE):
            assert node.file(far).with_name(name).read_bytes() == (node.remote / RAW / name).read_bytes()
    own = "http://localhost:/tinycorelinux"  # what the last Razor server pushes, B17; not this test's own mirror
    node.push(mk_tce_mirror_uri=node.own_server.uri, mk_gem_mirror_uri=own)
    assert [each.name for each in node.run().requests] == ["near.raw"]


def test_a_name_without_an_ending(node: Node) -> None:
    """The native one where the mirror has it, else Tiny Core's."""
    add_raw(node.own, "both")
    add_tcz(node.own, "both")
    add_tcz(node.own, "tiny")
    node.site('[extensions]\ninstall = ["both", "tiny", "both.tcz"]\n')
    assert [each.name for each in node.run().requests] == ["both.raw", "tiny.tcz", "both.tcz"]


def test_onboot_lst_is_one_more_list(node: Node) -> None:
    add_tcz(node.own, "early")
    put(node.own, f"{TCZ}/onboot.lst", "early.tcz\n# none\n")
    (request,) = node.run().requests
    assert (request.name, request.by) == ("early.tcz", By.BUILTIN)


def test_only_for_some_machines(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listed extension only where it fits; asked for by name, anywhere."""
    tools = tmp_path / "bin"
    put(tools, "systemd-detect-virt", "#!/bin/sh\necho kvm\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    add_raw(node.own, "guest", when="virtualization vmware\n")
    add_raw(node.own, "virtio", when="# these\nvirtualization qemu\nvirtualization kvm\n")
    add_raw(node.own, "odd", when="machine big\n")
    put(node.own, LIST, '["guest.raw", "virtio.raw", "odd.raw"]')
    staged = node.run()
    assert [each.name for each in staged.requests] == ["virtio.raw"]
    assert [each.reason for each in staged.refused] == [
        "odd.raw.when:1: not of the form 'virtualization WORD': 'machine big'"
    ]
    node.ask(install=["guest.raw"])
    assert {each.name: each.by for each in node.run().requests} == {"virtio.raw": By.BUILTIN, "guest.raw": By.ADMIN}


def test_the_administrator_asks_and_takes_away(node: Node) -> None:
    add_raw(node.own, "listed")
    add_raw(node.own, "asked")
    add_raw(node.own, "later")
    put(node.own, LIST, '["listed.raw", "later.raw"]')
    node.ask(install=["asked", "later"], remove=["listed"])
    assert {each.name: each.by for each in node.run().requests} == {"later.raw": By.BUILTIN, "asked.raw": By.ADMIN}


def test_what_was_taken_away_is_not_fetched_for_another(node: Node) -> None:
    """Unless the administrator asks for that one himself; the list of what each needs is staged beside it."""
    add_raw(node.own, "gone")
    add_raw(node.own, "listed", needs="gone\n")
    put(node.own, LIST, '["listed.raw"]')
    node.ask(remove=["gone"])
    (refused,) = node.run().refused
    assert refused.reason == ("listed.raw: needs gone.raw, which the administrator removed (mkmirror install gone.raw)")
    node.ask(install=["listed"], remove=["gone"])
    (request,) = node.run().requests
    assert [item.name for item in request.items] == ["gone.raw", "listed.raw"]
    staged = node.paths.run_fetch / "staging" / request.items[-1].folder
    assert (staged / "listed.raw.dep").read_text() == "gone\n" and not (staged / "gone.raw.dep").exists()


def test_what_a_push_may_install(node: Node) -> None:
    """Names and patterns, with or without ending; nothing else is limited."""
    for name in ("debug-tools", "x-ray", "other", "mine"):
        add_raw(node.own, name)
    put(node.remote, LIST, '["debug-tools.raw", "x-ray", "other"]')
    put(node.remote, MODULES, '["drivers/misc/good.ko", "bad"]')
    put(node.remote, PACKAGES, "evil\n")
    node.site('[extensions]\nallow = ["debug-tools", "/^x-/", "good"]\ninstall = ["mine"]\n')
    uri = node.remote_server.uri
    node.push(
        mk_tce_install_list_uri=f"{uri}/{LIST}",
        mk_kmod_install_list_uri=f"{uri}/{MODULES}",
        mk_gemlist_uri=f"{uri}/{PACKAGES}",
    )
    staged = node.run()
    assert {each.name: each.by for each in staged.requests} == {
        "mine.raw": By.SITE,
        "debug-tools.raw": By.PUSH,
        "x-ray.raw": By.PUSH,
    }
    assert [(each.by, each.entries) for each in staged.modules] == [(By.PUSH, ("drivers/misc/good.ko",))]
    assert {each.name for each in staged.refused} == {"other", "bad", "evil"}
    assert all("does not let a push install it" in each.reason for each in staged.refused)
    node.site("[extensions]\nallow = []\n")
    assert node.run().requests == ()


def test_a_list_elsewhere_is_a_pushs_whoever_named_it(node: Node) -> None:
    """The site's file has its address, the network what it says: extensions.allow holds, and root believes no other."""
    for name in ("debug-tools", "other", "mine"):
        add_raw(node.own, name)
    put(node.remote, LIST, '["debug-tools.raw", "other", "mine"]')
    put(node.remote, MODULES, '["drivers/misc/good.ko", "bad"]')
    put(node.remote, PACKAGES, "evil\n")
    uri = node.remote_server.uri
    lists = (("tce_install", LIST), ("kmod_install", MODULES))
    text = "".join(f'{key}_list_uri = "{uri}/{path}"\n' for key, path in lists)
    text += f'gemlist_uri = "{uri}/{PACKAGES}"\n'
    node.site(f'[mirror]\n{text}[extensions]\nallow = ["debug-tools", "good"]\ninstall = ["mine"]\n')
    staged = node.run()
    assert {each.name: each.by for each in staged.requests} == {"mine.raw": By.SITE, "debug-tools.raw": By.PUSH}
    assert [(each.by, each.entries) for each in staged.modules] == [(By.PUSH, ("drivers/misc/good.ko",))]
    assert {each.name for each in staged.refused} == {"other", "bad", "evil"}


def test_a_built_in_name_that_only_a_pushed_mirror_has(node: Node, gpg: Gpg) -> None:
    """What it means there is the server's word, and so it is limited as a push."""
    add_raw(node.remote, "open-vm-tools")
    add_sums(node.remote / RAW, gpg, "site")
    node.trust(gpg, "site")
    put(node.own, LIST, '["open-vm-tools.raw"]')
    node.push(mk_tce_mirror=node.tce)
    assert [each.by for each in node.run().requests] == [By.PUSH]
    node.site("[extensions]\nallow = []\n")
    (refused,) = node.run().refused
    assert refused.name == "open-vm-tools.raw"


def test_what_the_site_wants_is_the_machines_own_where_a_push_chose_the_mirror(node: Node, gpg: Gpg) -> None:
    """Root believes the site's word for what the machine itself has; what only the server's mirror has is a push's."""
    for tree, names in ((node.own, ("both",)), (node.remote, ("both", "far"))):
        for name in names:
            add_raw(tree, name)
    add_sums(node.remote / RAW, gpg, "site")
    node.trust(gpg, "site")
    node.push(mk_tce_mirror=node.tce)
    node.site('[extensions]\ninstall = ["both", "far"]\nallow = []\n')
    staged = node.run()
    (both,) = staged.requests
    assert (both.name, both.by, staged.folders[both.items[0].folder].builtin) == ("both.raw", By.SITE, True)
    assert [each.name for each in staged.refused] == ["far"]
    node.site('[extensions]\ninstall = ["both", "far"]\n')
    assert {each.name: each.by for each in node.run().requests} == {"both.raw": By.SITE, "far.raw": By.PUSH}


def test_lists_of_modules(node: Node) -> None:
    """Each list with who wants it; what was loaded in this boot is not loaded again by the same list."""
    put(node.own, MODULES, '["vmci.ko", "drivers/net/vmxnet.ko"]')
    node.site('[extensions]\nmodules = ["loop"]\n')
    staged = node.run()
    assert [(each.by, each.entries) for each in staged.modules] == [
        (By.BUILTIN, ("vmci.ko", "drivers/net/vmxnet.ko")),
        (By.SITE, ("loop",)),
    ]
    states = {"vmci": "skipped", "loop": "loaded", "vmxnet": "replaced"}
    node.installed(modules={name: {"by": "site", "state": state} for name, state in states.items()})
    assert node.run() == Staged()
    add_raw(node.own, "drivers")
    put(node.own, LIST, '["drivers.raw"]')  # may bring what was not there
    assert [each.entries for each in node.run().modules] == [("vmci.ko",)]


def test_python_packages_by_the_sums(node: Node, gpg: Gpg) -> None:
    """The newest that is wanted, what it needs before it; comments and blank lines in the list, B32."""
    folder = node.remote / WHEELS
    make_wheel(folder, "tool", "1.0")
    make_wheel(folder, "tool", "2.0", "helper>=1", "packaging")
    make_wheel(folder, "tool", "3.0", "helper>=1")
    make_wheel(folder, "helper", "1.5")
    put(node.remote, PACKAGES, "# for reports\n\ntool  < 3   # not yet\nnone\n")
    add_sums(folder, gpg, "site")
    node.trust(gpg, "site")
    node.push(mk_gem_mirror=f"{node.remote_server.uri}/gem-mirror", mk_gemlist_uri="/gems/gem.list")
    staged = node.run()
    (request,) = staged.requests
    assert (request.name, request.by) == ("tool", By.PUSH)
    assert order(request) == ["helper-1.5-py3-none-any.whl", "tool-2.0-py3-none-any.whl"]
    assert request.items[1].needs == ("helper-1.5-py3-none-any.whl",)
    assert request.items[1].sha256 == trust.digest_file(folder / "tool-2.0-py3-none-any.whl")
    (refused,) = staged.refused
    assert refused.reason.startswith("none is not in http")
    node.installed(packages={"tool": {"version": "2.0", "file": "tool-2.0-py3-none-any.whl", "by": "push"}})
    assert node.run().requests == ()
    node.installed(packages={"helper": {"version": "1.5", "file": "helper-1.5-py3-none-any.whl", "by": "push"}})
    assert order(node.run().requests[0]) == ["tool-2.0-py3-none-any.whl"]


def test_python_packages_by_an_index_as_pip_reads_it(node: Node) -> None:
    """Without sums, where the site says that checksums will do: the index becomes the sums."""
    wheel = make_wheel(node.remote / "files", "foo", "1.0")
    sha256 = trust.digest_file(wheel)
    page = f'<a href="../../../files/{wheel.name}#sha256={sha256}">x</a><a href="foo-9-py3-none-any.whl">no sum</a>'
    put(node.remote, "gem-mirror/simple/foo/index.html", page)
    text = '[extensions]\npackages = ["foo ~> 1.0"]\nverify = "{}"\n[mirror]\ngem_mirror_uri = "{}/gem-mirror"\n'
    node.site(text.format("checksum", node.remote_server.uri))
    (request,) = node.run().requests
    (item,) = request.items
    assert (item.name, item.sha256) == (wheel.name, sha256)
    assert node.file(item).with_name(trust.SUMS).read_text() == f"{sha256} *{wheel.name}\n"
    node.site(text.format("signature", node.remote_server.uri))
    staged = node.run()
    assert staged.requests == ()
    assert "has no SHA256SUMS, and so no signature" in staged.refused[0].reason


def test_what_is_not_wanted_any_more_leaves_memory(node: Node) -> None:
    add_raw(node.own, "one")
    add_raw(node.own, "two")
    put(node.own, LIST, '["one.raw"]')
    node.run()
    put(node.own, LIST, '["two.raw"]')
    node.run()
    assert node.names() == ["two.raw"]


def test_the_same_refusal_is_handed_over_once(node: Node) -> None:
    put(node.own, LIST, '["none.raw"]')
    (refused,) = node.run().refused
    node.installed(refused={"none.raw": {"by": "builtin", "reason": refused.reason}})
    assert node.run() == Staged()
    assert json.loads((node.root / "run/mk-extensions/installed.json").read_text())["version"] == 1


def test_twenty_at_once(node: Node) -> None:
    names = [f"app{number}" for number in range(20)]
    for name in names:
        add_tcz(node.own, name, "shared")
    add_tcz(node.own, "shared")
    put(node.own, LIST, json.dumps([f"{name}.tcz" for name in names]))
    staged = node.run()
    assert [order(each) for each in staged.requests] == [["shared.tcz", f"{name}.tcz"] for name in names]
    assert node.own_server.asked.count(f"/{TCZ}/shared.tcz") == 1


def test_what_is_staged_is_what_root_believes(node: Node, gpg: Gpg, tmp_path: Path) -> None:
    """The other side of the document: each kind of mirror, verified again from the staged files alone."""
    add_raw(node.own, "near")
    put(node.own, LIST, '["near.raw"]')
    add_raw(node.remote, "far")
    make_wheel(node.remote / WHEELS, "tool", "1.0", "helper")
    make_wheel(node.remote / WHEELS, "helper", "1.0")
    add_tcz(node.remote, "a", "b.tcz")
    add_tcz(node.remote, "b")
    put(node.remote, f"{TCZ}/a.tcz.map", "lib/x.ko misc/x.ko\n")
    for folder in (RAW, WHEELS, TCZ):
        add_sums(node.remote / folder, gpg, "site")
    node.trust(gpg, "site")
    mirrors = f'tce_mirror = "{node.tce}"\ngem_mirror = "{node.remote_server.uri}/gem-mirror"\n'
    node.site(f'[mirror]\n{mirrors}[extensions]\ninstall = ["far", "a"]\npackages = ["tool"]\n')
    staged = node.run()
    (tmp_path / "work").mkdir()
    keys = trust.key_files([node.paths.etc / "trust.d"])
    folders = {Kind.SYSEXT: RAW, Kind.TCZ: TCZ, Kind.WHEEL: WHEELS}
    below = {kind: path.partition("/")[2] for kind, path in folders.items()}
    ground = Ground(trust.Verify.SIGNATURE, keys, [node.own], tmp_path / "work", folders=below)
    verifier = Verifier(node.paths.run_fetch, ground, staged.folders, {})
    checked = {item.name: verifier.check(item) for request in staged.requests for item in request.items}
    wheels = {f"{name}-1.0-py3-none-any.whl" for name in ("tool", "helper")}
    assert set(checked) == {"near.raw", "far.raw", "a.tcz", "b.tcz"} | wheels
    assert not checked["near.raw"].signed_by
    assert all(len(each.signed_by) == 40 for name, each in checked.items() if name != "near.raw")
    assert checked["a.tcz"].map is not None
    assert {each.split(" ")[1] for each in verifier.signed} == {each.split("/", 1)[1] for each in (RAW, TCZ, WHEELS)}


def test_what_is_not_refused_any_more_is_told_once(node: Node) -> None:
    """So that nobody looks for trouble that is over; not while a mirror may still be silent about it."""
    add_raw(node.own, "fine")
    put(node.own, LIST, '["fine.raw", "still.raw"]')
    refused = {name: {"by": "push", "reason": "x"} for name in ("gone.raw", "still.raw", "fine", "http://m/list")}
    node.installed(refused=refused)
    staged = node.run()
    assert staged.cleared == ("gone.raw", "http://m/list")
    assert [each.name for each in staged.refused] == ["still.raw"]
    assert node.run(remote=False).cleared == ()
    node.site('[mirror]\ngem_mirror = "http://127.0.0.1:9/g"\n')
    assert node.run(status=75).cleared == ()


def test_a_flood_of_names_hides_nothing(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand entries of a pushed list: the machine's own come first, in the journal as in the document."""
    add_raw(node.own, "fine")
    put(node.own, LIST, '["fine.raw", "missing.raw"]')
    put(node.remote, LIST, json.dumps([f"../{number}" + "x" * 90 for number in range(9_990)]))
    node.push(mk_tce_install_list_uri=f"{node.remote_server.uri}/{LIST}")
    staged = node.run()
    assert [each.name for each in staged.requests] == ["fine.raw"]
    assert len(staged.refused) == 200
    assert staged.refused[0].name == "missing.raw"
    lines = capsys.readouterr().err.splitlines()
    assert sum("left out" in line for line in lines) == 101
    assert "mk-fetch: 9891 more are left out" in lines
