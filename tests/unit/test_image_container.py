"""The container's image: made of a small system, read again as Podman's kin and as a Hanlon 3 server read it."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mkcore.config import effective, read_site
from mkcore.paths import Paths

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "packaging/image"), str(ROOT / "packaging/image/forms")]

import container_tree  # noqa: E402
import oci  # noqa: E402
from lib import manifest  # noqa: E402
from lib.places import BuildError  # noqa: E402

VERSION = "0.12.0+4-g104a9bc"
ACCOUNTS = {
    "etc/passwd": "root:x:0:0::/:/x\nmkctl:x:987:985::/:/x\nmkweb:x:989:987::/:/x\nmessagebus:x:997:997::/:/x\n",
    "etc/group": "root:x:0:\nusers:x:100:\nmkctl:x:985:\nmkweb:x:987:\nmessagebus:x:997:mkweb\n",
    "etc/shadow": "root:!*:1::::::\nmkctl:!*:1::::::\n",
    "etc/gshadow": "root:*::\nmkctl:!::\n",
}
FILES = {
    **ACCOUNTS,
    "usr/bin/mkctl": "#!/usr/bin/python3 -I\n",
    "usr/bin/mkdir": "ELF",
    "usr/lib/mk/mk.toml": "# the package's\n",
    "usr/lib/os-release": "IMAGE_VERSION=0.12.0_4-g104a9bc\n",
    "usr/lib/modules/6.12/kernel.ko": "ELF",
    "usr/lib/python3/dist-packages/mkctl/agent.py": "",
    "usr/lib/python3/dist-packages/requests/api.py": "",
    "usr/lib/systemd/system/mk-facts.service": "[Service]\n",
    "usr/lib/udev/rules.d/90-mk-facts.rules": "",
}


def load(path: Path) -> ModuleType:
    """Import a program whose name has no ending."""
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_"), str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an image that has two small layers, with both archives made of them."""
    folder = tmp_path_factory.mktemp("image")
    tree, services = folder / "tree", folder / "services"
    for name, text in FILES.items():
        path = (services if name.startswith("usr/lib/python3/") else tree) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    words = ["mksquashfs", str(tree), str(folder / "root.squashfs"), "-quiet", "-no-progress"]
    subprocess.run([*words, "-p", "run d 755 997 997"], check=True)
    words = ["mksquashfs", str(services), str(folder / "services.squashfs"), "-quiet", "-no-progress"]
    subprocess.run(words, check=True)
    described = {name: manifest.describe_file(folder / name) for name in oci.LAYERS}
    manifest.write(folder, {"version": VERSION, "source_date_epoch": 1_700_000_000, "files": described})
    assert "mk-oci.tar" in oci.make(folder)
    return folder


def test_one_that_is_too_large_is_neither_shipped_nor_recorded(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So each further build fails as well, until it is small enough."""
    monkeypatch.setattr(oci, "LIMIT_BYTES", 10)
    for name in oci.LAYERS:
        shutil.copy(image / name, tmp_path)
    known = manifest.read(image)
    manifest.write(tmp_path, {**known, "files": {name: known["files"][name] for name in oci.LAYERS}})
    for _ in range(2):
        with pytest.raises(BuildError, match=r"mk-oci\.tar: [0-9]+ bytes are more than the 10 allowed"):
            oci.make(tmp_path)
        assert not (tmp_path / oci.NAME).exists() and oci.NAME not in manifest.read(tmp_path)["files"]


def read_layers(image: Path) -> list[dict[str, tarfile.TarInfo]]:
    """Return the members of the layers by name, the lowest layer first."""
    found = []
    with tarfile.open(image / oci.DOCKER) as archive:
        listed = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
        for name in listed[0]["Layers"]:
            file = archive.extractfile(name)
            assert file
            with tarfile.open(fileobj=file) as layer:
                found.append({member.name: member for member in layer})
    return found


def test_digests_and_sizes_agree(image: Path) -> None:
    """Every descriptor of the OCI's layout names a blob by digest and size; the configuration, what the layers are."""
    with tarfile.open(image / oci.NAME) as archive:
        blobs = {member.name: (archive.extractfile(member) or pytest.fail()).read() for member in archive}
    assert json.loads(blobs["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    def follow(descriptor: dict[str, Any]) -> bytes:
        data = blobs[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        assert (len(data), hashlib.sha256(data).hexdigest()) == (descriptor["size"], descriptor["digest"][7:])
        return data

    (top,) = json.loads(blobs["index.json"])["manifests"]
    assert top["annotations"] == {"org.opencontainers.image.ref.name": "localhost/mksuite:latest"}
    listed = json.loads(follow(top))
    config = json.loads(follow(listed["config"]))
    plain = [
        subprocess.run(["zstd", "-dc"], input=follow(each), capture_output=True, check=True).stdout
        for each in listed["layers"]
    ]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in plain]
    assert config["config"]["Cmd"] == ["/usr/lib/systemd/systemd"] and "Entrypoint" not in config["config"]
    assert len(blobs) == 2 + 2 + len(plain), "nothing else lies in it"


def test_hanlon_3_reads_the_version_from_the_tag(image: Path) -> None:
    """Protocol 8.6 and 8.7: tagged; the tag is the version with `_` and gives the weight; all files are there."""
    with tarfile.open(image / oci.DOCKER) as archive:
        names = archive.getnames()
        ((repository, tags),) = json.load(archive.extractfile("repositories") or pytest.fail()).items()
        (entry,) = json.load(archive.extractfile("manifest.json") or pytest.fail())
    ((tag, layer),) = tags.items()
    assert entry["RepoTags"] == [f"{repository}:{tag}"] == ["mksuite:0.12.0_4-g104a9bc"]
    parts = tag.lstrip("v").partition("-")[0].split("_")
    assert [f"{int(each):03d}" for each in parts[0].split(".")] == ["000", "012", "000"] and parts[1] == "4"
    assert {entry["Config"], *entry["Layers"], f"{layer}/json", f"{layer}/VERSION", f"{layer}/layer.tar"} <= set(names)


def test_what_hanlon_3_starts_is_there(image: Path) -> None:
    """Protocol 1.6: the command that its cloud-config runs, and what reads the file that it writes."""
    _, suite = read_layers(image)
    for name in ("usr/local/bin/hnl_mk_init.rb", "usr/lib/mk/read-cloud-config"):
        assert suite[name].mode == 0o755, name
    assert suite["usr/bin/bash"].linkname == "sh", "with which it is started"


def test_the_suite_is_a_layer_of_its_own(image: Path) -> None:
    """What changes with each version is small; kernel, udev and what a container must not run are not there."""
    system, suite = read_layers(image)
    assert {"usr/bin/mkdir", "usr/lib/python3/dist-packages/requests/api.py", "host"} <= set(system)
    assert {"usr/bin/mkctl", "usr/lib/python3/dist-packages/mkctl/agent.py", "usr/lib/mk/mk.toml"} <= set(suite)
    assert not [name for name in (*system, *suite) if name.endswith((".ko", ".rules"))]
    assert suite["etc/systemd/system/systemd-udevd.service"].linkname == "/dev/null"
    assert not set(system) & set(suite)
    assert all(member.mtime for layer in (system, suite) for member in layer.values())


def test_users_get_numbers_that_no_host_gives_out(image: Path) -> None:
    """The controller is made at the start; everybody else has moved, with what belongs to him."""
    system, _ = read_layers(image)
    users = container_tree.renumber(ACCOUNTS["etc/passwd"])
    groups = container_tree.renumber(ACCOUNTS["etc/group"])
    assert (users, groups) == ({989: 60600, 997: 60601}, {987: 60600, 997: 60601})
    assert (system["run"].uid, system["run"].gid) == (60601, 60601)
    made = {name: container_tree.rewrite_accounts(text, users, groups, name) for name, text in ACCOUNTS.items()}
    assert made["etc/passwd"].splitlines()[1:] == ["mkweb:x:60600:60600::/:/x", "messagebus:x:60601:60601::/:/x"]
    assert made["etc/group"].splitlines()[1:] == ["users:x:100:", "mkweb:x:60600:", "messagebus:x:60601:mkweb"]
    assert "mkctl" not in "".join(made.values())


def test_a_second_build_is_the_same(image: Path, tmp_path: Path) -> None:
    """Nothing is done while the inputs are the same; made anew, it is the same to the byte."""
    assert oci.make(image) == ""
    before = {name: manifest.sha256(image / name) for name in (oci.NAME, oci.DOCKER)}
    for name in (*oci.LAYERS, "manifest.json"):
        (tmp_path / name).write_bytes((image / name).read_bytes())
    oci.make(tmp_path)
    assert {name: manifest.sha256(tmp_path / name) for name in before} == before


def test_a_layer_that_did_not_change_is_not_compressed_again(image: Path, tmp_path: Path) -> None:
    """With another version of the image that is Debian's, the greater part by far; what is not used any more goes."""
    for name in (*oci.LAYERS, "manifest.json"):
        (tmp_path / name).write_bytes((image / name).read_bytes())
    oci.make(tmp_path)
    kept = {path.name: path.stat().st_ino for path in (tmp_path / oci.KEPT).iterdir()}
    tree = tmp_path / "tree"
    subprocess.run(["unsquashfs", "-quiet", "-dest", str(tree), str(image / "root.squashfs")], check=True)
    (tree / "usr/lib/os-release").write_text("IMAGE_VERSION=0.13.0\n", encoding="utf-8")
    words = ["-noappend", "-quiet", "-no-progress"]
    subprocess.run(["mksquashfs", str(tree), str(tmp_path / "root.squashfs"), *words], check=True)
    known = manifest.read(tmp_path)
    described = {name: manifest.describe_file(tmp_path / name) for name in oci.LAYERS}
    manifest.write(tmp_path, {**known, "version": "0.13.0", "files": described})
    oci.make(tmp_path)
    now = {path.name: path.stat().st_ino for path in (tmp_path / oci.KEPT).iterdir()}
    assert len(kept) == len(now) == 2 and len(kept.items() & now.items()) == 1


def test_no_system_no_container(tmp_path: Path) -> None:
    """A root without accounts is none, and said to be."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("", encoding="utf-8")
    layer = tmp_path / "root.squashfs"
    subprocess.run(["mksquashfs", str(tmp_path / "tree"), str(layer), "-quiet", "-no-progress"], check=True)
    with pytest.raises(BuildError, match="has no accounts"):
        container_tree.write_layers([layer], tmp_path / "a", tmp_path / "b", 0)


CLOUD_CONFIG = """\
---
mk_register_path: /hanlon/api/v1/node/register
mk_uri: http://192.0.2.1:8026
mk_checkin_interval: 30
mk_checkin_path: /hanlon/api/v1/node/checkin
mk_checkin_skew: 3
mk_fact_excl_pattern: "(^facter.*$)|(^id$)"
mk_log_level: Logger::INFO
mk_unheard_of: 1
"""


def test_a_cloud_config_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The seven keys of Hanlon 3 (protocol 2.1) configure the node; it obeys power orders, by its own systemd."""
    program = load(container_tree.CONTAINER / "root/usr/lib/mk/read-cloud-config")
    text, problems = program.convert(CLOUD_CONFIG)
    assert problems == ["mk_unheard_of is no setting of this version; left out"]
    (tmp_path / "mk.toml").write_text(text, encoding="utf-8")
    site = read_site(Paths(etc=tmp_path, lib=container_tree.CONTAINER))
    assert site.problems == []
    values = effective(site, {}, {}).config
    assert (values.server_uri, values.checkin_interval_s, values.checkin_skew_s) == ("http://192.0.2.1:8026", 30, 3)
    assert (values.facts_exclude, values.log_level) == ("(^facter.*$)|(^id$)", "INFO")
    assert (values.actions_allow_power_orders, values.actions_power_through) == (True, "")
    assert program.convert("mk_uri: nonsense here\n")[1][0].startswith("mk_uri: ")


def test_the_container_s_own_configuration_names_the_host_s_bus() -> None:
    """What the image says is what units/host/mk.container provides; obeying stays the site's decision."""
    site = read_site(Paths(etc=Path("/nonexistent"), lib=container_tree.CONTAINER))
    assert site.problems == []
    values = effective(site, {}, {}).config
    assert values.actions_power_through == "/host/run/dbus/system_bus_socket"
    assert values.actions_allow_power_orders is False
    assert "Volume=/:/host:ro,rslave" in (ROOT / "units/host/mk.container").read_text(encoding="utf-8")


def test_masked_units_and_what_is_left_out_are_in_order() -> None:
    """Both lists are sorted or grouped without doubles, and leave the suite alone."""
    masked = container_tree.read_words(container_tree.CONTAINER / "masked")
    left_out = container_tree.read_words(container_tree.CONTAINER / "left-out")
    assert masked == sorted(set(masked)) and len(set(left_out)) == len(left_out)
    ours = {path.name for path in (ROOT / "units/systemd").iterdir()}
    assert not ours & set(masked)
    assert not [name for name in ours if container_tree.is_left_out(f"usr/lib/systemd/system/{name}", left_out)]
