"""What is told of the packages in an image: licences as SPDX has them, the record of versions, sums, a signature."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.mirror_trees import make_deb, run_mkmirror, write_tree
from tests.unit.pgp_keys import Gpg

IMAGE = Path(__file__).resolve().parent.parent.parent / "packaging/image"
FORMS = IMAGE / "forms"
HOST = pytest.mark.skipif(sys.version_info < (3, 11), reason="these programs run on the Python of a Debian host")

GPL = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: https://example.org/

Files: *
Copyright: 2024 Somebody
License: GPL-2+

Files: a b
Copyright: 2024 Somebody
License: Expat or Own, and BSD-3-clause
 inline text

License: GPL-2+
 the text of the GPL
 .
 in two paragraphs

License: Own
 my own words
"""
STATUS = """\
Package: aa
Status: install ok installed
Maintainer: A Person <a@example.org>
Architecture: amd64
Source: aa-src (1:2.0-1)
Version: 1:2.0-1+b1
Homepage: https://example.org/aa
Description: first
 more of it

Package: ab
Status: install ok installed
Maintainer: A Person <a@example.org>
Architecture: all
Version: 3~rc1
Description: second

Package: trimmed
Status: install ok installed
Architecture: all
Version: 5
Description: nothing of it is left

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
Description: not there
"""


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module of the forms as its programs do."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(IMAGE))
    monkeypatch.syspath_prepend(str(FORMS))
    return importlib.import_module(name)


@HOST
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("LGPL-3.0+", "LGPL-3.0-or-later"),
        ("GPL-3.0-or-later", "GPL-3.0-or-later"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
        ("LGPL", ""),
        ("GPL-4", ""),
        ("public-domain", ""),
    ],
)
def test_short_names_and_identifiers(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("licences", monkeypatch).find_identifier(name) == expected


@HOST
def test_a_copyright_file_is_an_expression_and_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    licences = load("licences", monkeypatch)
    found = licences.read_copyright("aa", GPL)
    own = licences.make_reference("Own", " my own words")
    assert found.expression == f"((MIT OR {own}) AND BSD-3-Clause) AND GPL-2.0-or-later"
    assert found.texts == {own: " my own words"}
    free = licences.read_copyright("aa", "Copyright Somebody\n\nUse it.\n")
    assert found.expression != free.expression and list(free.texts.values()) == ["Copyright Somebody\n\nUse it.\n"]
    assert free.expression == next(iter(free.texts))
    missing = licences.read_copyright("aa", GPL.replace("License: Own\n my own words\n", ""))
    assert next(iter(missing.texts.values())).startswith("Format: "), "no text of its own: the whole file is"


def make_image(folder: Path) -> Path:
    """Make the folder of an image with a root, and a mirror with one extension of one package."""
    root, mirror = folder / "root", folder / "mirror"
    write_tree(
        root,
        {
            "usr/share/doc/aa/copyright": GPL,
            "usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\n',
        },
    )
    (root / "usr/share/doc/ab").symlink_to("aa")
    deb = make_deb(folder, "tool", {"usr/bin/tool*": "#!/bin/sh\n", "usr/share/doc/tool/copyright": "free words\n"})
    run_mkmirror("build", "tools", "--format", "sysext", "--from-deb", deb, "--out", mirror / "tinycorelinux")
    image = folder / "image"
    image.mkdir()
    for name in ("root", "mirror"):
        command = ["mksquashfs", str(folder / name), str(image / f"{name}.squashfs"), "-quiet", "-no-progress"]
        subprocess.run([*command, "-all-root"], check=True, capture_output=True)
    (image / "vmlinuz").write_bytes(b"kernel")
    (image / "dpkg-status").write_text(STATUS)
    files = {
        name: {"size_bytes": (image / name).stat().st_size, "sha256": digest(image / name)}
        for name in ("vmlinuz", "root.squashfs", "mirror.squashfs")
    }
    manifest = {"version": "0.1.0+7-gabc", "source_date_epoch": 1_700_000_000, "files": files}
    manifest["packages_left"] = ["aa", "ab"]
    manifest["tools"] = {"xorriso": "1.5", "squashfs-tools": "1:4.5.1-1"}
    (image / "manifest.json").write_text(json.dumps(manifest))
    return image


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(form: str, image: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/python3", "-B", str(FORMS / f"{form}.py"), "--image", str(image), *words]
    where = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=where)


def read(image: Path) -> dict[str, Any]:
    return dict(json.loads((image / "sbom.spdx.json").read_text(encoding="utf-8")))


@HOST
def test_every_package_of_system_and_extensions(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    done = run("sbom", image)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "image: sbom.spdx.json, 3 packages, 2 texts of licences that have no name in SPDX\n"
    document = read(image)
    found = {each["name"]: each for each in document["packages"] if each["SPDXID"].startswith("SPDXRef-Package")}
    assert {name: each["versionInfo"] for name, each in found.items()} == {
        "aa": "1:2.0-1+b1",
        "ab": "3~rc1",
        "tool": "1.0",
    }
    assert found["aa"]["externalRefs"][0]["referenceLocator"] == (
        "pkg:deb/debian/aa@1%3A2.0-1%2Bb1?arch=amd64&distro=debian-13"
    )
    assert found["aa"]["supplier"] == "Organization: A Person (a@example.org)"
    assert found["aa"]["sourceInfo"] == "built from the source package aa-src 1:2.0-1"
    assert found["ab"]["licenseDeclared"] == found["aa"]["licenseDeclared"], "its folder is a link to a neighbour's"
    assert found["tool"]["licenseDeclared"].startswith("LicenseRef-tool-copyright-")
    assert found["tool"]["SPDXID"] == "SPDXRef-Package-tools-tool"
    relations = {(each["relationshipType"], each["relatedSpdxElement"]) for each in document["relationships"]}
    assert ("GENERATED_FROM", "SPDXRef-Source-aa-src-1-2.0-1") in relations
    assert document["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    assert run("sbom", image).stdout == "", "nothing changed, nothing is done"


def faults(path: Path) -> list[str]:
    """What another implementation of SPDX has to say against a document."""
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    return [message.validation_message for message in validate_full_spdx_document(parse_file(str(path)))]


@HOST
def test_the_document_is_valid(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    assert run("sbom", image).returncode == 0
    assert faults(image / "sbom.spdx.json") == []
    broken = read(image)
    broken["packages"][1]["licenseDeclared"] = "No Such Licence"
    (tmp_path / "broken.spdx.json").write_text(json.dumps(broken))
    assert faults(tmp_path / "broken.spdx.json") != []


@HOST
def test_the_record_of_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_image(tmp_path)
    assert run("sbom", image).returncode == 0
    lock = load("lib.lock", monkeypatch)
    found = lock.read(image / "packages.lock")
    system = {"aa": "1:2.0-1+b1", "ab": "3~rc1", "trimmed": "5"}
    assert found[:4] == (1_700_000_000, "amd64", system, {"tool": "1.0"}), "what was only needed to install others, too"
    assert found.tools == {"squashfs-tools": "1:4.5.1-1", "xorriso": "1.5"}
    assert lock.build_text(found) == (image / "packages.lock").read_text()
    preferences = lock.build_preferences({**found.packages, "mkctl": "0.1.0"})
    assert "Package: *\nPin: release *\nPin-Priority: -1\n" in preferences, "nothing beside"
    assert "Package: aa\nPin: version 1:2.0-1+b1\nPin-Priority: 1001\n" in preferences
    assert "Package: mkctl\n" not in preferences, "ours come from the tree"
    assert lock.compare({"aa": "1", "ab": "2", "mkctl": "1"}, {"aa": "2", "ac": "1", "mkctl": "2"}) == [
        "aa: recorded 1, now 2",
        "ab: recorded 2, now not in it",
        "ac: recorded not in it, now 1",
    ]


@HOST
def test_tools_that_are_others_than_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host has cannot be chosen, so a second build says what differs."""
    tools = load("lib.tools", monkeypatch)
    recorded = {"gcc-12": "12.2.0-14", "xorriso": "1.5.4-4", "zstd": "1.5.4"}
    assert tools.compare(recorded, {"gcc-14": "14.2", "xorriso": "1.5.6-1", "zstd": "1.5.4"}) == [
        "gcc-12: recorded 12.2.0-14, here not installed",
        "xorriso: recorded 1.5.4-4, here 1.5.6-1",
    ]
    assert tools.compare({}, {"zstd": "1"}) == [], "an older record has none"
    found = tools.read_tools()
    assert {"dpkg", "squashfs-tools", "xz-utils"} <= set(found) and all(found.values())


@HOST
def test_loaders_and_the_c_library_are_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form's own, with the release that they are of, and of what those were made that others signed."""
    beside, spdx, licences = (load(name, monkeypatch) for name in ("beside", "spdx", "licences"))
    of_pc = {each.package for each in beside.choose({"initrd", "mk.iso", "mk.efi", "first-stage"}, "amd64")}
    assert of_pc >= {"musl-dev", "isolinux", "syslinux-common", "shim-signed", "grub-efi-amd64-signed"}
    assert of_pc >= {"systemd-boot-efi", "busybox-static"}
    assert [each.package for each in beside.choose({"initrd"}, "arm64")] == ["libc6-dev-arm64-cross"]
    shim = {"Package": "shim-signed", "Version": "1.44+16", "Source": "shim-signed (1.44)"}
    shim["Built-Using"] = "shim (= 16)"
    musl = {"Package": "musl-dev", "Version": "1.2.3-1", "Source": "musl"}
    packages = [spdx.Package(shim, "mk.iso"), spdx.Package(musl, "initrd", "debian-12")]
    document = spdx.build_document("1", 0, {}, packages, {"musl-dev": licences.Licences("MIT")}, "debian-13")
    found = {each["SPDXID"]: each for each in document["packages"]}
    entry = found["SPDXRef-Package-initrd-musl-dev"]
    assert entry["licenseDeclared"] == "MIT"
    assert entry["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/musl-dev@1.2.3-1?arch=all&distro=debian-12"
    assert found["SPDXRef-Package-mk.iso-shim-signed"]["sourceInfo"].endswith("shim-signed 1.44 and shim 16")
    made_of = [each for each in document["relationships"] if each["relationshipType"] == "GENERATED_FROM"]
    sources = [each["relatedSpdxElement"] for each in made_of]
    assert sorted(sources) == sorted(name for name in found if name.startswith("SPDXRef-Source"))
    assert "SPDXRef-Source-musl-1.2.3-1-debian-12" in sources and "SPDXRef-Source-shim-16" in sources


@HOST
@pytest.mark.parametrize(
    ("text", "says"),
    [("[packages", "is no record"), ("source_date_epoch = 1\n", "it has no 'architecture'"), (None, "No such file")],
)
def test_a_record_that_is_none(text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, path = load("lib.lock", monkeypatch), tmp_path / "packages.lock"
    if text is not None:
        path.write_text(text)
    with pytest.raises(load("lib.places", monkeypatch).BuildError, match=says):
        lock.read(path)


@HOST
def test_of_which_packages_anything_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {"usr/bin/a*": "", "usr/share/doc/b/copyright": "", "usr/lib/python3/c.pyc": "", "usr/lib/d.ko": ""}
    write_tree(tmp_path / "root", {**tree, "usr/lib/e/f": ""})
    (tmp_path / "root/usr/bin/link").symlink_to("nowhere")
    (tmp_path / "root/bin").symlink_to("usr/bin")
    lists = {
        "a": "/.\n/bin\n/bin/a\n",
        "b": "/.\n/usr/share/doc/b/copyright\n/usr/bin/gone\n",
        "c:amd64": "/usr/lib/python3/c.py\n",
        "d": "/usr/lib/d.ko.xz\n",
        "e": "/usr/lib/e\n",
        "f": "/usr/bin/link\n",
    }
    write_tree(tmp_path / "lists", {f"{name}.list": text for name, text in lists.items()})
    left = load("lib.left", monkeypatch)
    assert left.find_left(tmp_path / "root", tmp_path / "lists") == ["a", "c", "d", "f"]


@HOST
def test_sums_and_their_signature(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    assert run("sums", image).stdout == "image: SHA256SUMS of 3 files\n"
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=image, check=False)
    assert done.returncode == 0
    before = (image / "SHA256SUMS").read_text()
    assert run("sbom", image).returncode == 0
    assert run("sums", image).stdout == "image: SHA256SUMS of 5 files\n"
    assert before != (image / "SHA256SUMS").read_text()
    refused = run("sums", image, "--sign", "nobody@example.org")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"packaging/image/forms/sums.py: gpg cannot sign {image}/SHA256SUMS with nobody")
    assert not (image / "SHA256SUMS.gpg").exists()


@HOST
def test_a_signature_never_stays_beside_other_sums(tmp_path: Path) -> None:
    image, gpg = make_image(tmp_path), Gpg(tmp_path)
    try:
        gpg.make_key("site")
        done = run("sums", image, "--sign", "site@mk.example", GNUPGHOME=str(gpg.home))
        assert done.stdout == "image: SHA256SUMS of 3 files, SHA256SUMS.gpg by site@mk.example\n", done.stderr
        gpg.run("--verify", str(image / "SHA256SUMS.gpg"), str(image / "SHA256SUMS"))
        again = run("sums", image, "--sign", "site@mk.example", GNUPGHOME=str(gpg.home))
        assert again.stdout == "", "signed already"
        assert "SHA256SUMS.gpg" in json.loads((image / "manifest.json").read_text())["files"]
        assert run("sbom", image).returncode == run("sums", image).returncode == 0
        assert not (image / "SHA256SUMS.gpg").exists(), "the sums are others, and nobody signed them"
        assert "SHA256SUMS.gpg" not in json.loads((image / "manifest.json").read_text())["files"]
    finally:
        gpg.close()


@HOST
def test_a_form_that_is_not_what_was_recorded(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    (image / "vmlinuz").write_bytes(b"other!")
    done = run("sums", image)
    assert (done.returncode, done.stderr) == (
        1,
        f"packaging/image/forms/sums.py: {image}/vmlinuz is not what manifest.json says: run make image\n",
    )
    shutil.rmtree(image)
    assert "there is no image in" in run("sbom", image).stderr
