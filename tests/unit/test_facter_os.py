"""Operating system, SELinux, DMI and hypervisors in the forms of Facter 2.4 and 4.

The expected values of Facter 4 are what version 4.3 printed for these very files, laid over its /etc and /sys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probe_tree import make_tree

from mkctl.probe.facter_dmi import read_attributes, structured_dmi, structured_hypervisors
from mkctl.probe.facter_os import (
    build_system,
    flat_os,
    flat_selinux,
    instruction_set,
    parse_os_release,
    read_system,
    structured_os,
    structured_selinux,
)


# --- operating system -----------------------------------------------------------------------------
def release(**values: str) -> dict[str, str]:
    return parse_os_release("".join(f'{key}="{value}"\n' for key, value in values.items()))


DEBIAN = release(
    PRETTY_NAME="Debian GNU/Linux 12 (bookworm)",
    NAME="Debian GNU/Linux",
    VERSION_ID="12",
    VERSION="12 (bookworm)",
    VERSION_CODENAME="bookworm",
    ID="debian",
)
UBUNTU = release(
    PRETTY_NAME="Ubuntu 22.04.3 LTS", NAME="Ubuntu", VERSION_ID="22.04", VERSION_CODENAME="jammy", ID="ubuntu",
    ID_LIKE="debian",
)  # fmt: skip
ROCKY = release(NAME="Rocky Linux", ID="rocky", ID_LIKE="rhel centos fedora", VERSION_ID="9.2")
SLES = release(NAME="SLES", VERSION_ID="15.4", PRETTY_NAME="SUSE Linux Enterprise Server 15 SP4", ID="sles")
LEAP = release(NAME="openSUSE Leap", VERSION_ID="15.5", PRETTY_NAME="openSUSE Leap 15.5", ID="opensuse-leap")
REDHAT7 = "Red Hat Enterprise Linux Server release 7.9 (Maipo)"


def distro(full: str, major: str, minor: str = "", **texts: str) -> dict[str, Any]:
    numbers = {"full": full, "major": major, "minor": minor}
    return {"release": {key: value for key, value in numbers.items() if value}, **texts}


@pytest.mark.parametrize(
    ("values", "debian", "redhat", "family", "name", "architecture", "expected"),
    [
        (
            DEBIAN, "12.11", "", "Debian", "Debian", "amd64",
            distro("12.11", "12", "11", codename="bookworm", description="Debian GNU/Linux 12 (bookworm)", id="Debian"),
        ),
        (
            release(PRETTY_NAME="Debian 13", NAME="Debian GNU/Linux", VERSION="13 (trixie)", ID="debian"), "13", "",
            "Debian", "Debian", "amd64", distro("13", "13", codename="trixie", description="Debian 13", id="Debian"),
        ),
        (
            release(NAME="Debian GNU/Linux", ID="debian", PRETTY_NAME="Debian sid"), "trixie/sid", "",
            "Debian", "Debian", "amd64", distro("trixie/sid", "trixie/sid", description="Debian sid", id="Debian"),
        ),
        (
            UBUNTU, "bookworm/sid", "", "Debian", "Ubuntu", "amd64",
            distro("22.04", "22.04", codename="jammy", description="Ubuntu 22.04.3 LTS", id="Ubuntu"),
        ),
        (
            release(NAME="Micro", ID="mk", ID_LIKE="debian", VERSION_ID="4.5", PRETTY_NAME="MK"), "12.11", "",
            "Debian", "Micro", "amd64", distro("12.11", "12", "11", description="MK", id="Mk"),
        ),
        (ROCKY, "", "", "RedHat", "Rocky", "x86_64", distro("9.2", "9", "2")),
        (
            release(NAME="Fedora Linux", ID="fedora", VERSION_ID="38"), "", "",
            "RedHat", "Fedora", "x86_64", distro("38.0", "38", "0"),
        ),
        (
            release(NAME="Red Hat Enterprise Linux Server", ID="rhel", ID_LIKE="fedora", VERSION_ID="7.9"), "", REDHAT7,
            "RedHat", "RedHat", "x86_64",
            distro("7.9", "7", "9", codename="Maipo", description=REDHAT7, id="RedHatEnterpriseServer"),
        ),
        (
            SLES, "", "", "Suse", "SLES", "x86_64",
            distro("15.4", "15", "4", codename="n/a", description="SUSE Linux Enterprise Server 15 SP4", id="SUSE"),
        ),
        (
            LEAP, "", "", "Suse", "openSUSE", "x86_64",
            distro("15.5", "15", "5", codename="n/a", description="openSUSE Leap 15.5", id="SUSE"),
        ),
    ],
)  # fmt: skip
def test_os(
    values: dict[str, str],
    debian: str,
    redhat: str,
    family: str,
    name: str,
    architecture: str,
    expected: dict[str, Any],
) -> None:
    found = structured_os(build_system(values, debian, redhat), "x86_64", {"enabled": False})
    assert found == {
        "architecture": architecture,
        "distro": expected,
        "family": family,
        "hardware": "x86_64",
        "name": name,
        "release": expected["release"],
        "selinux": {"enabled": False},
    }


def test_os_of_other_families() -> None:
    alpine = build_system(release(NAME="Alpine Linux", ID="alpine", VERSION_ID="3.18.4"))
    assert structured_os(alpine, "aarch64", {"enabled": False}) == {
        "architecture": "aarch64",
        "family": "Alpine",
        "hardware": "aarch64",
        "name": "Alpine",
        "release": {"full": "3.18.4", "major": "3", "minor": "18"},
        "selinux": {"enabled": False},
    }
    tiny = structured_os(build_system(release(NAME="TinyCore", ID="tinycore", VERSION_ID="4.5")), "i686", {})
    assert (tiny["family"], tiny["architecture"]) == ("Tinycore", "i386")
    assert tiny["release"] == {"full": "4.5", "major": "4.5"}
    nothing = structured_os(build_system({}), "x86_64", {"enabled": False})
    assert nothing == {"architecture": "x86_64", "hardware": "x86_64", "selinux": {"enabled": False}}
    assert flat_os(build_system({})) == {}


def test_flat_os() -> None:
    assert flat_os(build_system(DEBIAN, "12.11")) == {
        "operatingsystem": "Debian",
        "operatingsystemrelease": "12.11",
        "operatingsystemmajrelease": "12",
        "osfamily": "Debian",
        "lsbdistid": "Debian",
        "lsbdistcodename": "bookworm",
        "lsbdistdescription": "Debian GNU/Linux 12 (bookworm)",
        "lsbdistrelease": "12.11",
        "lsbmajdistrelease": "12",
        "lsbminordistrelease": "11",
        "os": {
            "name": "Debian",
            "family": "Debian",
            "release": {"full": "12.11", "major": "12", "minor": "11"},
            "lsb": {
                "distid": "Debian",
                "distcodename": "bookworm",
                "distdescription": "Debian GNU/Linux 12 (bookworm)",
                "distrelease": "12.11",
                "majdistrelease": "12",
                "minordistrelease": "11",
            },
        },
    }
    assert not [name for name in flat_os(build_system(ROCKY)) if name.startswith("lsb")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (DEBIAN, "unknown"),
        (UBUNTU, "x86_64"),
        (SLES, "x86_64"),
        (ROCKY, "x86_64"),
        (release(NAME="Oracle Linux Server", ID="ol", ID_LIKE="fedora", VERSION_ID="10.0"), "unknown"),
        (release(NAME="Fedora Linux", ID="fedora", VERSION_ID="40"), "unknown"),
    ],
)
def test_instruction_set(values: dict[str, str], expected: str) -> None:
    assert instruction_set(build_system(values), "x86_64") == expected


def test_os_release() -> None:
    text = '# c\n\nID=debian\nNAME=\'A B\'\nPRETTY_NAME="A \\"B\\" \\$5"\nNO\nA-B=1\n VERSION_ID = 5\nEMPTY=\nX="\n'
    assert parse_os_release(text) == {
        "ID": "debian",
        "NAME": "A B",
        "PRETTY_NAME": 'A "B" $5',
        "EMPTY": "",
        "X": '"',
    }


def test_os_of_a_tree(tmp_path: Path) -> None:
    make_tree(tmp_path, {"usr/lib/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\n', "etc/debian_version": "13.2\n"})
    assert read_system(tmp_path).release == ("13.2", "13", "2")


def test_selinux(tmp_path: Path) -> None:
    assert structured_selinux(tmp_path / "sys", tmp_path) == {"enabled": False}
    assert flat_selinux({"enabled": False}) == {"selinux": False}
    files = {
        "sys/fs/selinux/enforce": "1",
        "sys/fs/selinux/policyvers": "33",
        "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    }
    found = structured_selinux(make_tree(tmp_path, files) / "sys", tmp_path)
    assert found == {
        "config_mode": "enforcing",
        "config_policy": "targeted",
        "current_mode": "enforcing",
        "enabled": True,
        "enforced": True,
        "policy_version": "33",
    }
    assert flat_selinux(found) == {
        "selinux": True,
        "selinux_config_mode": "enforcing",
        "selinux_config_policy": "targeted",
        "selinux_current_mode": "enforcing",
        "selinux_enforced": True,
        "selinux_policyversion": "33",
    }


# --- DMI ------------------------------------------------------------------------------------------
ATTRIBUTES = {
    "bios_date": "04/01/2014", "bios_vendor": "SeaBIOS", "bios_version": " 1.14 ", "bios_release": "4.2",
    "board_asset_tag": "BT", "board_vendor": "Red Hat", "board_name": "RHEL-AV", "board_serial": "BS",
    "board_version": "BV", "chassis_asset_tag": "CT", "chassis_type": "23", "chassis_vendor": "CV",
    "chassis_serial": "CS", "sys_vendor": "Acme", "product_name": "M1", "product_serial": "PS",
    "product_uuid": "0f61d142-c291-4770-a0c9-405520784d49", "product_version": "PV", "product_sku": "PSKU",
}  # fmt: skip


def test_dmi(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"class/dmi/id/{name}": f"{value}\n" for name, value in ATTRIBUTES.items()})
    assert structured_dmi(read_attributes(tmp_path)) == {
        "bios": {"release_date": "04/01/2014", "vendor": "SeaBIOS", "version": "1.14"},
        "board": {"asset_tag": "BT", "manufacturer": "Red Hat", "product": "RHEL-AV", "serial_number": "BS"},
        "chassis": {"asset_tag": "CT", "type": "Rack Mount Chassis"},
        "manufacturer": "Acme",
        "product": {"name": "M1", "serial_number": "PS", "uuid": "0f61d142-c291-4770-a0c9-405520784d49"},
    }
    assert structured_dmi(read_attributes(tmp_path / "none")) == {}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1", "Other"),
        ("13", "All in One"),
        ("17", "Main System Chassis"),
        ("24", "Sealed-Case PC"),
        ("29", "Blade Enclosure"),
        ("32", "Detachable"),
    ],
)
def test_chassis(number: str, text: str) -> None:
    assert structured_dmi({"chassis_type": number}) == {"chassis": {"type": text}}


@pytest.mark.parametrize("number", ["0", "2", "33", "x", "²", "130"])
def test_chassis_unknown(number: str) -> None:
    assert structured_dmi({"chassis_type": number}) == {}


@pytest.mark.parametrize(
    ("machine", "container", "dmi", "expected"),
    [
        ("", "", {}, {}),
        ("kvm", "", {"sys_vendor": "QEMU"}, {"kvm": {}}),
        ("gce", "", {"bios_vendor": "Google"}, {"kvm": {"google": True}}),
        ("kvm", "", {"bios_vendor": "Amazon EC2"}, {"kvm": {"amazon": True}}),
        ("kvm", "", {"product_name": "OpenStack Nova"}, {"kvm": {"openstack": True}}),
        ("vmware", "", {}, {"vmware": {}}),
        ("virtualbox", "", {}, {"virtualbox": {}}),
        ("xenhvm", "", {}, {"xen": {"context": "hvm", "privileged": False}}),
        ("xen0", "", {}, {"xen": {"context": "pv", "privileged": True}}),
        ("ovirt", "", {}, {}),
        ("kvm", "systemd_nspawn", {}, {"kvm": {}, "systemd_nspawn": {"id": "0123"}}),
        ("", "lxc", {}, {"lxc": {}}),
    ],
)
def test_hypervisors(machine: str, container: str, dmi: dict[str, str], expected: dict[str, Any]) -> None:
    assert structured_hypervisors(machine, container, dmi, "0123") == expected
