"""The declared machines' own parts: command lines, SMBIOS and FRU bytes, LLDP frames, and the comparison itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mkctl.probe.lldp_frames import parse_frame
from tests.machines import matrix
from tests.machines.compare import ABSENT, SOME_TEXT, Whole, between, containing, key_by, list_differences
from tests.machines.fru import build_fru
from tests.machines.neighbour import build_frame
from tests.machines.qemu import Machine, build_argv
from tests.machines.rich import Drive, Rich, far_ports, pci_models
from tests.machines.rich_argv import build_machine, build_structures
from tests.machines.rich_facts import build_facts, gather_numbered, show_size
from tests.machines.rich_truth import build_inventory

COMMON = Machine(uuid="", nics=(), kernel=Path("/k"), initrd=Path("/i"), channels=("journal",))


def command_line(rich: Rich, folder: Path) -> list[str]:
    """Return QEMU's words for a machine; without UEFI, whose firmware may not be installed here."""
    return build_argv(build_machine(replace(rich, uefi=False), folder, ["user"] * len(rich.cards), COMMON))


@pytest.mark.parametrize("name", matrix.MACHINES)
def test_whatever_is_declared_is_on_the_command_line(name: str, tmp_path: Path) -> None:
    rich = matrix.MACHINES[name]
    words = " ".join(command_line(rich, tmp_path))
    for card in rich.cards:
        assert f"mac={card.mac}" in words
    for controller, drive in rich.drives:
        assert f"serial={controller.serial or drive.serial}" in words
        assert not drive.wwn or f"wwn=0x{drive.wwn}" in words
    assert ("tpm-crb" in words, "ipmi-bmc-extern" in words) == (rich.tpm, rich.bmc is not None)


@pytest.mark.parametrize("name", matrix.MACHINES)
def test_every_device_has_a_place_of_its_own(name: str, tmp_path: Path) -> None:
    rich = matrix.MACHINES[name]
    devices = [word for word in command_line(rich, tmp_path) if ",bus=pcie.0" in word]
    places = [word.partition(",addr=")[2].partition(",")[0] for word in devices if ",addr=" in word]
    assert len(places) == len(set(places))
    assert not {"0x0", "0x1", "0x2", "0x1f"} & set(places)
    assert len(pci_models(rich)) >= len(places) + 6


def test_devices_of_the_second_node_hang_on_its_bus(tmp_path: Path) -> None:
    words = " ".join(command_line(matrix.RICH, tmp_path))
    assert far_ports(matrix.RICH) == ("0000:80:00.0",)
    assert "pxb-pcie,id=far,bus=pcie.0,addr=0xb,bus_nr=128,numa_node=1" in words
    assert "pcie-root-port,id=far0,bus=far" in words
    assert "e1000e,bus=far0,addr=0x0" in words


def test_one_structure_a_file(tmp_path: Path) -> None:
    structures = build_structures(matrix.RICH)
    assert [structure[0] for structure in structures] == [3, 4, 4, 16, *[17] * 12]
    for structure in structures:
        assert structure.endswith(b"\0\0")
        assert structure.count(b"\0\0", structure[1]) == 1, "the strings' end, and nothing behind it"
    assert " ".join(command_line(matrix.RICH, tmp_path)).count("-smbios file=") == len(structures)


def test_sizes_from_32_gib_on_stand_in_the_wider_field() -> None:
    dimms = [one for one in build_structures(matrix.RICH) if one[0] == 17]
    assert [dimms[6][0x0C:0x0E], dimms[7][0x0C:0x0E]] == [(16 << 10).to_bytes(2, "little"), b"\xff\x7f"]
    assert dimms[7][0x1C:0x20] == (32 << 10).to_bytes(4, "little")


def test_fru_areas_add_up_to_nothing() -> None:
    storage = build_fru(matrix.BMC.frus[0][1])
    header, offsets = storage[:8], [offset * 8 for offset in storage[2:5]]
    assert sum(header) % 256 == 0
    for offset in offsets:
        area = storage[offset : offset + storage[offset + 1] * 8]
        assert sum(area) % 256 == 0
        assert area.rstrip(b"\0")[:-1].rstrip(b"\0").endswith(b"\xc1")
    assert offsets[-1] + storage[offsets[-1] + 1] * 8 == len(storage)


@pytest.mark.parametrize("neighbour", [matrix.LEAF, matrix.MANAGEMENT])
def test_frames_say_what_was_declared(neighbour: object) -> None:
    frame = build_frame(neighbour, "02:00:00:00:00:01")  # type: ignore[arg-type]
    assert {**parse_frame(frame)._asdict(), "source": ""} == {**vars(neighbour), "source": ""}


@pytest.mark.parametrize(
    ("declared", "found", "lines"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": "1"}, ["a: declared 1, found '1'"]),
        ({"a": 1}, {"a": True}, ["a: declared 1, found True"]),
        ({"a": {"b": 1}}, {"a": {}}, ["a.b: declared 1, not found"]),
        ({"a": {"b": 1}}, {"a": 3}, ["a: declared {'b': 1}, found 3"]),
        ({"a": ABSENT}, {}, []),
        ({"a": ABSENT}, {"a": 0}, ["a: declared nothing, found 0"]),
        ({"a": Whole(b=1)}, {"a": {"b": 1, "c": 2}}, ["a.c: not declared, found 2"]),
        ([1, {"a": 2}], [1, {"a": 2, "b": 3}], []),
        ({"a": [1, 2]}, {"a": [1]}, ["a: declared [1, 2], found [1]"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a[1]: declared 2, found 3"]),
        ({"a": between(1, 2)}, {"a": 3}, ["a: declared 1 to 2, found 3"]),
        ({"a": SOME_TEXT}, {"a": ""}, ["a: declared some text, found ''"]),
        ({"a": containing(1)}, {"a": [2, 1]}, []),
        ({"a": containing(1)}, {"a": [2]}, ["a: declared a list with 1, found [2]"]),
    ],
)
def test_comparison(declared: object, found: object, lines: list[str]) -> None:
    assert list_differences(declared, found) == lines


def test_keys_that_the_kernel_gave_become_names() -> None:
    assert key_by({"sda": {"serial": "A"}, "sdb": {}}, "serial") == {
        "A": {"serial": "A", "name": "sda"},
        "sdb": {"name": "sdb"},
    }


@pytest.mark.parametrize("name", matrix.MACHINES)
def test_truth_is_complete(name: str) -> None:
    """Every drive and card of the declaration is in the truth, under a key of its own."""
    rich = matrix.MACHINES[name]
    truth = build_inventory(rich, "", "6.12")
    assert len(truth["disks"]) == len(rich.drives)
    assert len(truth["nics"]) == len(rich.cards) + 1
    names = {card.mac: f"eth{number}" for number, card in enumerate(rich.cards)}
    assert build_facts(rich, names)["mk_hw_nic_count"] == str(len(rich.cards))


def test_numbered_facts_are_gathered() -> None:
    facts = {"mk_hw_nic1_serial": "b", "mk_hw_nic0_serial": "a", "mk_hw_nic_count": "2", "mk_hw_disk0_serial": "c"}
    assert gather_numbered(facts, "mk_hw_nic_serial") == ["a", "b"]
    assert show_size(255 << 30) == "255GiB"


def test_a_drive_says_nothing_that_it_was_not_given(tmp_path: Path) -> None:
    words = command_line(matrix.NVME_ONLY, tmp_path)
    assert Drive("", 1).wwn == ""
    assert not [word for word in words if "wwn=" in word or "eui64=" in word]
