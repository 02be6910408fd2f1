"""Trees of files for the probe's tests: a dict made into directories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Union


def make_tree(root: Path, files: Mapping[str, Union[str, bytes]]) -> Path:
    """Write each file below root. A value "-> target" is a symbolic link; a name with a final slash is a directory."""
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def make_tool(folder: Path, name: str, script: str) -> None:
    """Write an executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
