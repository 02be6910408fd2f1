"""Identity: UUID and addresses, in the order and form that servers match (rows 42 to 45; B33; protocol 6.1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkcore.interfaces import Interface
from mkcore.paths import Paths
from mkctl.cmdline import parse_cmdline
from mkctl.identity import Identity, choose_macs, choose_uuid, identify, parse_uuid, read_identity

UUID = "564D0C5D-0000-0000-0000-000000000001"
OTHER = "11112222-3333-4444-5555-666677778888"
NIC = Interface(
    name="eth0", index=2, type=1, mac="00:0c:29:c9:52:ba", permanent_mac="00:0c:29:c9:52:ba", physical=True, mtu=1500,
    operstate="up", carrier=True, speed_mbps=1000, duplex="full", driver="e1000", device="0000:00:03.0", bond_master="",
)  # fmt: skip
NIC1 = NIC._replace(name="eth1", mac="00:0c:29:c9:52:c4", permanent_mac="00:0c:29:c9:52:c4")


@pytest.mark.parametrize(
    ("text", "uuid", "reason"),
    [
        (UUID.lower() + "\n", UUID, ""),
        (UUID, UUID, ""),
        ("", "", "is empty"),
        (" \n", "", "is empty"),
        ("Not Settable", "", "is no UUID: 'Not Settable'"),
        (UUID + "0", "", "is no UUID"),
        (UUID.replace("-", ""), "", "is no UUID"),
        ('["000C29C952BA"]', "", "is no UUID"),
        ("00000000-0000-0000-0000-000000000000", "", "placeholder"),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "", "placeholder"),
        ("03000200-0400-0500-0006-000700080009", "", "placeholder"),
    ],
)
def test_parse_uuid(text: str, uuid: str, reason: str) -> None:
    found, why = parse_uuid(text)
    assert found == uuid
    assert reason in why
    assert bool(why) != bool(found)


@pytest.mark.parametrize(
    ("line", "sysfs", "uuid", "source", "weak"),
    [
        (f"smbios_uuid={OTHER.lower()}", UUID, OTHER, "kernel line", 0),
        ("", UUID.lower(), UUID, "sysfs", 0),
        (f"xsmbios_uuid={OTHER}", UUID, UUID, "sysfs", 0),
        (f"smbios_uuid={OTHER} smbios_uuid={OTHER}", UUID, UUID, "sysfs", 1),
        ('smbios_uuid="[52:54:00:aa:00:01]"', UUID, UUID, "sysfs", 1),
        ("smbios_uuid=", UUID, UUID, "sysfs", 0),
        ("", "", "", "", 1),
        ("smbios_uuid=none", "", "", "", 2),
        ("", "03000200-0400-0500-0006-000700080009", "", "", 1),
    ],
)
def test_the_kernel_line_counts_once_and_before_sysfs(line: str, sysfs: str, uuid: str, source: str, weak: int) -> None:
    found, origin, reasons = choose_uuid(parse_cmdline(line), sysfs)
    assert (found, origin, len(reasons)) == (uuid, source, weak)


def test_b33_addresses_are_sorted_by_interface_name_and_permanent() -> None:
    slave = NIC1._replace(mac=NIC.mac, bond_master="bond0")
    assert choose_macs([slave, NIC]) == ("00:0c:29:c9:52:ba", "00:0c:29:c9:52:c4")
    assert choose_macs([NIC, slave]) == choose_macs([slave, NIC])


def test_only_physical_ethernet_identifies() -> None:
    bridge = NIC1._replace(name="br0", physical=False)
    infiniband = NIC1._replace(name="ib0", type=32)
    silent = NIC1._replace(permanent_mac="")
    zero = NIC1._replace(permanent_mac="00:00:00:00:00:00")
    twin = NIC1._replace(permanent_mac=NIC.permanent_mac)
    assert choose_macs([NIC, bridge, infiniband, silent, zero, twin]) == (NIC.permanent_mac,)


def test_interfaces_can_be_restricted() -> None:
    predictable = NIC1._replace(name="enp3s0")
    assert choose_macs([NIC, predictable], r"\Aeth[0-9]+\z") == (NIC.permanent_mac,)
    with pytest.raises(BadInput):
        choose_macs([NIC], "(")


def test_forms_of_the_identity() -> None:
    identity = identify(parse_cmdline(""), UUID.lower(), [NIC, NIC1])
    assert identity == Identity(UUID, (NIC.permanent_mac, NIC1.permanent_mac), "sysfs", ())
    assert identity.hw_id == "000C29C952BA_000C29C952C4"
    assert identity.name == identity.seed == UUID


def test_without_a_uuid_the_addresses_identify() -> None:
    identity = identify((), "", [NIC])
    assert (identity.uuid, identity.name, identity.seed) == ("", NIC.permanent_mac, "000C29C952BA")
    assert identity.weak == ("product_uuid is empty",)


def test_nothing_identifies() -> None:
    identity = identify((), "", [])
    assert (identity.hw_id, identity.name, identity.seed) == ("", "", "")
    assert "nothing identifies this machine" in identity.weak[-1]


def test_read_from_a_tree(tmp_path: Path) -> None:
    paths = Paths(sys=tmp_path / "sys", proc=tmp_path / "proc")
    assert read_identity(paths, ()).name == ""
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/product_uuid").write_text(UUID.lower() + "\n")
    for name, mac, physical in (("enp2s0", "52:54:00:aa:00:01", True), ("dummy0", "52:54:00:aa:00:02", False)):
        base = tmp_path / "sys/class/net" / name
        base.mkdir(parents=True)
        (base / "type").write_text("1\n")
        (base / "address").write_text(mac + "\n")
        if physical:
            (base / "device").mkdir()
    assert read_identity(paths, ()) == Identity(UUID, ("52:54:00:aa:00:01",), "sysfs", ())


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gives_a_uuid_or_a_reason(line: str, sysfs: str) -> None:
    uuid, source, reasons = choose_uuid(parse_cmdline("smbios_uuid=" + line), sysfs)
    assert bool(uuid) == bool(source)
    assert uuid or reasons
    assert all("\n" not in each for each in reasons)
