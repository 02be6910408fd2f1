"""The image's version, from git (protocol 8.2): ``git describe --tags`` less a leading v, its first ``-`` as ``+``.

Of the last commit that touched what the image is made from, so that a commit elsewhere makes no new image. Before the
first tag it is our packages' version with the number of commits; without git, as in an unpacked source archive, it is
that version alone.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Optional

SOURCES = ("mkcore", "mkctl", "mkweb", "mkmirror", "units", "packaging", "pyproject.toml")


def format_version(described: str) -> str:
    """Turn ``git describe``'s words into a version: "v0.12.0-4-g104a9bc" becomes "0.12.0+4-g104a9bc"."""
    return described.removeprefix("v").replace("-", "+", 1)


def format_image_version(version: str) -> str:
    """Turn a version into what os-release(5) permits as IMAGE_VERSION, which is also a container's tag."""
    return re.sub(r"[^0-9a-z._-]", "_", version.lower())


def _git(root: Path, *words: str) -> Optional[str]:
    """Return what git says; None where it knows no answer, or there is no git or no checkout."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def read_version(root: Path, package_version: str) -> str:
    """Return the version of the checkout at ``root``, for example "0.1.0+512-g104a9bc-dirty".

    ``package_version`` is that of our packages, for example "0.1.0".
    """
    commit = _git(root, "log", "-1", "--format=%H", "--", *SOURCES) if (root / ".git").exists() else None
    if not commit:
        return package_version
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *SOURCES)
    described = _git(root, "describe", "--tags", "--long", commit)
    if described is None:
        count = _git(root, "rev-list", "--count", commit) or "0"
        described = f"{package_version}-{count}-g{commit[:7]}"
    else:
        described = re.sub(r"-0-g[0-9a-f]+$", "", described)
    return format_version(described) + ("-dirty" if changed else "")
