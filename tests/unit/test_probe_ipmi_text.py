"""ipmitool's listings and the facts made of them: the worked example of protocol 6.11, and its defects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventory_schema import check_schema

from mkctl.probe.ipmi_facts import (
    bmc_facts,
    build_bmc,
    build_fru,
    build_lan,
    fru_facts,
    lan_facts,
    parse_date,
    pick_channel,
)
from mkctl.probe.ipmi_text import parse_channels, parse_fru, parse_lan6, parse_pairs, read_lines

DATA = Path(__file__).resolve().parent.parent / "data" / "captures"
BMC_INFO = b"""\
Device ID                 : 33
Device Revision           : 1
Firmware Revision         : 0.54
IPMI Version              : 2.0
Manufacturer ID           : 343
Manufacturer Name         : Intel Corporation
Product ID                : 62 (0x003e)
Product Name              : Unknown (0x3E)
Device Available          : yes
Provides Device SDRs      : no
Additional Device Support :
    Sensor Device
    SDR Repository Device
Aux Firmware Rev Info     :
    0x00
    0x18
"""
LAN_PRINT = b"""\
Set in Progress         : Set Complete
Auth Type Support       : NONE MD5 PASSWORD
Auth Type Enable        : Callback : NONE MD5
                        : User     : NONE MD5
                        : Operator : NONE MD5
                        : OEM      :
IP Address Source       : DHCP Address
IP Address              : 192.168.2.51
Subnet Mask             : 255.255.255.0
MAC Address             : 00:15:17:fa:e0:36
SNMP Community String   : INTEL
IP Header               : TTL=0x00 Flags=0x00 Precedence=0x00 TOS=0x00
BMC ARP Control         : ARP Responses Enabled, Gratuitous ARP Disabled
Gratituous ARP Intrvl   : 0.0 seconds
Default Gateway IP      : 192.168.2.32
Default Gateway MAC     : 00:00:00:00:00:00
Backup Gateway IP       : 0.0.0.0
Backup Gateway MAC      : 00:00:00:00:00:00
802.1q VLAN ID          : Disabled
802.1q VLAN Priority    : 0
RMCP+ Cipher Suites     : 1,2,3,6,7,8,11,12,0
Cipher Suite Priv Max   : caaaXXaaaXXaaXX
                        :     X=Cipher Suite Unused
"""
FRU_PRINT = b"""\
FRU Device Description : Builtin FRU Device (ID 0)
 Chassis Type          : Rack Mount Chassis
 Chassis Part Number\t : ..................
 Chassis Extra\t\t\t : .......
 Board Mfg Date        : Tue Oct 12 21:54:00 2010
 Board Mfg             : ACME
 Board Product         : Board9
 Board Serial          : BRD-SER-1
 Product Serial        : ............

FRU Device Description : Power Dist Board (ID 1)
 Product Manufacturer  : DELTA
 Product Serial        : PDB-SER-1

FRU Device Description : Riser (ID 2)
 Device not present (Requested sensor, data, or record not found)

FRU Device Description : Mid Plane (ID 3)
 Board Serial          : first
 Board Serial          : last
"""


def pairs_of(output: bytes) -> dict[str, str]:
    return parse_pairs(read_lines(output))


def fru_of(output: bytes) -> list[dict[str, str]]:
    return parse_fru(read_lines(output))


def test_bmc_info_of_the_worked_example() -> None:
    """Row 85; the lists are not reported."""
    assert bmc_facts(pairs_of(BMC_INFO)) == {
        "mk_ipmi_Device_ID": "33",
        "mk_ipmi_Device_Revision": "1",
        "mk_ipmi_Firmware_Revision": "0.54",
        "mk_ipmi_IPMI_Version": "2.0",
        "mk_ipmi_Manufacturer_ID": "343",
        "mk_ipmi_Manufacturer_Name": "Intel Corporation",
        "mk_ipmi_Product_ID": "62 (0x003e)",
        "mk_ipmi_Product_Name": "Unknown (0x3E)",
        "mk_ipmi_Device_Available": "yes",
        "mk_ipmi_Provides_Device_SDRs": "no",
    }


LAN_FACTS = {
    "mk_ipmi_IP_Address_Source": "DHCP Address",
    "mk_ipmi_IP_Address": "192.168.2.51",
    "mk_ipmi_Subnet_Mask": "255.255.255.0",
    "mk_ipmi_MAC_Address": "00:15:17:fa:e0:36",
    "mk_ipmi_IP_Header": "TTL=0x00 Flags=0x00 Precedence=0x00 TOS=0x00",
    "mk_ipmi_BMC_ARP_Control": "ARP Responses Enabled, Gratuitous ARP Disabled",
    "mk_ipmi_Gratuitous_ARP_Intrvl": "0.0 seconds",
    "mk_ipmi_Default_Gateway_IP": "192.168.2.32",
    "mk_ipmi_Default_Gateway_MAC": "00:00:00:00:00:00",
    "mk_ipmi_Backup_Gateway_IP": "0.0.0.0",
    "mk_ipmi_Backup_Gateway_MAC": "00:00:00:00:00:00",
    "mk_ipmi_8021q_VLAN_ID": "Disabled",
    "mk_ipmi_8021q_VLAN_Priority": "0",
}


def test_lan_print_of_the_worked_example() -> None:
    """Row 86."""
    assert lan_facts(pairs_of(LAN_PRINT)) == LAN_FACTS


def test_fru_print_of_the_worked_example() -> None:
    """Row 87; the number counts devices that are not there, too."""
    assert fru_facts(fru_of(FRU_PRINT)) == {
        "mk_ipmi_fru_0_Chassis_Type": "Rack Mount Chassis",
        "mk_ipmi_fru_0_Chassis_Part_Number": "..................",
        "mk_ipmi_fru_0_Board_Mfg_Date": "Tue Oct 12 21:54:00 2010",
        "mk_ipmi_fru_0_Board_Mfg": "ACME",
        "mk_ipmi_fru_0_Board_Product": "Board9",
        "mk_ipmi_fru_0_Board_Serial": "BRD-SER-1",
        "mk_ipmi_fru_3_Board_Serial": "last",
    }


def test_b34_an_error_text_on_standard_output_costs_nothing() -> None:
    """A first line without a colon ended the agents' whole collection."""
    noise = b"Could not open something\nGet Device ID command failed: timeout\n\n"
    assert pairs_of(noise + BMC_INFO).items() >= pairs_of(BMC_INFO).items()
    assert bmc_facts(pairs_of(noise + BMC_INFO)) == bmc_facts(pairs_of(BMC_INFO))
    assert fru_of(noise + FRU_PRINT) == fru_of(FRU_PRINT)
    assert bmc_facts(pairs_of(noise)) == lan_facts(pairs_of(noise)) == {}


def test_b46_of_a_fru_only_the_intended_keys_are_facts() -> None:
    keys = {name.split("_", 4)[4] for name in fru_facts(fru_of(FRU_PRINT))}
    assert keys <= {
        "Chassis_Type",
        "Chassis_Part_Number",
        "Chassis_Serial",
        "Board_Mfg_Date",
        "Board_Mfg",
        "Board_Product",
        "Board_Serial",
        "Board_Part_Number",
    }
    assert not any("Product_Serial" in name or "FRU_Device" in name for name in fru_facts(fru_of(FRU_PRINT)))


def test_b51_mac_addresses_are_texts() -> None:
    """They came out as maps: {"00": "15:17:fa:e0:36"}."""
    facts = lan_facts(pairs_of(LAN_PRINT))
    assert facts["mk_ipmi_MAC_Address"] == "00:15:17:fa:e0:36"
    assert facts["mk_ipmi_Default_Gateway_MAC"] == "00:00:00:00:00:00"
    assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize("spelling", [b"Gratituous", b"Gratuitous"])
def test_b52_both_spellings_are_one_fact(spelling: bytes) -> None:
    facts = lan_facts(pairs_of(spelling + b" ARP Intrvl   : 2.0 seconds\n"))
    assert facts == {"mk_ipmi_Gratuitous_ARP_Intrvl": "2.0 seconds"}


def test_b53_the_community_is_a_fact_only_on_request() -> None:
    pairs = pairs_of(LAN_PRINT)
    assert "INTEL" not in lan_facts(pairs).values()
    assert lan_facts(pairs, with_community=True)["mk_ipmi_SNMP_Community_String"] == "INTEL"
    assert "INTEL" not in str(build_lan(pairs, []))


def test_values_are_cleaned() -> None:
    pairs = pairs_of(b"Product Name : Board\xae\x00 \x1b[1m\n Board Serial   :  A  B \t\n")
    assert pairs == {"Product Name": "Board\ufffd [1m", "Board Serial": "A  B"}


def test_a_cut_last_line_is_left_out_after_a_bad_end_alone() -> None:
    output = b"IP Address : 10.9.8.7\nMAC Address : 52:54:00"
    assert parse_pairs(read_lines(output)) == {"IP Address": "10.9.8.7", "MAC Address": "52:54:00"}
    assert parse_pairs(read_lines(output, whole=False)) == {"IP Address": "10.9.8.7"}


def test_fru_without_heading() -> None:
    """As after `fru print 0`, or when the heading went to the other stream."""
    devices = fru_of(b" Board Serial          : A\n\n\n Board Serial          : B\n")
    assert devices == [{"Board Serial": "A"}, {"Board Serial": "B"}]
    assert fru_facts(devices) == {"mk_ipmi_fru_0_Board_Serial": "A", "mk_ipmi_fru_1_Board_Serial": "B"}


CHANNELS = b"""\
Channel 0x1 info:
  Channel Medium Type   : 802.3 LAN
  Channel Protocol Type : IPMB-1.0
Channel 0x2 info:
  Channel Medium Type   : Serial
Channel 0x8 info:
  Channel Medium Type   : 802.3 LAN
Channel 9 info:
  Channel Medium Type   : Other LAN
Channel 10 info:
  Channel Medium Type   : 802.3 LAN
Channel odd info:
  Channel Medium Type   : 802.3 LAN
"""


def test_lan_channels() -> None:
    assert parse_channels(read_lines(CHANNELS)) == [1, 8, 10]
    assert parse_channels(read_lines(CHANNELS + CHANNELS)) == [1, 8, 10]
    assert parse_channels(read_lines(b"  Channel Medium Type   : 802.3 LAN\n")) == []


LAN6 = b"""\
Getting parameter(s)...
IPv6/IPv4 Support:
    IPv6 only: yes
IPv6/IPv4 Addressing Enables: both
IPv6 Status:
    Static address max:  2
IPv6 Static Address 0:
    Enabled:        yes
    Address:        2001:DB8::7/64
    Status:         active
IPv6 Static Address 1:
    Enabled:        no
    Address:        2001:db8::8/64
    Status:         disabled
IPv6 DHCPv6 Static DUID 0:
    Length:   0
IPv6 Dynamic Address 0:
    Source/Type:    SLAAC
    Address:        fe80::5a20:ffff:feff:ffff/64
    Status:         active
IPv6 Dynamic Address 1:
    Source/Type:    DHCPv6
    Address:        ::/0
    Status:         active
IPv6 Static Router 1:
    Address: 2001:db8::1
    MAC:     00:00:00:00:00:00
IPv6 Dynamic Address 2:
    Address:        2001:db8::9/128
"""


def test_ipv6_addresses_in_use() -> None:
    assert parse_lan6(read_lines(LAN6)) == ["2001:db8::7", "fe80::5a20:ffff:feff:ffff", "2001:db8::9"]
    assert parse_lan6(read_lines(b"Invalid LAN6 command: x\n")) == []


def test_the_channel_of_the_facts_is_the_first_with_an_address() -> None:
    unused, used = {"IP Address": "0.0.0.0"}, {"IP Address": "10.0.0.5"}
    assert pick_channel([unused, used]) == used
    assert pick_channel([unused, {}]) == unused
    assert pick_channel([]) == {}


def test_inventory_of_bmc_info() -> None:
    assert build_bmc(pairs_of(BMC_INFO)) == {
        "firmware_version": "0.54",
        "ipmi_version": "2.0",
        "manufacturer": "Intel Corporation",
        "manufacturer_id": 343,
        "product_id": 62,
    }
    assert build_bmc({"Manufacturer ID": "Unknown", "Product Name": "iDRAC9"}) == {"product": "iDRAC9"}


def test_inventory_of_a_lan_channel() -> None:
    pairs = pairs_of(LAN_PRINT.replace(b"00:15:17:fa:e0:36", b"00:15:17:FA:E0:36").replace(b"Disabled\n8", b"42\n8"))
    assert build_lan(pairs, ["2001:db8::7"]) == {
        "ipv4": "192.168.2.51",
        "ipv4_source": "dhcp",
        "netmask": "255.255.255.0",
        "gateway": "192.168.2.32",
        "mac": "00:15:17:fa:e0:36",
        "vlan_id": 42,
        "ipv6": ["2001:db8::7"],
    }
    unset = {"IP Address": "0.0.0.0", "MAC Address": "00:00:00:00:00:00", "Subnet Mask": "Unknown", "x": "y"}
    assert build_lan(unset, []) == {}
    odd = {"IP Address": "1.2.3.256", "MAC Address": "FF:FF:FF:FF:FF:FF", "802.1q VLAN ID": "4095"}
    assert build_lan(odd, []) == {}


def test_inventory_of_frus() -> None:
    """Fillers and devices that say nothing are left out."""
    assert build_fru(fru_of(FRU_PRINT)) == [
        {
            "id": 0,
            "description": "Builtin FRU Device",
            "chassis_type": "Rack Mount Chassis",
            "board_manufacturer": "ACME",
            "board_product": "Board9",
            "board_serial": "BRD-SER-1",
            "board_date": "2010-10-12",
        },
        {
            "id": 1,
            "description": "Power Dist Board",
            "product_manufacturer": "DELTA",
            "product_serial": "PDB-SER-1",
        },
        {"id": 3, "description": "Mid Plane", "board_serial": "last"},
    ]
    assert build_fru([{"Board Serial": "A"}]) == [{"board_serial": "A"}]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Tue Oct 12 21:54:00 2010", "2010-10-12"),
        ("Fri Mar  1 12:30:00 2024 UTC", "2024-03-01"),
        ("Mon Jan  1 00:00:00 1996", ""),
        ("Unspecified", ""),
        ("Tue Okt 12 21:54:00 2010", ""),
        ("", ""),
    ],
)
def test_dates(text: str, date: str) -> None:
    assert parse_date(text) == date


def test_a_simulated_controller() -> None:
    """The project's own captures: what was declared to the simulator comes back."""
    lines = {name: read_lines((DATA / f"ipmi-sim-{name}.txt").read_bytes()) for name in ("bmc-info", "lan-print")}
    assert build_bmc(parse_pairs(lines["bmc-info"])) == {
        "firmware_version": "3.17",
        "ipmi_version": "2.0",
        "manufacturer": "Intel Corporation",
        "manufacturer_id": 0x157,
        "product_id": 0x3E,
    }
    assert build_lan(parse_pairs(lines["lan-print"]), []) == {
        "ipv4": "10.9.8.7",
        "ipv4_source": "static",
        "netmask": "255.255.255.0",
        "gateway": "10.9.8.1",
        "mac": "52:54:00:bb:00:01",
    }
    assert parse_channels(read_lines((DATA / "ipmi-sim-channel-info.txt").read_bytes())) == [1, 3]
    (fru,) = build_fru(fru_of((DATA / "ipmi-sim-fru-print.txt").read_bytes()))
    assert fru == {
        "id": 0,
        "description": "Builtin FRU Device",
        "chassis_type": "Rack Mount Chassis",
        "chassis_part_number": "CH-PN",
        "chassis_serial": "CH-SER",
        "board_manufacturer": "ACME",
        "board_product": "Board9",
        "board_serial": "BRD-SER",
        "board_part_number": "BRD-PN",
        "board_date": "2024-03-01",
        "product_manufacturer": "ACME",
        "product_name": "Model9",
        "product_part_number": "PROD-PN",
        "product_version": "v2",
        "product_serial": "PROD-SER",
        "product_asset_tag": "ASSET-9",
    }


LISTINGS = st.lists(st.sampled_from([BMC_INFO, LAN_PRINT, FRU_PRINT, LAN6, CHANNELS, b":\n", b" : x\n\n"]))


@given(st.binary(max_size=300) | LISTINGS.map(b"".join))
def test_garbage_never_raises(output: bytes) -> None:
    lines = read_lines(output)
    pairs = parse_pairs(lines)
    devices = parse_fru(lines)
    for facts in (bmc_facts(pairs), lan_facts(pairs), fru_facts(devices)):
        assert all(isinstance(value, str) and value for value in facts.values())
    bmc = {**build_bmc(pairs), "lan": {str(each): build_lan(pairs, []) for each in (parse_channels(lines) or [1])}}
    fru = build_fru(devices)
    check_schema({"bmc": {**bmc, "fru": fru} if fru else bmc})
    json.dumps(parse_lan6(lines))
