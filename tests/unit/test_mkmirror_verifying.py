"""What vouches for staged files: the mirror on disk, signatures of trusted keys, and nothing that mk-fetch says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mkmirror import trust
from mkmirror.installed import read_installed
from mkmirror.staged import Item
from tests.unit.extension_node import OWN, REMOTE, REMOTE_TCZ, Node
from tests.unit.pgp_keys import Gpg


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    """One home with a key that is trusted, one that is not, and one that has expired."""
    made = Gpg(tmp_path_factory.mktemp("gpg"))
    made.make_key("good", made="20200101T000000")
    made.make_key("stranger", made="20200101T000000")
    made.make_key("old", made="20200101T000000", expires="30d")
    yield made
    made.close()


def trusting(node: Node, gpg: Gpg, *names: str) -> None:
    for name in names:
        (node.root / f"etc/mk/trust.d/{name}.gpg").write_bytes(gpg.export(name))


def refusal(node: Node, name: str) -> str:
    """Run; nothing may be installed, and one line says why."""
    installed = node.run()
    assert not installed.extensions and node.merged() == []
    assert len([line for line in node.said.splitlines() if "it is not installed" in line]) == 1
    return installed.refused[name].reason


def test_signed_by_a_trusted_key(node: Node, gpg: Gpg) -> None:
    trusting(node, gpg, "good")
    node.want(node.item("a.raw", folder=REMOTE))
    gpg.sign(node.sign(REMOTE), "good", at="20260101T000000")
    installed = node.run()
    assert len(installed.extensions["a.raw"].signed_by) == 40
    assert installed.signed == {f"{installed.extensions['a.raw'].signed_by} {REMOTE.path}": 1767225600}
    assert installed.extensions["a.raw"].sha256 == trust.digest_file((node.root / "run/extensions/a.raw").resolve())


@pytest.mark.parametrize(
    ("signer", "at", "reason"),
    [
        ("", "", "it is not signed"),
        ("stranger", "20260101T000000", "is not trusted here"),
        ("old", "20200110T000000", "has expired"),
    ],
)
def test_no_good_signature(node: Node, gpg: Gpg, signer: str, at: str, reason: str) -> None:
    trusting(node, gpg, "good", "old")
    node.want(node.item("a.raw", folder=REMOTE))
    sums = node.sign(REMOTE)
    if signer:
        gpg.sign(sums, signer, at=at)
    found = refusal(node, "a.raw")
    assert reason in found and found.startswith(f"a.raw: {REMOTE.mirror}/{REMOTE.path}"), found


def test_without_any_key(node: Node, gpg: Gpg) -> None:
    node.want(node.item("a.raw", folder=REMOTE))
    gpg.sign(node.sign(REMOTE), "good")
    assert "no key is trusted here; put one into /etc/mk/trust.d" in refusal(node, "a.raw")


def test_tampered(node: Node, gpg: Gpg) -> None:
    """One bit in the image; a line in the sums; a file that the sums do not know."""
    trusting(node, gpg, "good")
    item = node.item("a.raw", folder=REMOTE)
    sums = node.sign(REMOTE)
    gpg.sign(sums, "good", at="20260101T000000")
    path = node.staging(REMOTE) / "a.raw"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    node.want(item)
    assert "a.raw: its SHA-256 is" in refusal(node, "a.raw")
    node.want(node.item("b.raw", folder=REMOTE))
    assert refusal(node, "b.raw") == "b.raw: SHA256SUMS has no sum for it"
    node.want(node.item("c.raw", folder=REMOTE))
    sums.write_text(sums.read_text() + "")
    node.sign(REMOTE)
    assert "the signature does not fit the content" in refusal(node, "c.raw")


def test_replay(node: Node, gpg: Gpg) -> None:
    """Sums that were signed earlier than those in use are refused, the same ones and later ones are not."""
    trusting(node, gpg, "good")
    for name, at, fine in (
        ("a.raw", "20260201T000000", True),
        ("b.raw", "20260101T000000", False),
        ("c.raw", "20260201T000000", True),
        ("d.raw", "20260301T000000", True),
    ):
        node.want(node.item(name, folder=REMOTE))
        gpg.sign(node.sign(REMOTE), "good", at=at)
        installed = node.run()
        assert (name in installed.extensions) is fine
        if not fine:
            assert "were signed earlier than those in use" in installed.refused[name].reason


@pytest.mark.parametrize(
    "mirror",
    [
        "http://mirror.example:80/tinycorelinux",
        "http://MIRROR.example/tinycorelinux",
        "http://mirror.example//tinycorelinux",
        "http://another.example/t",
    ],
)
def test_replay_by_another_spelling_of_the_address(node: Node, gpg: Gpg, mirror: str) -> None:
    """Old sums stay old, whatever the mirror that has them is called."""
    trusting(node, gpg, "good")
    other = replace(REMOTE, mirror=mirror)
    for name, folder, at in (("a.raw", REMOTE, "20260201T000000"), ("b.raw", other, "20260101T000000")):
        node.want(node.item(name, folder=folder))
        gpg.sign(node.sign(folder), "good", at=at)
        installed = node.run()
    assert set(installed.extensions) == {"a.raw"}
    assert "were signed earlier than those in use" in installed.refused["b.raw"].reason


def test_whoever_speaks_on_loopback_gains_nothing(node: Node) -> None:
    """What is claimed to be built in counts by the mirror on disk alone, with sums or without."""
    item = node.item("a.raw")
    node.want(item)
    (node.on_disk(OWN) / "a.raw").write_bytes(b"something else")
    assert refusal(node, "a.raw") == "a.raw: is not what the machine's own mirror has"
    node.want(node.item("b.raw"))
    (node.on_disk(OWN) / "b.raw").unlink()
    assert refusal(node, "b.raw") == "b.raw: is not in the machine's own mirror"
    node.want(node.item("c.raw"))
    (node.on_disk(OWN) / trust.SUMS).write_text(trust.build_sums({"c.raw": "0" * 64}))
    assert refusal(node, "c.raw") == "c.raw: is not what the machine's own mirror has"


def test_sums_on_disk(node: Node) -> None:
    node.want(node.item("a.raw"))
    sums = {"a.raw": trust.digest_file(node.on_disk(OWN) / "a.raw")}
    (node.on_disk(OWN) / trust.SUMS).write_text(trust.build_sums(sums))
    (node.on_disk(OWN) / "a.raw").unlink()
    assert set(node.run().extensions) == {"a.raw"}


@pytest.mark.parametrize("where", ["file", "folder"])
def test_links_are_not_followed(node: Node, tmp_path: Path, where: str) -> None:
    """mk-fetch's user could point root anywhere."""
    node.want(node.item("a.raw"))
    staged = node.staging(OWN) / "a.raw"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    staged.rename(elsewhere / "a.raw")
    if where == "file":
        staged.symlink_to(elsewhere / "a.raw")
    else:
        staged.parent.rmdir()
        staged.parent.symlink_to(elsewhere)
    assert "cannot be read" in refusal(node, "a.raw")
    assert (elsewhere / "a.raw").exists(), "what the link leads to stays"


def test_what_is_no_file(node: Node) -> None:
    """A named pipe would keep root waiting for a writer."""
    node.want(node.item("a.raw"))
    staged = node.staging(OWN) / "a.raw"
    staged.unlink()
    os.mkfifo(staged)
    assert "is not a regular file" in refusal(node, "a.raw")
    node.want(node.item("b.raw"))
    (node.staging(OWN) / "b.raw").unlink()
    assert refusal(node, "b.raw") == "b.raw: was not staged"


def test_a_sparse_file_does_not_fill_the_memory(node: Node) -> None:
    """It costs whoever staged it nothing, and would cost root's copy all of its length."""
    node.configure("[extensions]\nstaging_limit_mb = 1\n")
    node.want(node.item("a.raw"))
    os.truncate(node.staging(OWN) / "a.raw", 1 << 40)
    assert "is larger than the 1000000 bytes that may be staged" in refusal(node, "a.raw")


def md5(node: Node, item: Item, text: str = "") -> None:
    path = node.staging(REMOTE_TCZ) / item.name
    text = text or f"{trust.digest_file(path, 'md5')}  {item.name}\n"
    path.with_name(f"{item.name}.md5.txt").write_text(text)


def test_checksums_suffice_where_the_site_says_so(node: Node) -> None:
    """Sums without signature, or for Tiny Core's the MD5 sum alone; nothing at all does not, nor a wrong one."""
    node.configure(f'[mirror]\ntce_mirror = "{REMOTE.mirror}"\n[extensions]\nverify = "checksum"\n')
    plain = node.item("plain.tcz", folder=REMOTE_TCZ)
    fine, wrong = node.item("fine.tcz", folder=REMOTE_TCZ), node.item("wrong.tcz", folder=REMOTE_TCZ)
    md5(node, fine)
    md5(node, wrong, f"{'0' * 32}  wrong.tcz\n")
    for each in (plain, fine, wrong, node.item("bare.raw", folder=REMOTE)):
        node.want(each)
    node.want(node.item("sums.raw", folder=REMOTE))
    sums = node.staging(REMOTE) / trust.SUMS
    sums.write_text(trust.build_sums({"sums.raw": trust.digest_file(sums.with_name("sums.raw"))}))
    installed = node.run()
    assert set(installed.extensions) == {"fine.tcz", "sums.raw"}
    assert installed.refused["plain.tcz"].reason == "plain.tcz: the mirror has no sum for it"
    assert installed.refused["wrong.tcz"].reason == "wrong.tcz: is not what wrong.tcz.md5.txt says"
    assert installed.refused["bare.raw"].reason == "bare.raw: the mirror has no sum for it"


def test_checksums_do_not_suffice_for_a_mirror_that_a_push_names(node: Node, gpg: Gpg) -> None:
    trusting(node, gpg, "good")
    for number, mirror in enumerate(("http://other.example/t", f"{REMOTE.mirror}x")):
        node.configure(f'[mirror]\ntce_mirror = "{mirror}"\n[extensions]\nverify = "checksum"\n')
        node.want(node.item(f"a{number}.raw", folder=REMOTE))
        node.sign(REMOTE)
        assert "it is not signed" in refusal(node, f"a{number}.raw")


def test_signed_sums_of_one_folder_are_none_of_another(node: Node, gpg: Gpg) -> None:
    """Those of another kind or release, moved by whoever has the mirror; and folders for another machine."""
    trusting(node, gpg, "good")
    for name, folder, said in (
        ("x.tcz", REMOTE_TCZ, f"its sums were signed for the folder '{REMOTE.path}'"),
        ("y.tcz", replace(REMOTE_TCZ, path="14.x/x86_64/tcz"), "is not a folder for this machine"),
        ("z.tcz", replace(REMOTE_TCZ, path="sysext/other"), "is not a folder for this machine"),
    ):
        node.want(node.item(name, folder=folder))
        gpg.sign(node.sign(folder), "good", folder=REMOTE.path)
        assert said in refusal(node, name)
    node.want(node.item("a.raw", folder=REMOTE))
    gpg.sign(node.sign(REMOTE), "good", folder=REMOTE.path)
    assert set(node.run().extensions) == {"a.raw"}


def test_an_md5_sum_is_no_signature(node: Node, gpg: Gpg) -> None:
    trusting(node, gpg, "good")
    item = node.item("a.tcz", folder=REMOTE_TCZ)
    md5(node, item)
    node.want(item)
    assert "has no SHA256SUMS" in refusal(node, "a.tcz")


def test_two_mirrors_with_different_contents(node: Node, gpg: Gpg) -> None:
    trusting(node, gpg, "good")
    node.want(node.item("a.raw", {"usr/share/one": "1"}), node.item("b.raw", needs=["a.raw"]))
    other = node.item("a.raw", {"usr/share/two": "2"}, folder=REMOTE)
    node.want(other, node.item("c.raw", folder=REMOTE, needs=["a.raw"]))
    gpg.sign(node.sign(REMOTE), "good", at="20260101T000000")
    installed = node.run()
    assert set(installed.extensions) == {"a.raw", "b.raw"}
    assert installed.refused["c.raw"].reason == "c.raw: a.raw: two mirrors have it, with different contents"


def test_maps_of_tiny_core(node: Node, gpg: Gpg) -> None:
    """The list of an extension's modules is used when the sums vouch for it; else it costs the extension."""
    trusting(node, gpg, "good")
    item = node.item("a.tcz", folder=REMOTE_TCZ)
    beside = node.staging(REMOTE_TCZ) / "a.tcz.map"
    beside.write_text("usr/local/lib/modules/x.ko misc/x.ko\n")
    gpg.sign(node.sign(REMOTE_TCZ), "good", at="20260101T000000")
    node.want(item)
    node.run()
    assert (node.paths.run_extensions / "images/a.tcz.map").read_text() == beside.read_text()
    other = node.item("b.tcz", folder=REMOTE_TCZ)
    node.sign(REMOTE_TCZ)
    gpg.sign(node.staging(REMOTE_TCZ) / trust.SUMS, "good", at="20260102T000000")
    (node.staging(REMOTE_TCZ) / "b.tcz.map").write_text("usr/local/lib/modules/x.ko net/x.ko\n")
    node.want(other)
    assert "b.tcz.map: SHA256SUMS does not vouch for it" in node.run().refused["b.tcz"].reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_no_room(node: Node) -> None:
    """Memory that is full is one line, and what fits is installed."""
    run = node.paths.run_extensions
    run.mkdir(parents=True)
    node.want(node.item("large.raw", {"usr/share/large": os.urandom(200_000)}))
    node.want(node.item("small.raw"))
    script = '/bin/mount -t tmpfs -o size=100k x "$0" && "$@"; s=$?; cp "$0/installed.json" "$0.json"; exit $s'
    node.run(around=["unshare", "--mount", "sh", "-c", script, str(run)])
    installed = read_installed(run.with_name(f"{run.name}.json"))
    assert set(installed.extensions) == {"small.raw"}
    assert installed.refused["large.raw"].reason == "large.raw: there is no room for it in memory; see /run"
