#!/usr/bin/env python3
"""Make mk.efi: kernel, initrd and kernel line in one program that UEFI firmware starts, from a disk or by HTTP boot.

With a key of the operator it is signed for Secure Boot: the firmware then verifies the initrd and the kernel line as
well, which no other form of the image has. Without Secure Boot the words that a firmware or boot loader gives it
replace its kernel line; with it they are ignored, and a site's own words are built in (``--cmdline``).

Source: ukify(1), osslsigncode(1), systemd-stub(7), the UAPI group's specification of unified kernel images.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Optional

import common
from common import BOOT_TOOLS
from lib import manifest
from lib.inputs import digest_files
from lib.places import BuildError
from lib.version import format_image_version

NAME = "mk.efi"
STUBS = {"amd64": "linuxx64.efi.stub", "arm64": "linuxaa64.efi.stub"}


def find_certificate(key: Path) -> Path:
    """Return the certificate beside a key: site.crt or site.pem for site.key. BuildError when there is none."""
    found = [path for path in (key.with_suffix(".crt"), key.with_suffix(".pem")) if path.exists() and path != key]
    if not key.exists() or not found:
        missing = key if not key.exists() else f"{key.with_suffix('.crt')}, the certificate of {key.name},"
        raise BuildError(f"{missing} is not there: a Secure Boot key is two PEM files, site.key and site.crt")
    return found[0]


def build_os_release(known: dict[str, object]) -> str:
    """Write what boot menus show of the image."""
    version = known["version"]
    return (
        f'ID=debian\nIMAGE_ID=mk\nIMAGE_VERSION="{format_image_version(str(version))}"\nVERSION_ID="{version}"\n'
        f'PRETTY_NAME="mksuite microkernel {version}"\n'
    )


def read_inputs(image: Path, stub: Path, line: str, signer: list[Path]) -> str:
    """Return the digest of all that the form is made from."""
    files = manifest.read(image)["files"]
    parts = [files["vmlinuz"]["sha256"], files["initrd"]["sha256"], line]
    parts.append(digest_files([Path(__file__), stub, *signer], common.FORMS))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def sign(program: Path, key: Path, certificate: Path, epoch: int) -> None:
    """Sign in place, at the image's own time: two builds with one key are alike, which sbsign's are not."""
    signed = program.with_suffix(".signed")
    argv = ["osslsigncode", "sign", "-certs", str(certificate), "-key", str(key), "-h", "sha256", "-st", str(epoch)]
    common.run_tool([*argv, "-in", str(program), "-out", str(signed)], epoch, program.parent)
    signed.replace(program)


def make(image: Path, line: str, key: Optional[Path]) -> str:
    """Make the form when it is not there yet; return what to tell, "" when nothing was to be done."""
    known = manifest.read(image)
    stub = BOOT_TOOLS / "usr/lib/systemd/boot/efi" / STUBS[known.get("architecture", "amd64")]
    ukify = BOOT_TOOLS / "usr/bin/ukify"
    common.need(stub, ukify)
    signer = [key, find_certificate(key)] if key else []
    inputs = read_inputs(image, stub, line, signer)
    if manifest.is_recorded(image, NAME, inputs):
        return ""
    with common.staging(image, NAME) as folder:
        argv = ["/usr/bin/python3", str(ukify), "build", f"--stub={stub}", f"--linux={image / 'vmlinuz'}"]
        argv += [f"--initrd={image / 'initrd'}", f"--cmdline={line}", f"--os-release={build_os_release(known)}"]
        argv += [f"--uname={known['kernel']}", f"--output={folder / NAME}", f"--efi-arch={stub.name[5:-9]}"]
        common.run_tool(argv, known["source_date_epoch"], folder)
        if signer:
            sign(folder / NAME, signer[0], signer[1], known["source_date_epoch"])
        (folder / NAME).chmod(0o644)
        (folder / NAME).replace(image / NAME)
    entry = manifest.record(image, NAME, inputs, signed=bool(signer), kernel_line=line)
    return f"{NAME}, {entry['size_bytes'] / 1e6:.1f} MB{', signed' if signer else ''}"


def main() -> int:
    """Make the form; status 1 with one line when that is impossible."""
    parser = common.build_parser(str(__doc__).splitlines()[0])
    parser.add_argument("--sign", type=Path, metavar="KEY", help="PEM key for Secure Boot, its certificate beside it")
    asked = parser.parse_args()

    def work() -> str:
        """Make the kernel image; return the line for people."""
        line = common.build_kernel_line(asked.cmdline)
        return make(asked.image, line, asked.sign.resolve() if asked.sign else None)

    return common.finish("uki.py", work)


if __name__ == "__main__":
    sys.exit(main())
