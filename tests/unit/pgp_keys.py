"""Real keys and signatures for tests, made by gpg in a folder of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Gpg:
    """A GnuPG home below `folder`; its agent is ended by `close`."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700, parents=True)
        self.environment = {**os.environ, "GNUPGHOME": str(self.home)}

    def run(self, *arguments: str) -> bytes:
        """Run gpg without questions."""
        command = ["gpg", "--batch", "--yes", "--quiet", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=60).stdout

    def make_key(self, name: str, *, made: str = "", expires: str = "never") -> None:
        """Make a signing key; `made` is a time such as 20200101T000000, `expires` counts from it."""
        then = ["--faked-system-time", f"{made}!"] if made else []
        user = f"{name} <{name}@mk.example>"
        self.run(*then, "--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", expires)

    def export(self, name: str, *, armor: bool = False) -> bytes:
        """Return a public key."""
        return self.run(*(["--armor"] if armor else []), "--export", f"{name}@mk.example")

    def sign(self, path: Path, *names: str, at: str = "", folder: str = "") -> Path:
        """Make the detached signature PATH.gpg by these keys, for sums of `folder` alone; return its path."""
        then = ["--faked-system-time", f"{at}!"] if at else []
        users = [word for name in names for word in ("--local-user", f"{name}@mk.example")]
        signature = path.with_name(path.name + ".gpg")
        then += ["--sig-notation", f"folder@mksuite.org={folder}"] if folder else []
        self.run(*then, *users, "--detach-sign", "--output", str(signature), str(path))
        return signature

    def close(self) -> None:
        """End the agent that gpg started."""
        subprocess.run(["gpgconf", "--kill", "all"], env=self.environment, check=False, timeout=60)
