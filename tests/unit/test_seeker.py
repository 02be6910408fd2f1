"""Looking for the server in the network: when the DNS is asked, and what is passed on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mkcore.errors import BusFailed
from mkcore.paths import paths_under
from mkctl.seeker import Seeker


def no_bus() -> Any:
    raise BusFailed("no connection to the system bus")


def seek(tmp_path: Path, names: dict[str, list[str]]) -> Seeker:
    """Look once without a bus, where the DNS knows these names."""

    def resolve(name: str) -> list[str]:
        if name not in names:
            raise OSError("Name or service not known")
        return names[name]

    called: list[bool] = []
    seeker = Seeker(
        paths_under(str(tmp_path)),
        (),
        no_bus,
        ready=lambda: asyncio.sleep(0),
        needed=lambda: True,
        all_sources=lambda: False,
        found=lambda: called.append(True),
        resolve=resolve,
    )
    asyncio.run(seeker.look())
    assert bool(called) == bool(seeker.hints != type(seeker.hints)())
    return seeker


def test_without_networkd_the_names_still_count(tmp_path: Path) -> None:
    assert seek(tmp_path, {"razor": ["192.0.2.1"]}).hints.names == ("razor",)


def test_a_dns_that_lies_is_one_line(tmp_path: Path) -> None:
    hints = seek(tmp_path, {"hanlon": ["127.0.0.1", "::1"], "razor": ["0.0.0.0", "192.0.2.1"]}).hints
    assert hints.names == ("razor",)
    assert hints.problems == ("DNS, hanlon: 127.0.0.1 is not the address of a server: not used",)


def test_next_server_of_the_leases_on_file(tmp_path: Path) -> None:
    leases = tmp_path / "run/systemd/netif/leases"
    leases.mkdir(parents=True)
    (leases / "2").write_text("ADDRESS=192.0.2.7\n")
    (leases / "3").write_text("NEXT_SERVER=192.0.2.1\n")
    assert seek(tmp_path, {}).hints.next_server == "192.0.2.1"


def test_nothing_found_is_nothing(tmp_path: Path) -> None:
    assert seek(tmp_path, {}).hints.names == ()
