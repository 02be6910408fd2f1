"""Machines for the system tier: real packages on a real systemd, D-Bus and polkit, booted in a container.

A boot takes about a second, so each module has a machine of its own; within one, tests follow each other on the
same machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import nspawn, tree


@pytest.fixture(scope="session")
def base() -> list[Path]:
    """A Debian 13 with the dependencies of our packages, without them."""
    return [tree.make_base()]


@pytest.fixture(scope="session")
def installed() -> list[Path]:
    """The same with our packages installed, as they install themselves."""
    return tree.make_installed()


@pytest.fixture(scope="module")
def quiet(installed: list[Path], request: pytest.FixtureRequest) -> Iterator[nspawn.Machine]:
    """A machine with our packages, on which nothing was enabled or started."""
    with nspawn.boot(f"{request.module.__name__.rpartition('.')[2]}", installed) as machine:
        yield machine
