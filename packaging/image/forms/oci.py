#!/usr/bin/env python3
"""Make mk-oci.tar and mk-docker.tar.xz: the microkernel as a container's image, with systemd as its process 1.

The first is an archive of the Open Container Initiative's layout, with compressed layers, for Podman and its kin; its
one name is localhost/mksuite:latest, which the units of mk-host start. The second is what ``docker save`` writes, as
the historic Hanlon 3 server takes it: named mksuite:VERSION, as that server reads the version from the tag, in which
its ``+`` stands as ``_`` (protocol 8.6). ``docker load`` takes both archives.

Source: the OCI's specification of images (image-layout.md, config.md, layer.md); Docker's image specification v1.2 for
the folders that older readers want.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import common
import container_tree
from lib import manifest
from lib.inputs import digest_files, list_files
from lib.places import ROOT
from lib.version import format_image_version

NAME, DOCKER = "mk-oci.tar", "mk-docker.tar.xz"
LAYERS = ("root.squashfs", "services.squashfs")
"""The image's layers that the system is made of."""
REFERENCE = "localhost/mksuite:latest"
REPOSITORY = "mksuite"
LIMIT_BYTES = 30_000_000
KEPT = ".layers"
"""Beside the image: layers of the container as the last build compressed them."""
ZSTD = ("zstd", "--ultra", "-22", "--long=27", "-T1", "--quiet")
"""One thread: more of them cut the input into parts, and the result would depend on their size."""


def build_tag(version: str) -> str:
    """Return the tag of a version: "0.12.0_4-g104a9bc" for "0.12.0+4-g104a9bc"."""
    return format_image_version(version)


def sha256(data: bytes) -> str:
    """Return a SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def build_config(diff_ids: list[str], version: str, created: str, architecture: str) -> dict[str, Any]:
    """Build the image's configuration. diff_ids: digests (hex) of the uncompressed layers, the lowest first."""
    return {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            # not Entrypoint: who names a command, as a Hanlon 3 server does, has that one run and no other
            "Cmd": ["/usr/lib/systemd/systemd"],
            # Podman and systemd-nspawn say which of them it is; others say nothing, and systemd must know
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=oci"],
            "StopSignal": "SIGRTMIN+3",
            "Labels": {
                "org.opencontainers.image.title": "mksuite",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in diff_ids]},
        "history": [
            {"created": created, "created_by": "packaging/image/forms/oci.py", "comment": comment}
            for comment in ("Debian", "mksuite")
        ],
    }


def write_archive(target: Path, files: dict[str, bytes | Path], epoch: int) -> None:
    """Write an archive of files, by their names in it, all of them root's and of one time."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.mtime, member.mode = epoch, 0o644
            member.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                archive.addfile(member, file)


def build_oci(layers: list[Path], config: bytes, version: str) -> dict[str, bytes | Path]:
    """Build the files of the OCI's layout. layers: compressed, the lowest first."""
    entries = [("application/vnd.oci.image.layer.v1.tar+zstd", path) for path in layers]
    described = [
        {"mediaType": kind, "digest": f"sha256:{manifest.sha256(path)}", "size": path.stat().st_size}
        for kind, path in entries
    ]
    listed = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": f"sha256:{sha256(config)}",
            "size": len(config),
        },
        "layers": described,
        "annotations": {"org.opencontainers.image.version": version},
    }
    whole = dump(listed)
    top = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{sha256(whole)}",
        "size": len(whole),
        "annotations": {"org.opencontainers.image.ref.name": REFERENCE},
    }
    files: dict[str, bytes | Path] = {
        "oci-layout": dump({"imageLayoutVersion": "1.0.0"}),
        "index.json": dump({"schemaVersion": 2, "manifests": [top]}),
        f"blobs/sha256/{sha256(config)}": config,
        f"blobs/sha256/{sha256(whole)}": whole,
    }
    return {**files, **{f"blobs/sha256/{manifest.sha256(path)}": path for path in layers}}


def build_docker(layers: list[Path], diff_ids: list[str], config: bytes, tag: str) -> dict[str, bytes | Path]:
    """Build the files of ``docker save``, with what its readers before version 1.10 want. layers: uncompressed."""
    files: dict[str, bytes | Path] = {f"{sha256(config)}.json": config}
    whole, parent = json.loads(config), ""
    for path, diff_id in zip(layers, diff_ids):
        identity = sha256(f"{parent} {diff_id}".encode())
        old = {"id": identity, "created": whole["created"], "os": "linux", "architecture": whole["architecture"]}
        old |= {"parent": parent} if parent else {}
        old |= {"config": whole["config"]} if path == layers[-1] else {}
        files |= {f"{identity}/VERSION": b"1.0", f"{identity}/json": dump(old), f"{identity}/layer.tar": path}
        parent = identity
    listed = [name for path in layers for name, each in files.items() if each == path]
    entry = {"Config": f"{sha256(config)}.json", "RepoTags": [f"{REPOSITORY}:{tag}"], "Layers": listed}
    files["manifest.json"] = dump([entry])
    files["repositories"] = dump({REPOSITORY: {tag: parent}})
    return files


def dump(document: object) -> bytes:
    """Write JSON, always the same for the same content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def compress(path: Path, digest: str, kept: Path) -> Path:
    """Return a layer compressed: one of an earlier build, where that had the same content, else a new one.

    digest: of the layer as it is. kept: the folder of earlier ones; what they were made by is in their names. Debian's
    part changes seldom, and to compress it costs a minute.
    """
    version = subprocess.run([ZSTD[0], "--version"], capture_output=True, check=True).stdout
    made_by = hashlib.sha256(repr((ZSTD, version)).encode()).hexdigest()
    packed = kept / f"{digest}-{made_by[:16]}"
    if not packed.exists():
        kept.mkdir(exist_ok=True)
        part = kept / f".{packed.name}.{os.getpid()}"
        subprocess.run([*ZSTD, "--force", str(path), "-o", str(part)], check=True)
        part.replace(packed)
    return packed


def forget_others(kept: Path, used: list[Path]) -> None:
    """Remove the layers that the container of now has not."""
    for path in kept.iterdir():
        if path not in used:
            path.unlink(missing_ok=True)


def read_inputs(image: Path) -> str:
    """Return the digest of all that both archives are made from."""
    sources = [Path(__file__), Path(container_tree.__file__), *list_files(container_tree.CONTAINER)]
    known = manifest.read(image)
    parts = [known["files"][name]["sha256"] for name in LAYERS]
    parts += [known["version"], digest_files(sources, ROOT)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def make(image: Path) -> str:
    """Make both archives when they are not there yet; return what to tell, "" when nothing was to be done."""
    common.need(*(image / name for name in LAYERS))
    inputs = read_inputs(image)
    if all(manifest.is_recorded(image, name, inputs) for name in (NAME, DOCKER)):
        return ""
    known = manifest.read(image)
    epoch, version = int(known["source_date_epoch"]), str(known["version"])
    print("image: compressing the container, which takes about a minute", flush=True)
    with common.staging(image, NAME) as folder:
        layers = [folder / "system.tar", folder / "suite.tar"]
        container_tree.write_layers([image / name for name in LAYERS], layers[0], layers[1], epoch)
        diff_ids = [manifest.sha256(path) for path in layers]
        config = dump(build_config(diff_ids, version, format_time(epoch), str(known.get("architecture", "amd64"))))
        plain = folder / DOCKER.removesuffix(".xz")
        write_archive(plain, build_docker(layers, diff_ids, config, build_tag(version)), epoch)
        with subprocess.Popen(["xz", "-9", "--threads=1", str(plain)]) as beside:
            packed = [compress(path, digest, image / KEPT) for path, digest in zip(layers, diff_ids)]
            write_archive(folder / NAME, build_oci(packed, config, version), epoch)
        if beside.returncode:
            raise common.BuildError(f"xz failed with status {beside.returncode}")
        common.check_size(folder / NAME, LIMIT_BYTES)
        for name in (NAME, DOCKER):
            (folder / name).chmod(0o644)
            (folder / name).replace(image / name)
    forget_others(image / KEPT, packed)
    entries = [manifest.record(image, name, inputs, tag=build_tag(version)) for name in (NAME, DOCKER)]
    return f"{NAME}, {entries[0]['size_bytes'] / 1e6:.1f} MB; {DOCKER}, {entries[1]['size_bytes'] / 1e6:.1f} MB"


def format_time(epoch: int) -> str:
    """Return a time as the OCI wants it: "2026-11-22T10:00:00Z"."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> int:
    """Make the form; status 1 with one line when that is impossible."""
    parser = common.build_parser(str(__doc__).splitlines()[0])
    asked = parser.parse_args()
    return common.finish("oci.py", lambda: make(asked.image))


if __name__ == "__main__":
    sys.exit(main())
