"""Facter's `virtual` and `is_virtual`: which hypervisor or container the node runs in, "physical" for none.

Read from files alone (virt-what and dmidecode would be two more processes), under the names of Facter 2.4 (protocol
6.8). Servers make the tag "{virtual}_vm" of it, and users' policies name "kvm" and "vmware", so the names must not
drift.

QEMU is "kvm" with and without acceleration. virt-what tells "qemu" from "kvm", Facter by itself does not and says "kvm"
for QEMU's CPU; the historic images had no virt-what, and the accelerator is no property of the machine that a policy
could want. A hypervisor that shows only by the CPU flag is told by its clock source; else it is "unknown", and still
virtual.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkcore.files import read_line, read_text_if_any
from mkcore.jsonfields import Json

# first match wins; searched in "vendor|product|board vendor|BIOS vendor|BIOS version"
_DMI = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^[^|]*\|Google Compute Engine", "gce"),
        (r"RHEV Hypervisor", "rhev"),
        (r"oVirt Node", "ovirt"),
        (r"HVM domU", "xenhvm"),
        (r"VMware|VMW", "vmware"),
        (r"VirtualBox|innotek GmbH", "virtualbox"),
        (r"Parallels", "parallels"),
        (r"^Microsoft Corporation\|Virtual Machine", "hyperv"),
        (r"BHYVE", "bhyve"),
        (r"^Amazon EC2\|(?!\|)(?![^|]*\.metal)", "kvm"),  # ARM has no CPU flag to tell by; older instances are Xen
        (r"QEMU|KVM|Bochs|OpenStack|Apple Virtualization", "kvm"),
    )
)
_CLOCKS = (("kvm-clock", "kvm"), ("hyperv_clocksource", "hyperv"), ("xen", "xenhvm"))
_CONTAINERS = {"lxc": "lxc", "lxc-libvirt": "lxc", "docker": "docker", "podman": "podman", "openvz": "openvzve"}
_PHYSICAL = frozenset({"physical", "xen0", "vmware_server", "vmware_workstation", "openvzhn", "vserver_host"})
_LIMIT_BYTES = 16 << 20  # /proc/cpuinfo of a machine with thousands of CPUs


def read_virtual(root: Path, sys_root: Path, proc_root: Path) -> str:
    """Return the value of `virtual`. root: where /run/systemd/container and /.dockerenv are looked for."""
    return read_container(root, proc_root) or read_hypervisor(sys_root, proc_root) or "physical"


def read_hypervisor(sys_root: Path, proc_root: Path) -> str:
    """Return what the machine itself runs in, whatever container the probe is in: "kvm"; "" for hardware."""
    return _xen(sys_root, proc_root) or _machine(sys_root, proc_root)


def virtual_facts(virtual: str) -> dict[str, Json]:
    """Make `virtual` and `is_virtual`; a Xen control domain is a physical machine."""
    return {"virtual": virtual, "is_virtual": virtual not in _PHYSICAL}


def virtual_inventory(virtual: str) -> dict[str, Json]:
    """Make the inventory's `virtualization`: {"virtual": true, "kind": "kvm"}; plain hardware has no kind."""
    inventory: dict[str, Json] = {"virtual": virtual not in _PHYSICAL}
    if virtual != "physical":
        inventory["kind"] = virtual
    return {"virtualization": inventory}


def read_container(root: Path, proc_root: Path) -> str:
    """Return the container that the probe is in: "docker", "systemd_nspawn"; "" for none."""
    manager = read_line(root / "run/systemd/container")
    if manager:
        return _CONTAINERS.get(manager, manager.replace("-", "_"))
    return "docker" if (root / ".dockerenv").exists() and _contained(read_text_if_any(proc_root / "1/cgroup")) else ""


def _contained(cgroup: str) -> bool:
    """Tell by process 1's groups whether Docker's mark holds: machines started from a container's files bear it too.

    In a container process 1 is in a group of Docker's, or at the top of the one hierarchy that it sees.
    """
    paths = {line.split(":", 2)[-1] for line in cgroup.splitlines()}
    return not paths or cgroup.strip() == "0::/" or any("docker" in path or "kube" in path for path in paths)


def _xen(sys_root: Path, proc_root: Path) -> str:
    if read_line(sys_root / "hypervisor/type") != "xen" and not (proc_root / "xen/capabilities").exists():
        return ""
    if "control_d" in read_line(proc_root / "xen/capabilities"):
        return "xen0"
    full = read_line(sys_root / "hypervisor/guest_type") in {"HVM", "PVH"} or _dmi_text(sys_root)
    return "xenhvm" if full else "xenu"


def _machine(sys_root: Path, proc_root: Path) -> str:
    text = _dmi_text(sys_root)
    for pattern, name in _DMI:
        if pattern.search(text):
            return name
    if "VM00" in read_text_if_any(proc_root / "sysinfo"):
        return "zlinux"
    tree = read_line(proc_root / "device-tree/hypervisor/compatible") + read_line(proc_root / "device-tree/compatible")
    if "linux,kvm" in tree or "dummy-virt" in tree or "qemu" in tree:
        return "kvm"
    cpuinfo = read_text_if_any(proc_root / "cpuinfo", _LIMIT_BYTES)
    if re.search(r"QEMU (Virtual|TCG) (CPU|Machine)", cpuinfo, re.IGNORECASE):
        return "kvm"
    if not re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE):
        return ""
    clocks = read_line(sys_root / "devices/system/clocksource/clocksource0/available_clocksource")
    return next((name for clock, name in _CLOCKS if clock in clocks), "unknown")


def _dmi_text(sys_root: Path) -> str:
    folder = sys_root / "class/dmi/id"
    names = ("sys_vendor", "product_name", "board_vendor", "bios_vendor", "bios_version")
    text = "|".join(read_line(folder / name) for name in names)
    return text if text.strip("|") else ""
