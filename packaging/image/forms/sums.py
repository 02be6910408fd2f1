#!/usr/bin/env python3
"""Write SHA256SUMS of all forms of an image, and with --sign its detached signature, SHA256SUMS.gpg.

Comes after all other forms, for its lines are what the manifest says of them; a form whose file is not what the
manifest says ends it. The signature is made anew whenever the sums or the key changed; an old one never stays beside
new sums.

Source: sha256sum(1) for the format; gpg(1).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import common
from lib import manifest
from lib.places import BuildError

NAME = "SHA256SUMS"
SIGNATURE = f"{NAME}.gpg"


def build_sums(digests: dict[str, str]) -> str:
    """Build the file's text, as `sha256sum --check` reads it.

    digests: name -> hex.
    """
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def read_digests(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of all that the manifest lists but what this program makes.

    BuildError for a file that is not what the manifest says.
    """
    listed = {name: entry["sha256"] for name, entry in manifest.read(folder)["files"].items()}
    found = {name: digest for name, digest in listed.items() if name not in (NAME, SIGNATURE)}
    for name, digest in found.items():
        path = folder / name
        if not path.exists() or manifest.sha256(path) != digest:
            raise BuildError(f"{path} is not what {manifest.NAME} says: run make image")
    return found


def sign(path: Path, target: Path, key: str) -> None:
    """Sign a file with a key of gpg's. BuildError has gpg's last words."""
    made = target.with_name(f".{target.name}.new")
    made.unlink(missing_ok=True)
    command = ["gpg", "--batch", "--yes", "--local-user", key, "--digest-algo", "SHA256", "--output", str(made)]
    done = subprocess.run([*command, "--detach-sign", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"gpg cannot sign {path} with {key}: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    made.chmod(0o644)
    made.replace(target)


def replace_sums(folder: Path, text: str) -> None:
    """Put new sums into place; the old ones' signature goes first."""
    with manifest.locked(folder):
        known = manifest.read(folder)
        if known["files"].pop(SIGNATURE, None):
            manifest.write(folder, known)
    (folder / SIGNATURE).unlink(missing_ok=True)
    made = folder / f".{NAME}.new"
    made.write_text(text, encoding="utf-8")
    made.chmod(0o644)
    made.replace(folder / NAME)


def make(folder: Path, key: str) -> str:
    """Write, sign and record what is due; return what to tell, "" when nothing was."""
    digests = read_digests(folder)
    text = build_sums(digests)
    inputs = hashlib.sha256(text.encode()).hexdigest()
    said = []
    if not manifest.is_recorded(folder, NAME, inputs):
        replace_sums(folder, text)
        manifest.record(folder, NAME, inputs)
        said.append(f"{NAME} of {len(digests)} files")
    signed = hashlib.sha256(f"{inputs} {key}".encode()).hexdigest()
    if key and not manifest.is_recorded(folder, SIGNATURE, signed):
        sign(folder / NAME, folder / SIGNATURE, key)
        manifest.record(folder, SIGNATURE, signed)
        said.append(f"{SIGNATURE} by {key}")
    return ", ".join(said)


def main() -> int:
    """Write what is due; status 1 with one line when that is impossible."""
    parser = common.build_parser(str(__doc__).splitlines()[0])
    parser.add_argument("--sign", default="", metavar="KEY", help="gpg's name of a key: address or fingerprint")
    asked = parser.parse_args()
    return common.finish("sums.py", lambda: make(asked.image, asked.sign))


if __name__ == "__main__":
    sys.exit(main())
