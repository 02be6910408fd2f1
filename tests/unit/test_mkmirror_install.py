"""mk-extensions as a process: what it installs, what it refuses with one line, and that nothing else changes then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mkmirror.staged import By, Folder, Item, Modules, Refused
from tests.unit.extension_node import OWN, OWN_TCZ, Content, Node
from tests.unit.mirror_trees import make_wheel


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


UNIT = "[Service]\nExecStart=/usr/bin/a\n"


def test_one_refresh_for_all(node: Node) -> None:
    """Several requests with shared dependencies: one refresh, units started, everything recorded, memory given back."""
    base = node.item("base.raw")
    unit: Content = {
        "usr/lib/systemd/system/a.service": UNIT,
        "usr/lib/systemd/system/multi-user.target.d/10-a.conf": "[Unit]\nUpholds=a.service\n",
        "usr/lib/sysusers.d/a.conf": "u a - -\n",
    }
    node.want(base, node.item("a.raw", unit, needs=["base.raw"]))
    node.want(base, node.item("b.raw", needs=["base.raw"]))
    installed = node.run()
    assert node.merged() == ["a.raw", "b.raw", "base.raw"]
    assert node.asked.count("systemd-sysext refresh") == 1
    assert "systemd-sysusers -- a.conf" in node.asked
    assert "systemctl start -- a.service" in node.asked
    assert set(installed.extensions) == {"a.raw", "b.raw", "base.raw"}
    found = installed.extensions["a.raw"]
    assert (found.kind, found.by, found.units, found.needs) == ("sysext", "admin", ("a.service",), ("base.raw",))
    assert found.mirror == f"{OWN.mirror}/{OWN.path}" and found.signed_by == "" and found.installed_usec
    assert not list(node.fetched.rglob("*.raw")) and not node.paths.staged.exists()
    assert "a.raw is installed with base.raw: from http://localhost:2157/" in node.said


BAD: tuple[tuple[Content, str], ...] = (
    ({"usr/lib/mk/x.py": ""}, "'usr/lib/mk/x.py' belongs to the suite"),
    ({"usr/lib/systemd/system/mkctl.service.d/x.conf": ""}, "'usr/lib/systemd/system/mkctl.service.d' changes a unit"),
    ({"usr/lib/python3/dist-packages/mkctl/agent.py": ""}, "agent.py' belongs to the suite"),
    ({"usr/lib/python3.13/sitecustomize.py": ""}, "sitecustomize.py' would be imported by the programs of the suite"),
    ({"etc/passwd": ""}, "'etc/passwd' is outside opt and usr, and would not be merged"),
    ({"usr/lib/extension-release.d/extension-release.bad": "ID=fedora\n"}, "it is for fedora, not debian"),
    ({"usr/lib/extension-release.d/extension-release.other": "ID=_any\n"}, "the release file of another extension"),
    ({"usr/local": "a file"}, "'usr/local' is a file and would hide a folder of the system"),
)


@pytest.mark.parametrize(("content", "reason"), BAD)
def test_what_cannot_be_merged(node: Node, content: Content, reason: str) -> None:
    """One line, and the others of the same run are installed."""
    node.want(node.item("bad.raw", content))
    node.want(node.item("good.raw"))
    installed = node.run()
    assert node.merged() == ["good.raw"] and set(installed.extensions) == {"good.raw"}
    assert reason in installed.refused["bad.raw"].reason
    assert [line for line in node.said.splitlines() if "not installed" in line] == [
        f"mk-extensions: {installed.refused['bad.raw'].reason}; it is not installed"
    ]


@pytest.mark.parametrize("name", ["broken.raw", "ignored.raw"])
def test_what_systemd_does_not_merge(node: Node, name: str) -> None:
    """One that fails the refresh of all, one that is left out without a word: it alone is taken out again."""
    node.want(node.item("before.raw"))
    node.want(node.item(name))
    node.want(node.item("after.raw"))
    installed = node.run()
    assert node.merged() == ["after.raw", "before.raw"]
    assert set(installed.refused) == {name}
    assert node.asked_file.with_name("asked.merged").read_text().split() == ["after", "before"]


def test_a_request_is_whole_or_nothing(node: Node) -> None:
    """What a refused request needs is taken out, too, unless another request needs it; the reason names both."""
    shared, alone = node.item("shared.raw"), node.item("alone.raw")
    bad = node.item("bad.raw", {"usr/lib/mk/x": ""}, needs=["alone.raw"])
    node.want(shared, alone, bad, node.item("top.raw", needs=["shared.raw", "bad.raw"]))
    node.want(shared, node.item("good.raw", needs=["shared.raw"]))
    installed = node.run()
    assert node.merged() == ["good.raw", "shared.raw"] == sorted(installed.extensions)
    assert installed.refused["top.raw"].reason == "top.raw: bad.raw: 'usr/lib/mk/x' belongs to the suite"
    assert not (node.paths.run_extensions / "images/alone.raw").exists()


def test_tiny_core_and_native_ones_stand_or_fall_together(node: Node) -> None:
    """A native extension that was merged is unmerged when what it needs cannot be shown."""
    bad = node.item("b.tcz", {"etc/passwd": ""}, folder=OWN_TCZ)
    node.want(bad, node.item("a.raw", needs=["b.tcz"]))
    node.want(node.item("c.tcz", folder=OWN_TCZ))
    installed = node.run()
    assert node.merged() == [] and set(installed.extensions) == {"c.tcz"}
    assert "'etc/passwd'" in installed.refused["a.raw"].reason


def test_units_that_fail_cost_nothing(node: Node) -> None:
    content: Content = {"usr/lib/systemd/system/failing.service": f"{UNIT}[Install]\nWantedBy=multi-user.target\n"}
    node.want(node.item("a.raw", content))
    assert set(node.run().extensions) == {"a.raw"}
    assert "a.raw: failing.service: systemctl ended with status 1: Job for failing.service failed." in node.said


def test_removal(node: Node) -> None:
    """Units are stopped before, and what another one needs stays."""
    content: Content = {"usr/lib/systemd/system/a.service": UNIT}
    node.want(node.item("base.raw"), node.item("a.raw", content, needs=["base.raw"]))
    node.run()
    node.ask(remove=["base.raw"])
    installed = node.run(stage=False)
    assert set(installed.extensions) == {"a.raw", "base.raw"}
    assert installed.refused["base.raw"].reason == "base.raw: a.raw needs it, so it is not removed"
    node.ask(remove=["base", "a.raw"])
    installed = node.run(stage=False)
    assert not installed.extensions and not installed.refused and node.merged() == []
    order = [line.split()[1] for line in node.asked if line.split()[1] in ("stop", "refresh", "daemon-reload")]
    assert order == ["stop", "refresh", "daemon-reload", "stop"], "here units are there and run whatever was done"
    assert not list((node.paths.run_extensions / "images").iterdir())
    assert "a.raw is removed" in node.said


def test_removed_while_it_was_fetched(node: Node) -> None:
    """What mk-fetch staged before it knew of the removal does not bring it back; a new wish of his does."""
    item = node.item("a.raw")
    node.want(item, by=By.SITE)
    node.configure('[extensions]\ninstall = ["a"]\n')
    assert set(node.run().extensions) == {"a.raw"}
    node.want(node.item("a.raw", {"usr/share/a": "again"}), by=By.SITE)
    node.ask(remove=["a"])
    installed = node.run()
    assert not installed.extensions and not installed.refused and node.merged() == []
    node.want(node.item("a.raw", {"usr/share/a": "anew"}))
    node.ask(remove=["a"], install=["a.raw"])
    assert set(node.run().extensions) == {"a.raw"}


def test_packages(node: Node) -> None:
    """Wheels are installed with what they need; a newer one takes an older one's place, a missing need is refused."""
    folder = Folder("http://localhost:2158/gem-mirror", "wheels", True)
    disk = node.paths.mirror_admin / "gem-mirror/wheels"

    def wheel(name: str, version: str, *needs: str) -> Item:
        made = make_wheel(node.staging(folder), name, version, *needs)
        disk.mkdir(parents=True, exist_ok=True)
        (disk / made.name).write_bytes(made.read_bytes())
        (node.on_disk(folder) / made.name).unlink(missing_ok=True)
        return node.add(made, folder)

    node.ask(packages=["foo", "bar"])
    node.want(wheel("dep", "1.0"), wheel("foo", "1.0", "dep>=1"), name="foo", by=By.PUSH)
    node.want(wheel("bar", "1.0", "absent"), name="bar", by=By.PUSH)
    installed = node.run()
    assert {name: each.version for name, each in installed.packages.items()} == {"dep": "1.0", "foo": "1.0"}
    assert "absent" in installed.refused["bar"].reason
    library = node.paths.run_extensions / "python/lib"
    assert sorted(path.name for path in library.resolve().glob("*.py")) == ["dep.py", "foo.py"]
    node.want(wheel("foo", "2.0", "dep>=1"), name="foo", by=By.PUSH)
    installed = node.run()
    assert installed.packages["foo"].version == "2.0"
    assert "2.0" in (library.resolve() / "foo.py").read_text()
    node.ask(remove=["foo", "dep"])
    assert not node.run(stage=False).packages and not library.exists()


def test_what_a_push_may(node: Node) -> None:
    """The site's list limits what is not shown to be somebody else's wish, whatever mk-fetch says."""
    node.configure('[extensions]\nallow = ["good.raw"]\ninstall = ["site"]\n')
    for name, by in (("good", By.PUSH), ("bad", By.PUSH), ("site", By.SITE), ("liar", By.SITE), ("also", By.BUILTIN)):
        node.want(node.item(f"{name}.raw"), by=by)
    lists = node.paths.mirror / "tinycorelinux"
    lists.mkdir(parents=True)
    (lists / "tce-install-list").write_text('["listed.raw"]')
    node.want(node.item("listed.raw"), by=By.BUILTIN)
    node.want(node.item("asked.raw"), by=By.ADMIN)
    installed = node.run()
    assert set(installed.extensions) == {"good.raw", "site.raw", "listed.raw", "asked.raw"}
    assert set(installed.refused) == {"bad.raw", "liar.raw", "also.raw"}
    assert installed.refused["bad.raw"].reason == (
        "bad.raw: extensions.allow of this site does not let a push install it"
    )


def test_modules_that_a_push_may_not_load(node: Node) -> None:
    node.configure('[extensions]\nallow = ["x.raw"]\n')
    node.stage(modules=(Modules(By.PUSH, ("drivers/misc/vmci.ko",), "http://m/kmod"),))
    installed = node.run(stage=False)
    assert "does not let a push" in installed.refused["drivers/misc/vmci.ko"].reason


def test_what_mk_fetch_refused_is_remembered(node: Node) -> None:
    node.stage(refused=(Refused("x.tcz", By.PUSH, "x.tcz is not in the mirror"),))
    installed = node.run(stage=False)
    assert installed.refused["x.tcz"].reason == "x.tcz is not in the mirror"
    assert "x.tcz" not in node.said, "mk-fetch wrote the event"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("[1, 2", "not JSON"),
        ('{"version": 7}', "version"),
        (json.dumps({"version": 1, "requests": [{"name": "../x.raw", "by": "push", "items": []}]}), "items"),
        (" " * (5 << 20), "larger than"),
    ],
    ids=["half", "without a version", "a bad name", "large"],
)
def test_a_document_that_mk_fetch_did_not_write(node: Node, document: str, reason: str) -> None:
    """One line, the document is gone, what is installed stays."""
    node.want(node.item("a.raw"))
    node.run()
    node.paths.staged.write_text(document)
    installed = node.run(1, stage=False)
    lines = [line for line in node.said.splitlines() if "what was fetched is not used" in line]
    assert len(lines) == 1 and reason in lines[0]
    assert set(installed.extensions) == {"a.raw"} and not node.paths.staged.exists()


def test_a_damaged_record_is_started_anew(node: Node) -> None:
    node.paths.run_extensions.mkdir(parents=True)
    node.paths.installed.write_text('{"version": 1, "extensions": {"a.raw": 3}}')
    node.want(node.item("b.raw"))
    assert set(node.run().extensions) == {"b.raw"}
    assert "installed.json" in node.said and "found out anew" in node.said


def test_a_run_that_was_killed_leaves_no_trap(node: Node) -> None:
    """A link that nobody wrote down goes, whether its file is there or not; those of others stay."""
    images, links = node.paths.run_extensions / "images", node.root / "run/extensions"
    images.mkdir(parents=True)
    links.mkdir()
    (images / "half.raw").write_bytes(b"half")
    for name in ("half.raw", "gone.raw"):
        (links / name).symlink_to(images / name)
    (links / "other.raw").symlink_to("/srv/other.raw")
    node.want(node.item("a.raw"))
    assert set(node.run().extensions) == {"a.raw"}
    assert node.merged() == ["a.raw", "other.raw"]
    assert [path.name for path in images.iterdir()] == ["a.raw"]


def test_images_that_claim_too_much(node: Node) -> None:
    """A few bytes can claim millions of files: such an image is not even mounted; nor is one that lacks its end."""
    for name, offset, value in (("bomb.raw", 4, 200_001), ("bomb.tcz", 4, 200_001), ("short.raw", 40, 1 << 20)):
        folder = OWN if name.endswith("raw") else OWN_TCZ
        item = node.item(name, folder=folder)
        staged = node.staging(folder) / name
        data = bytearray(staged.read_bytes())
        data[offset : offset + 4] = value.to_bytes(4, "little")
        staged.write_bytes(data)
        node.want(node.add(staged, folder, item.needs))
    installed = node.run()
    assert not installed.extensions
    assert installed.refused["bomb.raw"].reason == "bomb.raw: has 200001 files, more than 200000"
    assert installed.refused["bomb.tcz"].reason == "bomb.tcz: has 200001 files, more than 200000"
    assert installed.refused["short.raw"].reason == "short.raw: is truncated: 4096 of 1048576 bytes"
    assert not [line for line in node.asked if line.startswith("mount")]


def test_nothing_to_do(node: Node) -> None:
    assert not node.run(stage=False).extensions
    assert node.asked == []
