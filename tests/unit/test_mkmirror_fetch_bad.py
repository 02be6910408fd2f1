"""mk-fetch and bad input: one clear line each, nothing staged of it, everything else staged all the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.errors import Unreachable, Untrusted
from mkmirror import remote, trust
from mkmirror.offers import Mirror, Trusting
from mkmirror.remote import Fetching, Sums
from mkmirror.staged import Item, Kind, Staged
from mkmirror.staging import Staging, StagingFull
from tests.fakes import Drip, Play, Reset, WireServer
from tests.unit.fetch_node import (
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
from tests.unit.mirror_trees import REPO, StaticServer, make_wheel
from tests.unit.pgp_keys import Gpg
from tests.unit.test_download import answer, parse_request, rest


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory() as folder:
        made = Gpg(Path(folder))
        made.make_key("site")
        made.make_key("stranger")
        made.make_key("old", made="20200101T000000", expires="1y")
        yield made
        made.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A machine whose own mirror has one good extension, so that each test sees that the rest goes on."""
    with make_node(tmp_path) as made:
        add_raw(made.own, "good")
        put(made.own, LIST, '["good.raw"]')
        yield made


def refusals(staged: Staged) -> dict[str, str]:
    """The refusals, once the good extension is there and each reason is one line."""
    assert [each.name for each in staged.requests] == ["good.raw"]
    assert all("\n" not in each.reason and len(each.reason) <= 300 for each in staged.refused)
    return {each.name: each.reason for each in staged.refused}


def want(node: Node, *names: str, more: str = "") -> None:
    node.site(f'[mirror]\ntce_mirror = "{node.tce}"\n[extensions]\ninstall = {json.dumps(names)}\n{more}')


# who vouches


@pytest.mark.parametrize(
    ("signers", "at", "said"),
    [
        ((), "", "it is not signed"),
        (("stranger",), "", "is not trusted here"),
        (("old",), "20200601T000000", "has expired"),
    ],
)
def test_nobody_vouches(node: Node, gpg: Gpg, signers: tuple[str, ...], at: str, said: str) -> None:
    add_raw(node.remote, "x")
    add_sums(node.remote / RAW, gpg if signers else None, *signers, at=at)
    for name in ("site", "old"):
        node.trust(gpg, name)
    want(node, "x.raw")
    assert said in refusals(node.run())["x.raw"]
    assert node.names() == ["good.raw"]


def test_changed_after_it_was_signed(node: Node, gpg: Gpg) -> None:
    """The sums, a dependency list, and the image itself, which is tried once more."""
    node.trust(gpg, "site")
    image = add_raw(node.remote, "x", needs="# nothing\n")
    add_sums(node.remote / RAW, gpg, "site")
    want(node, "x.raw")
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    assert "its sha256 is" in refusals(node.run())["x.raw"]
    assert node.remote_server.asked.count(f"/{RAW}/x.raw") == 2
    put(node.remote, f"{RAW}/x.raw.dep", "evil.raw\n")
    assert refusals(node.run())["x.raw"].endswith("x.raw.dep: is not what SHA256SUMS says")
    sums = node.remote / RAW / trust.SUMS
    sums.write_text(sums.read_text() + f"{'0' * 64} *evil.raw\n")
    assert "does not fit the content" in refusals(node.run())["x.raw"]
    assert node.names() == ["good.raw"]


def test_a_damaged_key_beside_a_good_one(node: Node, gpg: Gpg, capsys: pytest.CaptureFixture[str]) -> None:
    add_raw(node.remote, "x")
    add_sums(node.remote / RAW, gpg, "site")
    want(node, "x.raw")
    node.trust(gpg, "site")
    put(node.root, "etc/mk/trust.d/a.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    assert [each.name for each in node.run().requests] == ["good.raw", "x.raw"]
    assert "trust.d/a.asc: has no OpenPGP public key; the keys in it do not count" in capsys.readouterr().err


def test_sums_from_before_those_in_use(node: Node, gpg: Gpg) -> None:
    node.trust(gpg, "site")
    add_raw(node.remote, "x")
    add_sums(node.remote / RAW, gpg, "site")
    want(node, "x.raw")
    assert len(node.run().requests) == 2
    key = trust.read_sums(node.remote / RAW, trust.Verify.SIGNATURE, [node.root / "etc/mk/trust.d/site.gpg"], node.root)
    assert key[1] is not None
    node.installed(signed={trust.use_of(key[1], RAW.split("/", 1)[1]): 4_000_000_000})
    assert "it is out of date" in refusals(node.run())["x.raw"]


def test_signed_sums_of_one_folder_are_none_of_another(node: Node, gpg: Gpg) -> None:
    node.trust(gpg, "site")
    add_raw(node.remote, "x")
    add_sums(node.remote / RAW)
    gpg.sign(node.remote / RAW / trust.SUMS, "site", folder=TCZ.split("/", 1)[1])
    want(node, "x.raw")
    assert "its sums were signed for the folder" in refusals(node.run())["x.raw"]
    gpg.sign(node.remote / RAW / trust.SUMS, "site", folder=RAW.split("/", 1)[1])
    assert [each.name for each in node.run().requests] == ["good.raw", "x.raw"]


def test_only_signatures_count_unless_the_site_itself_says_otherwise(node: Node) -> None:
    """A push cannot say it: it has no such key; and what the site says is said of the mirror that it names."""
    add_tcz(node.remote, "x")
    put(node.remote, LIST, '["x.tcz"]')
    node.push(mk_tce_mirror=node.tce, mk_verify="checksum", mk_extensions_verify="checksum")
    assert "has no SHA256SUMS, and so no signature" in refusals(node.run())["x.tcz"]
    node.site('[extensions]\nverify = "checksum"\n')
    assert "has no SHA256SUMS, and so no signature" in refusals(node.run())["x.tcz"]
    node.site(f'[mirror]\ntce_mirror = "{node.tce}"\n[extensions]\nverify = "checksum"\n')
    assert "has no SHA256SUMS, and so no signature" in refusals(node.run())["x.tcz"]
    node.push(mk_tce_install_list_uri=f"{node.tce}/tce-install-list")
    assert [each.name for each in node.run().requests] == ["good.raw", "x.tcz"]
    add_raw(node.remote, "y")
    put(node.remote, LIST, '["y.raw"]')
    assert "no SHA256SUMS and no other sum vouches for it" in refusals(node.run())["y.raw"]


def test_an_attacker_who_has_the_mirror_and_the_pushes_gets_nothing(node: Node, gpg: Gpg) -> None:
    """He signs with his own key, offers keys, names the machine's own address and every path there is."""
    node.trust(gpg, "site")
    for name in ("evil", "good"):
        add_raw(node.remote, name)
    add_tcz(node.remote, "evil")
    make_wheel(node.remote / WHEELS, "evil", "1.0")
    for folder in (RAW, TCZ, WHEELS):
        add_sums(node.remote / folder, gpg, "stranger")
        put(node.remote, f"{folder}/trust.d/stranger.gpg", gpg.export("stranger"))
    names = [
        "evil",
        "evil.tcz",
        "evil.raw",
        "../evil.raw",
        "/etc/passwd",
        "good.raw\n",
        "a\0b",
        "e" * 4000,
        "sysext/evil",
    ]
    put(node.remote, LIST, json.dumps([*names, 7, None, {"name": "evil.raw"}]))
    put(node.remote, MODULES, json.dumps(["../../evil.ko", "/tmp/evil.ko", "-r"]))
    put(node.remote, PACKAGES, "evil\n--index-url http://evil\nevil @ http://evil/x.whl\n../evil\n")
    uri = node.remote_server.uri
    node.push(
        mk_tce_mirror=node.tce,
        mk_tce_mirror_uri=node.tce,
        mk_tce_install_list_uri=f"{uri}/{LIST}",
        mk_kmod_install_list_uri=f"{uri}/{MODULES}",
        mk_gem_mirror_uri=f"{uri}/gem-mirror",
        mk_gemlist_uri=f"{uri}/{PACKAGES}",
        mk_trust=gpg.export("stranger", armor=True).decode(),
        mk_verify="checksum",
        mk_extensions={"verify": "checksum", "allow": ["/.*/"]},
    )
    staged = node.run()
    found = refusals(staged)
    assert staged.modules == ()
    assert [each.builtin for each in staged.folders.values()] == [True]
    assert node.names() == ["good.raw"]
    assert len(found) >= 15
    for name, said in (
        ("evil", "is not trusted here"),
        *((f"{uri}/{LIST}[{number}]", "is not the name of") for number in (3, 4, 6, 9, 10, 11)),
        ("sysext/evil", "is not the name of"),
        (f"{uri}/{MODULES}[2]", "is not the name of"),
        (f"{uri}/{PACKAGES}:3", "not of the form NAME [requirement]"),
    ):
        assert said in found[name], name


# lists


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html>busy</html>", "not of the form '- name'"),
        ('["a.raw"', "not JSON"),
        ('{"a": 1}', "must be a list of names"),
        (b"\xff\xfe[", "not UTF-8 at byte 0"),
        (json.dumps(["x"] * 10_001), "more than 10000 entries"),
        ("[" * 100_000, "nested too deeply"),
        (b"[" + b" " * (2 << 20) + b"]", "larger than"),
        (None, "there is no such list"),
    ],
    ids=["page", "cut", "object", "binary", "many", "deep", "large", "none"],
)
def test_a_list_that_cannot_be_read(node: Node, content: object, said: str) -> None:
    if content is not None:
        put(node.remote, "list", content if isinstance(content, bytes) else str(content))
    put(node.remote, MODULES, '["loop"]')
    uri = f"{node.remote_server.uri}/list"
    node.push(mk_tce_install_list_uri=uri, mk_kmod_install_list_uri=f"{node.tce}/kmod-install-list", mk_gemlist_uri="")
    staged = node.run()
    assert said in refusals(staged)[uri]
    assert [each.entries for each in staged.modules] == [("loop",)]


@pytest.mark.parametrize("page", ["password = secret\n", "# x\n- secret %\n", '["secret word"]', '{"secret": 1}'])
def test_a_pushed_list_does_not_read_the_network_for_the_server(node: Node, page: str) -> None:
    """Any page can be named as a list, and facts tell what was refused: the place, and no word of the page."""
    put(node.remote, "page", page)
    uri = f"{node.remote_server.uri}/page"
    node.push(mk_tce_install_list_uri=uri, mk_kmod_install_list_uri=uri, mk_gemlist_uri=uri)
    found = refusals(node.run())
    assert found and all(uri in reason for reason in found.values())
    assert not any("secret" in text for text in (*found, *found.values()))


def test_a_pushed_flood_of_modules_is_one_refusal(node: Node) -> None:
    """What is told of each module stays in memory; the machine's own list counts all the same."""
    put(node.own, MODULES, '["loop"]')
    put(node.remote, "modules", json.dumps([f"m{number}" for number in range(1_000)]))
    uri = f"{node.remote_server.uri}/modules"
    node.push(mk_kmod_install_list_uri=uri)
    staged = node.run()
    assert refusals(staged) == {uri: f"{uri}: more than 1000 modules in all; none of this list is loaded"}
    assert [each.entries for each in staged.modules] == [("loop",)]


def test_a_mirror_without_the_usual_lists_is_a_mirror(node: Node) -> None:
    node.push(mk_tce_mirror=node.tce, mk_gem_mirror=f"{node.remote_server.uri}/gem-mirror")
    assert refusals(node.run()) == {}


def test_a_list_that_is_a_folder(node: Node) -> None:
    """Defect B18: what an old controller takes when its server names no list."""
    make_wheel(node.remote / WHEELS, "foo", "1.0")
    put(node.remote, PACKAGES, "foo\n")
    base = f"{node.remote_server.uri}/gem-mirror"
    node.site(f'[mirror]\ngem_mirror_uri = "{base}"\n[extensions]\nverify = "checksum"\n')
    add_sums(node.remote / WHEELS)
    for uri in (base, f"{base}/", f"{base}/gems/"):
        node.push(mk_gemlist_uri=uri)
        assert [each.name for each in node.run().requests] == ["good.raw", "foo"]


def test_a_mirror_that_is_no_address(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.push(mk_tce_mirror="/tinycorelinux", mk_gem_mirror="")
    assert refusals(node.run()) == {}
    assert "/tinycorelinux is no address of a mirror (pushed by the server)" in capsys.readouterr().err


# dependencies


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (("none.tcz",), "none.tcz is not in the mirror; x.tcz needs it"),
        (("x.tcz",), "extensions need each other: x.tcz -> x.tcz"),
        (("y.tcz",), "extensions need each other: x.tcz -> y.tcz -> x.tcz"),
        (("../../etc/x",), "'../../etc/x.tcz' is not the name of an extension"),
        (("/etc/passwd",), "'/etc/passwd.tcz' is not the name of an extension"),
        (("n" * 4000,), "is not the name of an extension"),
        (("a\0",), "is not the name of an extension"),
    ],
    ids=["missing", "itself", "cycle", "upwards", "absolute", "long", "nul"],
)
def test_dependencies_that_cannot_be_met(node: Node, needs: tuple[str, ...], said: str) -> None:
    add_tcz(node.remote, "x", *needs)
    add_tcz(node.remote, "y", "x.tcz")
    want(node, "x.tcz", more='verify = "checksum"\n')
    assert said in refusals(node.run())["x.tcz"]
    assert node.names() == ["good.raw"]


def test_two_packages_that_want_different_versions_of_a_third(node: Node) -> None:
    folder = node.own / WHEELS
    make_wheel(folder, "both", "1.0", "one", "two")
    make_wheel(folder, "one", "1.0", "lib<2")
    make_wheel(folder, "two", "1.0", "lib>=2")
    for version in ("1.0", "2.0"):
        make_wheel(folder, "lib", version)
    make_wheel(folder, "lonely", "1.0", "nobody")
    add_sums(folder)
    node.site('[extensions]\npackages = ["both", "lonely", "none", "-x"]\n')
    found = refusals(node.run())
    assert (
        found["both"] == "lib >=2 is wanted by two-1.0-py3-none-any.whl, but lib-1.0-py3-none-any.whl was chosen before"
    )
    assert found["lonely"].startswith("nobody is not in http")
    assert found["none"].startswith("none is not in http")
    assert "not of the form NAME [requirement]" in found["'-x'"]


@pytest.mark.parametrize("damage", ["", "not-a-zip", "no-metadata", "other-name"])
def test_wheels_that_are_none(node: Node, damage: str) -> None:
    """Looked into only where the mirror has no metadata beside them."""
    wheel = make_wheel(node.own / WHEELS, "foo", "1.0")
    if damage == "not-a-zip":
        wheel.write_bytes(b"no zip")
    if damage == "no-metadata":
        subprocess.run(["zip", "-q", "-d", str(wheel), "*/METADATA"], check=True)
    if damage == "other-name":
        wheel.rename(wheel.with_name("bar-1.0-py3-none-any.whl"))
    add_sums(node.own / WHEELS)
    name = "bar" if damage == "other-name" else "foo"
    node.site(f'[extensions]\npackages = ["{name}"]\n')
    if damage:
        said = {"not-a-zip": "is no wheel", "no-metadata": "has no METADATA", "other-name": "calls itself foo 1.0"}
        assert said[damage] in refusals(node.run())[name]
        assert node.names() == ["good.raw"]
    else:
        assert [order(each) for each in node.run().requests][1] == ["foo-1.0-py3-none-any.whl"]


# transfers


def test_an_image_that_is_not_what_its_md5_says(node: Node) -> None:
    image = add_tcz(node.remote, "x")
    image.write_bytes(image.read_bytes() + b"x")
    add_tcz(node.remote, "y")
    put(node.remote, f"{TCZ}/y.tcz.md5.txt", "not a sum\n")
    want(node, "x.tcz", "y.tcz", more='verify = "checksum"\n')
    found = refusals(node.run())
    assert "its md5 is" in found["x.tcz"]
    assert "not of the form 'MD5 NAME'" in found["y.tcz"]
    assert not [name for name in node.names() if "x.tcz" in name and name != "x.tcz.md5.txt"]


def test_a_download_that_breaks_off_goes_on_in_the_next_run(node: Node) -> None:
    """Exit status 75, so that the service is started again; what the own mirror has is staged all the same."""
    content = os.urandom(300_000)
    served: list[int] = []
    broken = True

    def script(raw: bytes) -> Play:
        request = parse_request(raw)
        path = request.target.rsplit("/", 1)[-1]
        if path == trust.SUMS:
            return answer(f"{trust.digest_bytes(content)} *x.raw\n".encode())
        if path != "x.raw":
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        served.append(int((request.header("range") or "bytes=0-")[6:-1]))
        whole = rest(request, content, '"1"')
        return Reset(b"" if served[-1] else whole[:120_000]) if broken else whole

    with WireServer(script) as server:
        node.site(f'[mirror]\ntce_mirror = "{server.uri}/t"\n[extensions]\nverify = "checksum"\ninstall = ["x.raw"]\n')
        first = node.run(status=75)
        assert [each.name for each in first.requests] == ["good.raw"]
        assert ".x.raw.part" in node.names()
        half = next((node.paths.run_fetch / "staging").rglob(".x.raw.part")).stat().st_size
        assert 60_000 < half < 300_000
        broken = False
        served.clear()
        second = node.run()
    assert served == [half]
    assert [each.name for each in second.requests] == ["good.raw", "x.raw"]
    assert node.file(second.requests[1].items[0]).read_bytes() == content


def test_a_mirror_that_does_not_answer(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each thing that waits for it, one attempt at the mirror itself."""
    node.site('[mirror]\ntce_mirror = "http://127.0.0.1:9/t"\n[extensions]\ninstall = ["x", "y.tcz"]\n')
    staged = node.run(status=75)
    found = refusals(staged)
    assert set(found) == {
        "http://127.0.0.1:9/t/tce-install-list",
        "http://127.0.0.1:9/t/kmod-install-list",
        "x",
        "y.tcz",
    }
    assert "Connection refused; tried again later" in capsys.readouterr().err
    node.installed(refused={name: {"by": "site", "reason": "as before"} for name in found})
    assert node.run(status=75).refused == ()  # told once; the attempts of each half minute wake nobody up


def test_more_than_memory_may_hold(node: Node) -> None:
    """The total counts, whoever the files are for; what does not fit takes no room afterwards."""
    for name in ("a", "b", "c"):
        add_tcz(node.remote, name, size=400_000)
    add_tcz(node.remote, "d", "a.tcz", "c.tcz")
    text = 'verify = "checksum"\nstaging_limit_mb = 1\n'
    want(node, "a.tcz", "b.tcz", "c.tcz", "d.tcz", more=text)
    staged = node.run()
    assert [each.name for each in staged.requests] == ["good.raw", "a.tcz", "b.tcz"]
    assert {each.name for each in staged.refused} == {"c.tcz", "d.tcz"}
    said = "c.tcz: does not fit into what is staged in memory: extensions.staging_limit_mb is 1"
    assert {each.reason for each in staged.refused} == {said}
    assert not [name for name in node.names() if ".part" in name]
    node.installed(extensions={name: {"kind": "tcz", "by": "site"} for name in ("good.raw", "a.tcz", "b.tcz")})
    assert [order(each) for each in node.run().requests] == [["c.tcz"], ["c.tcz", "d.tcz"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_file_system_that_is_full(tmp_path: Path) -> None:
    """In a mount namespace of its own; the other request of the run is served all the same."""
    program = """
import sys
from pathlib import Path
from mkmirror.remote import Fetching
from mkmirror.staged import Item, Kind
from mkmirror.staging import Staging, StagingFull
staging = Staging(Path(sys.argv[1]), 10**9, Fetching())
try:
    staging.bring(Item(Kind.SYSEXT, "big.raw", "f"), sys.argv[2] + "/big.raw")
except StagingFull as error:
    print(error)
print(staging.bring(Item(Kind.SYSEXT, "small.raw", "f"), sys.argv[2] + "/small.raw").size_bytes)
print(sorted(path.name for path in Path(sys.argv[1]).rglob("*") if path.is_file()))
"""
    put(tmp_path / "tree", "big.raw", os.urandom(3 << 20))
    put(tmp_path / "tree", "small.raw", b"x" * 1000)
    (tmp_path / "full").mkdir()
    with StaticServer(tmp_path / "tree") as server:
        mount = 'mount -t tmpfs -o size=1m none "$1" && exec "$3" -c "$0" "$1" "$2"'
        arguments = [program, f"{tmp_path}/full", server.uri, sys.executable]
        command = ["unshare", "--mount", "sh", "-c", mount, *arguments]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said, size, names = done.stdout.splitlines()
    assert said.startswith("big.raw: does not fit into what is staged in memory: No space left on device in ")
    assert (size, names) == ("1000", "['small.raw']")


def test_a_symbolic_link_in_staging_is_never_followed(node: Node, tmp_path: Path) -> None:
    """Whoever could put one there: the file that it leads to stays as it is."""
    victim = put(tmp_path, "victim", "precious")
    staged = node.run()
    target = node.file(staged.requests[0].items[0])
    target.unlink()
    target.symlink_to(victim)
    target.with_name(".good.raw.part").symlink_to(victim)
    node.run(status=74)
    assert victim.read_text() == "precious"


def test_a_hostile_answer_costs_its_request(node: Node) -> None:
    """Endless, redirecting, compressed and broken answers; a sum that is right for an image that is longer."""
    plays = {
        "redirect.raw": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "squeezed.raw": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        "large.raw": b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\nx",
    }

    def script(raw: bytes) -> Play:
        path = parse_request(raw).target.rsplit("/", 1)[-1]
        if path == trust.SUMS:
            return answer("".join(f"{'a' * 64} *{name}\n" for name in plays).encode())
        return plays.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with WireServer(script) as server:
        names = json.dumps(["redirect.raw", "large.raw"])
        node.site(f'[mirror]\ntce_mirror = "{server.uri}/t"\n[extensions]\nverify = "checksum"\ninstall = {names}\n')
        found = refusals(node.run())
    assert "redirects to http://127.0.0.1:1/, which is not followed" in found["redirect.raw"]
    assert "does not fit into what is staged" in found["large.raw"]
    assert node.names() == [trust.SUMS, "good.raw"] or node.names() == ["good.raw"]


# what the machine itself says


def test_files_of_the_machine_that_are_damaged(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    put(node.root, "run/mkweb/config.json", "{")
    put(
        node.root,
        "run/mkweb/config.prev.json",
        json.dumps({"mk_gem_mirror": "http://127.0.0.1:1/x", "mk_gemlist_uri": ""}),
    )
    put(node.root, "run/mk/requests.json", '{"version": 1, "install": ["../x"]}')
    put(node.root, "run/mk-extensions/installed.json", "[]")
    node.site("[extensions]\nallow = ['/(/']\n[tce]\nrelease = '15'\n")
    staged = node.run()
    assert refusals(staged) == {"onboot.lst": "tce.release, tce.build: release: '15' is not of the form 15.x"}
    said = capsys.readouterr().err
    for text in (
        "config.json: not JSON",
        "requests.json: '../x' is not the name of an extension; what an administrator asks for is left out",
        "installed.json: a JSON object is wanted; all that is wanted is fetched again",
        "extensions.allow",
    ):
        assert text in said
    assert "Traceback" not in said


def test_the_process_itself(node: Node) -> None:
    """As the unit starts it, but for the folder: isolated, and with nobody to ask whether mkctl has checked in."""
    command = [sys.executable, "-m", "mkmirror.fetch", "--root", str(node.root)]
    command += ["--own-extensions", f"{node.own_server.uri}/tinycorelinux"]
    command += ["--own-packages", f"{node.own_server.uri}/gem-mirror"]
    bus = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={node.root}/none"}
    done = subprocess.run(
        command, cwd=REPO, env={**os.environ, **bus}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "only the machine's own mirror is asked until mkctl has checked in" in done.stderr
    assert done.stderr.splitlines()[-1] == "mk-fetch: Staged good.raw"


def test_staging_does_not_believe_a_file_of_the_right_size(tmp_path: Path) -> None:
    """Sums decide, also about what was left there by an earlier run."""
    staging = Staging(tmp_path, 10**6, Fetching(attempts=1))
    item = Item(Kind.SYSEXT, "x.raw", "f", sha256=trust.digest_bytes(b"right"))
    put(tmp_path, "staging/f/x.raw", b"wrong")
    with WireServer(answer(b"wrong")) as server, pytest.raises(Untrusted):
        staging.bring(item, f"{server.uri}/x.raw")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(StagingFull, match="staging_limit_mb is 1"):
        staging.put("f", "SHA256SUMS", b"x" * 10**6 + b"x")


def test_a_mirror_that_drips_takes_nobody_elses_time(tmp_path: Path) -> None:
    """What it may take for small files is bounded in all, and so is a run; half a file stays for the next one."""

    def script(raw: bytes) -> Play:
        return Drip(answer(b"x" * 20), 0.01)

    trusting = Trusting(trust.Verify.CHECKSUM, (), tmp_path, patience_s=0.5)
    with WireServer(script) as server:
        mirror = Mirror(server.uri, False, trusting)
        with pytest.raises(Unreachable, match=r"took more than 0\.5 s for lists and sums alone"):
            for number in range(50):
                mirror.read(f"{server.uri}/{number}")
        with pytest.raises(Unreachable, match=r"took more than 0\.5 s"):
            mirror.folder("wheels")
        end = time.monotonic() + 1.0
        how = Fetching(attempts=9, wait=lambda _: None, left_s=lambda: end - time.monotonic())
        slow = tmp_path / "slow.raw"
        with pytest.raises(Unreachable, match=r"no time was left|no complete answer within"):
            remote.fetch(f"{server.uri}/slow.raw", slow, Sums(sha256="a" * 64), how)
    assert time.monotonic() - end < 5


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST"])
def test_another_user_who_listens_on_the_other_localhost_is_not_asked(tmp_path: Path, name: str) -> None:
    """The name means ::1 first; a port of it that is free is anybody's."""
    put(tmp_path, "list", "[]")
    with StaticServer(tmp_path) as server, socket.socket(socket.AF_INET6) as other:
        port = int(server.uri.rsplit(":", 1)[1])
        other.bind(("::1", port))
        other.listen()
        other.settimeout(0.2)
        uri = f"http://{name}:{port}/list"
        assert remote.read_small(uri) == b"[]"
        assert Mirror(f"http://{name}:{port}", True, Trusting(trust.Verify.CHECKSUM, (), tmp_path)).ask(uri)
        assert remote.fetch(uri, tmp_path / "copy", Sums(), Fetching())
        with pytest.raises(socket.timeout):  # which is TimeoutError from Python 3.10 on
            other.accept()
    assert remote.reach("http://localhost.example:1/x") == "http://localhost.example:1/x"
    assert remote.reach("http://[x") == "http://[x"
