"""Packages and image are the same bytes when another host builds them: at each run the packages, in make test-full all.

Source: the definition of reproducible-builds.org; what a second build differs in is in `tests.machines.again`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import again
from tests.machines.server import IMAGE, read_manifest

PACKAGES_S, IMAGE_S = 600.0, 3600.0
IN_FULL = pytest.mark.skipif("MK_REPRODUCE" not in os.environ, reason="a cell of make test-full builds the image again")


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """A clone of this commit, elsewhere."""
    yield again.check_out()
    shutil.rmtree(again.FOLDER)


def test_packages_are_the_same(tree: Path) -> None:
    """Both anew, as what lies in build/deb may be made of what is not committed yet."""
    first = again.check_out(again.FIRST, umask="022")
    again.build(first, ["deb"], PACKAGES_S)
    again.build_elsewhere(tree, ["deb"], PACKAGES_S)
    names = sorted(path.name for path in (first / "build/deb").glob("*.deb"))
    assert len(names) >= 6
    assert again.find_differences(first / "build/deb", tree / "build/deb", names) == []


@IN_FULL
def test_every_form_of_the_image_is_the_same(tree: Path) -> None:
    """From the first one's recorded list of packages; a signature alone holds the time at which it was made."""
    again.build_elsewhere(tree, ["image", f"LOCK={IMAGE / 'packages.lock'}"], IMAGE_S)
    names = sorted(name for name in read_manifest()["files"] if not name.endswith(again.SIGNED))
    assert {"vmlinuz", "initrd", "packages.lock", "sbom.spdx.json", "SHA256SUMS"} <= set(names)
    assert again.find_differences(IMAGE, tree / "build/image", names) == []
