"""The collectors of Facter's facts: what is read once, in both forms.

Flat facts have the names and formats of Facter 2.4, the structured ones those of Facter 4; `facts.sets` says which are
sent. Where both have a name with different shapes (os, partitions, processors, system_uptime), the structured one is
sent in place of the flat one once its set is chosen. What changes from look to look, such as uptime and free memory, is
in facts.volatile. No process is started. Protocol 6.8.
"""

from __future__ import annotations

import os
from pathlib import Path

from mkcore import ethtool
from mkcore.errors import BadInput
from mkcore.files import read_bytes, read_line, read_text, read_text_if_any
from mkcore.interfaces import read_interfaces
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.probe import facter_system as system
from mkctl.probe.base import (
    CPUINFO_LIMIT_BYTES,
    flat_processors,
    join_facts,
    machine_facts,
    read_processors,
    structured_processors,
)
from mkctl.probe.collect import Collected
from mkctl.probe.cpu_topology import read_topology
from mkctl.probe.dmi import dmi_facts, read_dmi
from mkctl.probe.facter_addresses import parse_addresses, parse_routes
from mkctl.probe.facter_dhcp import read_dhcp_servers
from mkctl.probe.facter_disks import flat_partitions, read_disks, read_partitions, structured_partitions
from mkctl.probe.facter_dmi import read_attributes, structured_dmi, structured_hypervisors
from mkctl.probe.facter_memory import flat_memory, parse_meminfo, structured_memory
from mkctl.probe.facter_mounts import (
    MOUNTS_LIMIT_BYTES,
    Mount,
    mounted_devices,
    parse_filesystems,
    parse_mounts,
    structured_mounts,
)
from mkctl.probe.facter_names import read_names
from mkctl.probe.facter_networking import Network, structured_networking
from mkctl.probe.facter_os import (
    flat_os,
    flat_selinux,
    instruction_set,
    read_system,
    structured_os,
    structured_selinux,
)
from mkctl.probe.model import Status
from mkctl.probe.virtual import read_container, read_hypervisor, virtual_facts, virtual_inventory


def collect_system(paths: Paths, top: Path) -> Collected:
    """Collect names, architecture, operating system, kernel and virtualization."""
    hypervisor, container = read_hypervisor(paths.sys, paths.proc), read_container(top, paths.proc)
    virtual = container or hypervisor or "physical"
    machine = os.uname()
    found, selinux = read_system(top), structured_selinux(paths.sys, top)
    names, identity = read_names(top, paths.proc), system.own_identity()
    kernel = system.kernel_facts(machine.release)
    where: dict[str, Json] = {"timezone": system.timezone(), "path": os.environ.get("PATH", "")}
    filesystems: dict[str, Json] = {"filesystems": parse_filesystems(read_text_if_any(paths.proc / "filesystems"))}
    flat: tuple[dict[str, Json], ...] = (
        names.flat(),
        machine_facts(machine.machine),
        virtual_facts(virtual),
        flat_os(found),
        flat_selinux(selinux),
        system.flat_identity(identity),
        {"uniqueid": system.read_unique_id(str(top), names.address)},
    )
    dmi, machine_id = read_attributes(paths.sys), read_line(top / "etc/machine-id")
    structured: tuple[dict[str, Json], ...] = (
        virtual_facts(virtual),
        {"fips_enabled": read_line(paths.proc / "sys/crypto/fips_enabled") == "1"},
        {"os": structured_os(found, machine.machine, selinux), "identity": identity},
        {"hypervisors": structured_hypervisors(hypervisor, container, dmi, machine_id)},
    )
    command_line = read_text_if_any(paths.proc / "cmdline").strip()
    shared = {**kernel, **where, **filesystems}
    return Collected(
        {key: value for key, value in join_facts((*flat, shared)).items() if value != ""},
        structured={key: value for key, value in join_facts((*structured, shared)).items() if value not in ({}, "")},
        inventory={**virtual_inventory(virtual), "kernel": system.kernel_inventory(machine, command_line)},
    )


def collect_time(paths: Paths) -> Collected:
    """Collect uptime and load."""
    seconds = system.parse_uptime(read_text(paths.proc / "uptime"))
    structured: dict[str, Json] = {"system_uptime": system.structured_uptime(seconds)}
    structured["load_averages"] = system.parse_load(read_text(paths.proc / "loadavg"))
    return Collected(system.flat_uptime(seconds), structured=structured)


def collect_memory(paths: Paths) -> Collected:
    """Collect memory and swap."""
    meminfo = parse_meminfo(read_text(paths.proc / "meminfo"))
    return Collected(
        flat_memory(meminfo),
        structured={"memory": structured_memory(meminfo)},
        inventory={"memory": {"total_bytes": meminfo["MemTotal"]}},
    )


def collect_processors(paths: Paths, top: Path) -> Collected:
    """Collect count, models and topology of the processors."""
    cpuinfo, machine = read_cpuinfo(paths), os.uname().machine
    processors = read_processors(paths.sys, cpuinfo)
    isa = instruction_set(read_system(top), machine)
    return Collected(
        flat_processors(processors),
        structured={"processors": structured_processors(processors, isa)},
        inventory={"processors": read_topology(str(paths.sys), cpuinfo, machine)},
    )


def read_mounts(paths: Paths, host: str = "") -> list[Mount]:
    """Read the mounted file systems: this process's, or those of process 1 of the host whose files lie in `host`.

    Raises OSError, BadInput.
    """
    path = Path(f"{host}/proc/1/mounts") if host else paths.proc / "self/mounts"
    return parse_mounts(read_bytes(path, MOUNTS_LIMIT_BYTES))


def collect_mounts(paths: Paths, host: str = "") -> Collected:
    """Collect the mounted file systems; a server that is gone makes this collector hang, and no other."""
    mounts = structured_mounts(read_mounts(paths, host), read_text_if_any(paths.proc / "cmdline"), host)
    return Collected(structured={"mountpoints": mounts})


def collect_partitions(paths: Paths, top: Path, host: str = "") -> Collected:
    """Collect disks and partitions."""
    root = str(top).rstrip("/")
    try:
        mounted = mounted_devices(read_mounts(paths, host))
    except (OSError, BadInput):
        mounted = {}
    partitions = read_partitions(paths.sys, root)
    structured: dict[str, Json] = {
        "disks": read_disks(paths.sys, root),
        "partitions": structured_partitions(partitions, mounted),
    }
    return Collected(flat_partitions(partitions, mounted), structured={k: v for k, v in structured.items() if v})


def collect_networking(paths: Paths, top: Path, only_files: bool = False) -> Collected:
    """Collect `networking`. only_files: of a tree; the running kernel is not asked for addresses.

    Where the kernel refuses to list addresses, the rest is reported and the result carries a remark.
    """
    addresses: list[bytes] = []
    routes: list[bytes] = []
    remark = ""
    if not only_files:
        try:
            addresses = ethtool.dump_rtnetlink(ethtool.RTM_GETADDR)
            routes = [
                *ethtool.dump_rtnetlink(ethtool.RTM_GETROUTE, 2),
                *ethtool.dump_rtnetlink(ethtool.RTM_GETROUTE, 10),
            ]
        except OSError as error:
            remark = f"no list of addresses: {error.strerror or error}"
    interfaces = read_interfaces(paths.sys, paths.proc, lambda _: "")
    servers = read_dhcp_servers(str(top).rstrip("/"), {each.name: each.index for each in interfaces})
    network = Network(parse_addresses(addresses), parse_routes(routes), servers)
    networking = structured_networking(interfaces, network, read_names(top, paths.proc))
    return Collected(status=Status.OK, error=remark, structured={"networking": networking})


def collect_dmi(paths: Paths) -> Collected:
    """Collect the SMBIOS identification; a machine without SMBIOS has no such facts, and that is no failure."""
    found = structured_dmi(read_attributes(paths.sys))
    return Collected(dmi_facts(read_dmi(paths.sys)), structured={"dmi": found} if found else {})


def read_cpuinfo(paths: Paths) -> str:
    """Return /proc/cpuinfo, "" where there is none: sysfs still knows the count."""
    return read_text_if_any(paths.proc / "cpuinfo", CPUINFO_LIMIT_BYTES)
