"""Where the sources and the results of the image lie, and the one error that all of its programs end with."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
"""packaging/image"""
ROOT = HERE.parent.parent
BUILD = ROOT / "build"
OUTPUT = BUILD / "image"
STATE = BUILD / "mkosi"
NETWORKS = ROOT / "units/networkd"
EXTENSIONS = ROOT / "packaging/extensions"


class BuildError(Exception):
    """The image cannot be built: one line for the person who asked for it."""
