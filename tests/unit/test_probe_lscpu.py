"""lscpu's two forms and three generations of key names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkctl.probe.lscpu import flatten_lscpu, parse_lscpu
from mkctl.probe.names import clean_key, clean_name

DATA = Path(__file__).resolve().parent.parent / "data" / "captures"
EXAMPLE = b"""\
Architecture:          x86_64
CPU op-mode(s):        32-bit, 64-bit
Byte Order:            Little Endian
CPU(s):                16
CPU socket(s):         2
Vendor ID:             GenuineIntel
CPU family:            6
Model:                 26
Stepping:              5
CPU MHz:               1600.000
BogoMIPS:              4533.32
Virtualization:        VT-x
L1d cache:             32K
L1i cache:             32K
L2 cache:              256K
L3 cache:              8192K
NUMA node0 CPU(s):     0,2,4,6,8,10,12,14
"""
FACTS = {
    "mk_hw_lscpu_Architecture": "x86_64",
    "mk_hw_lscpu_CPU_op-modes": "32-bit, 64-bit",
    "mk_hw_lscpu_Byte_Order": "Little Endian",
    "mk_hw_lscpu_CPU_sockets": "2",
    "mk_hw_lscpu_Vendor_ID": "GenuineIntel",
    "mk_hw_lscpu_CPU_family": "6",
    "mk_hw_lscpu_Model": "26",
    "mk_hw_lscpu_Stepping": "5",
    "mk_hw_lscpu_CPU_MHz": "1600.000",
    "mk_hw_lscpu_BogoMIPS": "4533.32",
    "mk_hw_lscpu_Virtualization": "VT-x",
    "mk_hw_lscpu_L1d_cache": "32K",
    "mk_hw_lscpu_L1i_cache": "32K",
    "mk_hw_lscpu_L2_cache": "256K",
    "mk_hw_lscpu_L3_cache": "8192K",
}


def as_json(text: bytes) -> bytes:
    pairs = [line.split(":", 1) for line in text.decode().splitlines()]
    return json.dumps({"lscpu": [{"field": f"{key}:", "data": value.strip()} for key, value in pairs]}).encode()


def test_worked_example_of_the_protocol() -> None:
    assert flatten_lscpu(parse_lscpu(EXAMPLE), "") == FACTS


def test_json_is_the_same() -> None:
    assert parse_lscpu(as_json(EXAMPLE)) == parse_lscpu(EXAMPLE)


def test_newer_names() -> None:
    """B36: `Socket(s)`, and no `CPU MHz`, which was the first processor's of /proc/cpuinfo."""
    newer = EXAMPLE.replace(b"CPU socket(s):         2", b"Socket(s): 2").replace(
        b"CPU MHz:               1600.000\n", b""
    )
    cpuinfo = "processor\t: 0\ncpu MHz\t\t: 1600.000\n\nprocessor\t: 1\ncpu MHz\t\t: 3000.000\n"
    assert flatten_lscpu(parse_lscpu(newer), cpuinfo) == FACTS
    assert "mk_hw_lscpu_CPU_MHz" not in flatten_lscpu(parse_lscpu(newer), "")


def test_nested_json_of_newer_versions() -> None:
    nested = {
        "lscpu": [
            {
                "field": "Architecture:",
                "data": "x86_64",
                "children": [{"field": "Byte Order:", "data": "Little Endian"}],
            },
            {
                "field": "Vendor ID:",
                "data": "ARM",
                "children": [
                    {"field": "Model name:", "data": "A510", "children": [{"field": "Socket(s):", "data": "1"}]},
                    {"field": "Model name:", "data": "A710", "children": [{"field": "Socket(s):", "data": "2"}]},
                ],
            },
            {"field": "Caches (sum of all):", "data": None, "children": [{"field": "L2:", "data": "1 MiB"}]},
        ]
    }
    pairs = parse_lscpu(json.dumps(nested).encode())
    assert pairs["Byte Order"] == "Little Endian"
    assert pairs["Model name"] == "A510"
    assert pairs["Socket(s)"] == "1"
    assert pairs["L2"] == "1 MiB"


def test_a_real_guest() -> None:
    facts = flatten_lscpu(parse_lscpu((DATA / "qemu-vm-lscpu.json").read_bytes()), "")
    assert facts["mk_hw_lscpu_CPU_op-modes"] == "32-bit, 64-bit"
    assert facts["mk_hw_lscpu_CPU_sockets"] == "2"
    assert facts["mk_hw_lscpu_L1d_cache"] == "256 KiB (4 instances)"
    assert set(FACTS) - set(facts) == {"mk_hw_lscpu_CPU_MHz"}


def test_b36_new_key_names_give_the_old_facts() -> None:
    """A machine that an old util-linux described has the same facts with a new one, 2.38 and its -J included."""
    newer = EXAMPLE.replace(b"CPU socket(s):", b"Socket(s):").replace(b"CPU MHz:               1600.000\n", b"")
    cpuinfo = "processor\t: 0\ncpu MHz\t\t: 1600.000\n"
    for output in (newer, as_json(newer)):
        assert flatten_lscpu(parse_lscpu(output), cpuinfo) == FACTS


def test_what_it_has_no_idea_of_is_no_fact() -> None:
    """Boards of arm without ACPI: "Socket(s): -"."""
    facts = flatten_lscpu(parse_lscpu(b"Architecture: aarch64\nSocket(s):  -\nCluster(s): 4\n"), "")
    assert facts == {"mk_hw_lscpu_Architecture": "aarch64"}


@pytest.mark.parametrize(
    "output",
    ["アーキテクチャ: x86_64\nBogoMIPS: 6835.20\n", "Architektur: x86_64\nCPU(s): 2\nStepping: 3\nBogoMIPS: 1\n"],
)
def test_another_language_is_refused_with_its_first_key(output: str) -> None:
    with pytest.raises(BadInput, match=r"^lscpu: its keys are not those of the C locale, the first is '(ア|Arch)"):
        parse_lscpu(output.encode())


def test_a_line_without_colon_costs_itself_alone() -> None:
    """B34: it ended the historic agent's whole collection."""
    assert parse_lscpu(b"lscpu: odd warning\nno colon\n" + EXAMPLE)["Model"] == "26"


def test_bytes_that_are_not_utf8() -> None:
    assert parse_lscpu(b"Vendor ID: Intel\xae\n") == {"Vendor ID": "Intel\ufffd"}


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"nothing\n",
        b"{}",
        b'{"lscpu": 1}',
        b'{"lscpu": [1]}',
        b'{"lscpu": [{"data": "x"}]}',
        b'{"lscpu": [',
        b"{" * 9999,
    ],
)
def test_other_output_is_refused(output: bytes) -> None:
    with pytest.raises(BadInput, match=r"^lscpu"):
        parse_lscpu(output)


@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_else(output: bytes) -> None:
    try:
        flatten_lscpu(parse_lscpu(output), output.decode("latin-1"))
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("key", "clean"),
    [
        ("CPU op-mode(s)", "CPU_op-mode(s)"),
        ("On-line CPU(s) list", "On-line_CPU(s)_list"),
        ("802.1q  VLAN\tID", "8021q_VLAN_ID"),
        ("# cores", "number_cores"),
        ("a/b\\c", "a_b_c"),
        ("physical id", "physical_id"),
    ],
)
def test_keys_are_cleaned(key: str, clean: str) -> None:
    assert clean_key(key) == clean


def test_names_are_cleaned() -> None:
    assert clean_name("mk_hw_lscpu_CPU_op-mode(s)") == "mk_hw_lscpu_CPU_op-modes"
    assert clean_name("macaddress_a!b@c#d$e%f^g&h*i(j)k=l+m[n]o{p}q_r-s.t") == "macaddress_abcdefghijklmnopq_r-s.t"
