#!/usr/bin/env python3
"""Print what each megabyte of an image is for, and its forms: size, SHA-256, and what each was booted with, up to its
registration at mkserver.

The last column is what tests saw of these very bytes (booted.json, by digest): a form that was rebuilt has none until
they ran again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
from lib import manifest
from lib.places import BuildError
from lib.weigh import format_weights

BOOTED = "booted.json"


def read_booted(image: Path) -> dict[str, list[str]]:
    """Return the ways by digest; none where no test has run. BuildError for a file that nobody can read."""
    try:
        return dict(json.loads((image / BOOTED).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BuildError(f"{image / BOOTED}: {error}; remove it, the tests write it anew") from error


def build_table(files: Mapping[str, Mapping[str, Any]], booted: Mapping[str, Sequence[str]]) -> list[str]:
    """Build the table's lines: kernel and initrd first, for the two are one form; the others by name."""
    names = sorted(files, key=lambda name: (name not in ("vmlinuz", "initrd"), name))
    width = max([len(name) for name in names], default=0)
    lines = [f"{'form':{width}}  {'MB':>6}  {'SHA-256':64}  booted with"]
    for name in names:
        entry = files[name]
        ways = ", ".join(booted.get(entry["sha256"], ())) or "-"
        lines.append(f"{name:{width}}  {entry['size_bytes'] / 1e6:6.2f}  {entry['sha256']}  {ways}")
    return lines


def main() -> int:
    """Print the table; status 1 with one line when there is no image."""
    asked = common.build_parser(str(__doc__).splitlines()[0]).parse_args()

    def work() -> str:
        """Return the table with its headline."""
        known, booted = manifest.read(asked.image), read_booted(asked.image)
        head = f"{known['version']}, kernel {known['kernel']}"
        return "\n".join([head, format_weights(known["weights"]), *build_table(known["files"], booted)])

    return common.finish("table.py", work)


if __name__ == "__main__":
    sys.exit(main())
