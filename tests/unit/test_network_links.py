"""What is awaited on which card, and the two exit codes of the originals (rows 15 and 18; B07, B10 to B14)."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Optional

import pytest

from mkcore.files import write_json
from mkcore.interfaces import Interface
from mkcore.paths import Paths, paths_under
from mkctl.__main__ import main
from mkctl.links import Address, Links, judge, read_links
from mkctl.status import Status, build_status, read_start_ticks

MAC = "52:54:00:12:34:56"


def card(name: str, *, carrier: Optional[bool] = True, physical: bool = True, bond: str = "") -> Interface:
    """A link as sysfs shows it."""
    return Interface(name, 2, 1, MAC, MAC, physical, 1500, "up", carrier, 1000, "full", "", "", bond)


LO = Interface("lo", 1, 772, "", "", False, 65536, "unknown", True, 0, "", "", "", "")


@pytest.mark.parametrize(
    ("addresses", "awaited", "status"),
    [
        ((), ("no address on eno1",), 255),
        (("fe80::1",), ("no address on eno1",), 255),
        (("169.254.7.9",), ("only 169.254.7.9 on eno1",), 254),
        (("127.0.0.2",), ("only 127.0.0.2 on eno1",), 254),
        (("0.0.0.0",), ("only 0.0.0.0 on eno1",), 254),
        (("169.1.2.3",), (), 0),
        (("192.0.2.7",), (), 0),
        (("fe80::1", "2001:db8::7"), (), 0),
        (("169.254.7.9", "2001:db8::7"), (), 0),
    ],
)
def test_one_card(addresses: tuple[str, ...], awaited: tuple[str, ...], status: int) -> None:
    found: list[Address] = [ip_address(each) for each in addresses]
    assert judge([card("eno1"), LO], {"eno1": found, "lo": [ip_address("127.0.0.1")]}) == Links(awaited, status)


def test_any_card_will_do_whatever_its_name_and_place() -> None:
    """A card without a cable before or behind the one that works changes nothing but what is said."""
    here: list[Address] = [ip_address("192.0.2.7")]
    for names in (("enp3s0f1", "ens5"), ("ens5", "enp3s0f1")):
        cards = [card(names[0], carrier=None), card(names[1])]
        assert judge(cards, {names[1]: here}) == Links((f"no carrier on {names[0]}",), 0)


def test_what_a_bond_or_a_vlan_has_counts() -> None:
    """The cards of a bond have no address of their own and wait for none."""
    cards = [card("eno1", bond="bond0"), card("eno2", bond="bond0", carrier=False), card("bond0", physical=False)]
    assert judge(cards, {"bond0": [ip_address("192.0.2.7")]}) == Links(("no carrier on eno2",), 0)


def test_without_any_card() -> None:
    assert judge([LO], {"lo": [ip_address("127.0.0.1")]}) == Links(("no network card",), 255)


def test_in_a_container_its_links_are_the_cards() -> None:
    assert judge([card("host0", physical=False, carrier=False)], {}) == Links(("no carrier on host0",), 255)


def make_root(folder: Path, carrier: str) -> Paths:
    """A machine with one card of a name that no real one has, since addresses are asked of the real kernel."""
    base = folder / "sys/class/net/enp77s0"
    (base / "device").mkdir(parents=True)
    for name, text in (("type", "1"), ("address", MAC), ("carrier", carrier), ("ifindex", "2")):
        (base / name).write_text(f"{text}\n")
    (folder / "proc/net").mkdir(parents=True)
    (folder / "run/mkctl").mkdir(parents=True)
    return paths_under(str(folder))


def test_what_the_machine_says(tmp_path: Path) -> None:
    paths = make_root(tmp_path, "1")
    assert read_links(paths, lambda _: None) == Links(("no address on enp77s0",), 255), "no IPv6 here"
    assert read_links(paths, lambda _: ("169.254.1.1", "255.255.0.0")).exit_status == 254
    (tmp_path / "proc/net/if_inet6").write_text("20010db8000000000000000000000007 02 40 00 00  enp77s0\n")
    assert read_links(paths, lambda _: ("169.254.1.1", "255.255.0.0")).exit_status == 0


@pytest.mark.parametrize(
    ("state", "status"),
    [("waiting-for-network", 255), ("waiting-for-server", 255), ("idle", 0), ("server-lost", 0), ("starting", 0)],
)
def test_status_exits_as_the_originals_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str, status: int
) -> None:
    """While mkctl waits for its first contact, and never when it has had one."""
    paths = make_root(tmp_path, "0")
    ticks = read_start_ticks(os.getpid())
    write_json(paths.status, build_status(Status(pid=os.getpid(), started_ticks=ticks, state=state)), mode=0o640)
    assert main(["status", "--root", str(tmp_path)]) == status
    assert ("Network:       no carrier on enp77s0\n" in capsys.readouterr().out) is bool(status)
    assert main(["status", "--root", str(tmp_path), "--json"]) == status
