"""Attacks by whoever has taken over mk-fetch or the mirror: files that are signed, and that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.errors import BadInput
from mkmirror.formats import wheel
from mkmirror.needed import File, require_needed, require_not_removed
from mkmirror.requests import Requests
from mkmirror.staged import By, Folder, Item, Kind, Request
from tests.unit.extension_node import OWN, OWN_TCZ, REMOTE, REMOTE_TCZ, Node
from tests.unit.mirror_trees import make_wheel
from tests.unit.pgp_keys import Gpg

WHEELS = Folder("http://localhost:2158/gem-mirror", wheel.FOLDER, True)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    made = Gpg(tmp_path_factory.mktemp("gpg"))
    made.make_key("good", made="20200101T000000")
    yield made
    made.close()


def refused(node: Node, name: str) -> str:
    """Run; nothing may be installed. Returns why not."""
    installed = node.run()
    assert not installed.extensions and not installed.packages and node.merged() == []
    return installed.refused[name].reason


@pytest.mark.parametrize(("folder", "ending"), [(REMOTE, "raw"), (REMOTE_TCZ, "tcz")])
@pytest.mark.parametrize("by", [By.PUSH, By.ADMIN])
def test_another_signed_file_comes_in_with_no_request(
    node: Node, gpg: Gpg, folder: Folder, ending: str, by: By
) -> None:
    """It is signed, its mirror is right, and mk-fetch says that it is needed: the signed `.dep` does not."""
    (node.root / "etc/mk/trust.d/good.gpg").write_bytes(gpg.export("good"))
    node.configure('[extensions]\nallow = ["a"]\n')
    other = node.item(f"evil.{ending}", folder=folder)
    wanted = node.item(f"a.{ending}", folder=folder)
    claimed = Item(wanted.kind, wanted.name, wanted.folder, needs=(other.name,))
    gpg.sign(node.sign(folder), "good", at="20260101T000000")
    node.want(other, claimed, by=by)
    name = f"a.{ending}"
    assert refused(node, name) == f"{name}: evil.{ending} was fetched with it, and nothing of it needs that"


def test_what_is_needed_of_what_is_needed_comes_in(node: Node, gpg: Gpg) -> None:
    (node.root / "etc/mk/trust.d/good.gpg").write_bytes(gpg.export("good"))
    three = node.item("c.raw", folder=REMOTE)
    two = node.item("b.raw", folder=REMOTE, needs=["c.raw"])
    one = node.item("a.raw", folder=REMOTE, needs=["b.raw"])
    gpg.sign(node.sign(REMOTE), "good", at="20260101T000000")
    node.want(three, Item(two.kind, two.name, two.folder), one, by=By.PUSH)
    installed = node.run()
    assert set(installed.extensions) == {"a.raw", "b.raw", "c.raw"}
    assert installed.extensions["b.raw"].needs == ("c.raw",), "the signed one, whatever mk-fetch said"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("other", "a.raw.dep: SHA256SUMS does not vouch for it"),
        ("absent", "a.raw.dep: was not staged"),
        ("link", "a.raw: cannot be read: Too many levels of symbolic links"),
        ("long", "a.raw.dep: larger than 1048576 bytes"),
    ],
)
def test_a_list_of_dependencies_that_is_not_the_signed_one(node: Node, gpg: Gpg, change: str, said: str) -> None:
    (node.root / "etc/mk/trust.d/good.gpg").write_bytes(gpg.export("good"))
    other = node.item("evil.raw", folder=REMOTE)
    wanted = node.item("a.raw", folder=REMOTE, needs=["b.raw"])
    node.item("b.raw", folder=REMOTE)
    gpg.sign(node.sign(REMOTE), "good", at="20260101T000000")
    path = node.staging(REMOTE) / "a.raw.dep"
    path.unlink()
    if change == "other":
        path.write_text("evil.raw\n")
    elif change == "long":
        path.write_text("#" * (1 << 20) + "\nevil.raw\n")
    elif change == "link":
        path.symlink_to("/etc/passwd")
    node.want(other, wanted, by=By.PUSH)
    found = refused(node, "a.raw")
    assert said in found and "root:" not in found


@pytest.mark.parametrize(("folder", "ending"), [(OWN, "raw"), (OWN_TCZ, "tcz")])
def test_the_machines_own_mirror_says_on_disk_what_is_needed(node: Node, folder: Folder, ending: str) -> None:
    """Whoever speaks on loopback in its name is not asked."""
    other, wanted = node.item(f"evil.{ending}", folder=folder), node.item(f"a.{ending}", folder=folder)
    (node.staging(folder) / f"a.{ending}.dep").write_text(f"evil.{ending}\n")
    node.want(other, wanted)
    assert "is not in the machine's own mirror" in refused(node, f"a.{ending}")
    node.need(f"a.{ending}", [f"evil.{ending}"], folder)
    (node.staging(folder) / f"a.{ending}.dep").unlink()
    node.want(other, wanted)
    assert "was not staged" in refused(node, f"a.{ending}")
    for each in ("evil", "a"):
        node.item(f"{each}.{ending}", folder=folder)
    node.need(f"a.{ending}", [f"evil.{ending}"], folder)
    node.want(other, wanted)
    assert set(node.run().extensions) == {f"a.{ending}", f"evil.{ending}"}


def test_nothing_comes_without_what_it_needs(node: Node) -> None:
    node.want(node.item("a.raw", needs=["b.raw"]))
    assert refused(node, "a.raw") == "a.raw: a.raw needs b.raw, which is neither fetched nor installed"
    node.want(node.item("b.raw"))
    node.run()
    node.want(node.item("a.raw", needs=["b.raw"]))
    assert set(node.run().extensions) == {"a.raw", "b.raw"}


@pytest.mark.parametrize("by", [By.PUSH, By.BUILTIN])
def test_what_was_removed_does_not_come_back_by_a_request_for_another(node: Node, by: By) -> None:
    """Also when the mirror says, and vouches for it, that the other one needs it; the administrator alone may."""
    (node.paths.mirror_admin / "tinycorelinux").mkdir(parents=True)
    (node.paths.mirror_admin / "tinycorelinux/tce-install-list").write_text("- a\n")
    node.ask(remove=["gone"])
    node.want(node.item("gone.raw"), node.item("a.raw", needs=["gone.raw"]), by=by)
    said = refused(node, "a.raw")
    assert said == "a.raw: needs gone.raw, which the administrator removed (mkmirror install gone.raw)"
    node.ask(install=["a"], remove=["gone"])
    node.want(node.item("gone.raw"), node.item("a.raw", needs=["gone.raw"]), name="a.raw")
    node.ask(install=["a"], remove=["gone"])
    assert set(node.run().extensions) == {"a.raw", "gone.raw"}


@pytest.mark.parametrize(
    ("requires", "fine"),
    [
        ((), False),
        (("bar",), True),
        (("bar>=2",), False),
        (("bar; extra == 'x'",), False),
        (("mid",), True),
        (("mid[x]",), True),
    ],
)
def test_another_package_comes_in_with_no_request(node: Node, requires: tuple[str, ...], fine: bool) -> None:
    """What a package needs stands in the wheel, in the version that it wants."""
    wheels = [make_wheel(node.staging(WHEELS), "bar", "1.0")]
    if any(each.startswith("mid") for each in requires):
        wheels.append(make_wheel(node.staging(WHEELS), "mid", "1.0", "bar"))
    wheels.append(make_wheel(node.staging(WHEELS), "foo", "1.0", *requires))
    for made in wheels:
        path = node.paths.mirror_admin / "gem-mirror" / wheel.FOLDER
        path.mkdir(parents=True, exist_ok=True)
        (path / made.name).write_bytes(made.read_bytes())
    items = [Item(Kind.WHEEL, made.name, made.parent.name) for made in wheels]
    node.want(*items, by=By.PUSH, name="foo")
    if fine:
        assert set(node.run().packages) == {made.name.split("-")[0] for made in wheels}
    else:
        assert "bar-1.0-py3-none-any.whl was fetched with it" in refused(node, "foo")


def test_an_extension_brings_no_package_and_none_that_circles_back(tmp_path: Path) -> None:
    """The walk ends, and a name of another kind is reached by nothing."""
    raw = [Item(Kind.SYSEXT, f"{name}.raw", "0") for name in "cba"]
    request = Request("a.raw", By.PUSH, tuple(raw))
    needs = {"a.raw": ("b.raw",), "b.raw": ("c.raw",), "c.raw": ("a.raw",)}
    require_needed(request, [File(name, each) for name, each in needs.items()], {})
    package = Item(Kind.WHEEL, "foo-1.0-py3-none-any.whl", "0")
    with pytest.raises(BadInput, match=r"foo-1\.0-py3-none-any\.whl was fetched with it"):
        require_needed(Request("a.raw", By.PUSH, (package, raw[2])), [File("a.raw"), File(package.name)], {})
    with pytest.raises(BadInput, match="needs foo, which the administrator removed"):
        require_not_removed(Request("a.raw", By.PUSH, (package, raw[2])), Requests(remove=("foo",)))
    require_not_removed(Request("a.raw", By.PUSH, (package, raw[2])), Requests(remove=("foo", "a")), {package.name})
