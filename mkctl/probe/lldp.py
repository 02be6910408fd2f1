"""LLDP neighbours: asked from systemd-networkd at once, and heard on the cable in the timer's runs.

networkd 255 and later answers over Varlink, any user alike; it hands out names and capabilities, not management
addresses, VLAN id and frame size. Before, it kept the frames themselves in files. Where networkd does not run or is not
told to receive LLDP, the listener alone knows; where a neighbour was heard before, what it said is remembered.

Source: io.systemd.Network.GetLLDPNeighbors in `varlinkctl introspect /run/systemd/netif/io.systemd.Network`;
varlink.org (messages are JSON objects, each with a NUL at its end); systemd.network(5), LLDP=.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

from mkcore.errors import BadAnswer, BadInput, MkError, Unreachable
from mkcore.files import list_names, read_bytes, read_line
from mkcore.jsonfields import Json, get_int, get_list, get_object, get_str, parse_object
from mkctl.probe.collect import Collected
from mkctl.probe.lldp_facts import (
    NETWORKD,
    SECTION,
    Neighbors,
    build_neighbors,
    join_neighbors,
    lldp_facts,
    parse_neighbors,
)
from mkctl.probe.lldp_frames import (
    CHASSIS_ID_TYPES,
    MAX_VLAN_ID,
    PORT_ID_TYPES,
    Neighbor,
    capability_names,
    parse_frame,
    parse_id,
    split_raw_file,
)
from mkctl.probe.texts import clean_text

log = logging.getLogger(__name__)

NAME = "lldp"
SOCKET = "run/systemd/netif/io.systemd.Network"
FRAMES = "run/systemd/netif/lldp"
METHOD = "io.systemd.Network.GetLLDPNeighbors"
TIMEOUT_S = 3.0
LIMIT_BYTES = 4 << 20
_NO_SUCH_METHOD = {"org.varlink.service.MethodNotFound", "org.varlink.service.InterfaceNotFound"}

LISTENING_LIMIT_S = 40.0  # half a minute and networkd's time

Before = Callable[[str], Mapping[str, Json]]
"""Returns what a collector, by its name, brought to the inventory the last time."""


def collect_lldp(top: Path, sys_root: Path, before: Before, *, listening: bool = False) -> Collected:
    """Collect the neighbours that networkd knows; listening: for at most 31 s those on the cable as well.

    Neither networkd nor a neighbour is no failure. What could not be asked or heard is said in a remark.
    """
    present, problems = _networkd(top, sys_root)
    known, heard = _known(before), None
    if listening:
        from mkctl.probe.lldp_listen import listen  # for the timer's runs alone

        nics = list_nics(sys_root)
        expected = {name: {each.key for each in (*present.get(name, ()), *known.get(name, ()))} for name in nics}
        try:
            heard = listen(nics, expected)
            present, problems = _networkd(top, sys_root)  # half a minute later others may be there
        except OSError as error:
            problems.append(f"cannot listen: {error.strerror or error}")
    found = join_neighbors(present, known, set(list_nics(sys_root)), heard)
    section = build_neighbors(found)
    inventory: dict[str, Json] = {SECTION: section} if section else {}
    return Collected(lldp_facts(found), error="; ".join(problems), inventory=inventory)


def list_nics(sys_root: Path) -> list[str]:
    """Return the interfaces that a neighbour can be heard on, sorted: physical Ethernet with carrier, no SR-IOV VFs."""
    base = f"{sys_root}/class/net"
    return [
        name
        for name in list_names(base)
        if read_line(f"{base}/{name}/carrier") == "1"
        and read_line(f"{base}/{name}/type") == "1"
        and os.path.isdir(f"{base}/{name}/device")
        and not os.path.lexists(f"{base}/{name}/device/physfn")
    ]


def _known(before: Before) -> Neighbors:
    section = before(NAME).get(SECTION)
    try:
        return parse_neighbors(section) if isinstance(section, dict) else {}
    except BadInput:  # of another version
        return {}


def _networkd(top: Path, sys_root: Path) -> tuple[Neighbors, list[str]]:
    """Ask networkd, in whichever way it answers; return what it knows and what is wrong."""
    try:
        return parse_networkd(ask_networkd(top / SOCKET)), []
    except FileNotFoundError:
        return read_frames(top / FRAMES, sys_root), []
    except (MkError, OSError) as error:
        return {}, [f"networkd: {error}"]


def ask_networkd(path: Path, timeout_s: float = TIMEOUT_S) -> dict[str, Json]:
    """Return the parameters of networkd's reply.

    Raises FileNotFoundError where no networkd with that method runs, Unreachable when it does not answer in time,
    BadAnswer for an error of its own, BadInput for what is no reply.
    """
    if not path.exists():
        raise FileNotFoundError(str(path))
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(f'{{"method":"{METHOD}","parameters":{{}}}}\0'.encode("ascii"))
            data = _read_message(connection, deadline)
        except ConnectionRefusedError:  # left over from a networkd that was stopped
            raise FileNotFoundError(str(path)) from None
        except OSError as error:
            raise Unreachable(f"{METHOD}: {error}") from None
    body = parse_object(data, METHOD)
    problem = get_str(body, "error", default="", where=METHOD)
    if problem in _NO_SUCH_METHOD:
        raise FileNotFoundError(METHOD)
    if problem:
        raise BadAnswer(f"{METHOD}: {problem}")
    return get_object(body, "parameters", default={}, where=METHOD)


def _read_message(connection: socket.socket, deadline: float) -> bytes:
    data = bytearray()
    while not data.endswith(b"\0"):
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("no complete answer in time")
        connection.settimeout(remaining_s)
        part = connection.recv(65536)
        if not part:
            raise ConnectionResetError("the connection ended within the answer")
        data += part
        if len(data) > LIMIT_BYTES:
            raise BadInput(f"larger than {LIMIT_BYTES} bytes", METHOD)
    return bytes(data[:-1])


def parse_networkd(parameters: Mapping[str, Json]) -> dict[str, list[Neighbor]]:
    """Parse the reply's parameters, which are also what `networkctl lldp --json=short` prints. Raises BadInput.

    A neighbor that is not of the documented form is left out: what one switch sends must not hide the others.
    """
    found: dict[str, list[Neighbor]] = {}
    for link in _objects(parameters, "Neighbors", METHOD):
        name = get_str(link, "InterfaceName", where=METHOD)
        listed = get_list(link, "Neighbors", default=[], where=METHOD)
        found[name] = [one for each in listed for one in _parse_if_well_formed(each, f"{METHOD}: {name}")]
    return found


def _parse_if_well_formed(item: Json, where: str) -> list[Neighbor]:
    try:
        return [_parse_neighbor(get_object({"Neighbors": item}, "Neighbors", where=where), where)]
    except BadInput as error:
        log.info("%s; this neighbor is left out", error)
        return []


def _objects(parent: Mapping[str, Json], key: str, where: str) -> list[dict[str, Json]]:
    return [get_object({key: item}, key, where=where) for item in get_list(parent, key, default=[], where=where)]


def _parse_neighbor(item: Mapping[str, Json], where: str) -> Neighbor:
    chassis_id, chassis_id_type = _parse_raw_id(item, "ChassisID", CHASSIS_ID_TYPES, where)
    port_id, port_id_type = _parse_raw_id(item, "PortID", PORT_ID_TYPES, where)
    vlan_id = get_int(item, "VlanID", default=0, where=where)
    return Neighbor(
        chassis_id=chassis_id,
        chassis_id_type=chassis_id_type,
        port_id=port_id,
        port_id_type=port_id_type,
        port_description=clean_text(get_str(item, "PortDescription", default="", where=where)),
        system_name=clean_text(get_str(item, "SystemName", default="", where=where)),
        system_description=_unescape(get_str(item, "SystemDescription", default="", where=where)),
        enabled_capabilities=capability_names(get_int(item, "EnabledCapabilities", default=0, where=where)),
        vlan_id=vlan_id if 0 < vlan_id <= MAX_VLAN_ID else 0,
        source=NETWORKD,
    )


def _unescape(text: str) -> str:
    """networkd writes a line break as a backslash and n: here a space, as where the listener heard it."""
    for escaped in ("\\r", "\\n", "\\t"):
        text = text.replace(escaped, " ")
    return clean_text(text)


def _parse_raw_id(item: Mapping[str, Json], key: str, types: tuple[str, ...], where: str) -> tuple[str, str]:
    """Read an id from its bytes, as from a frame, so that both ways give the same text; else networkd's own text."""
    raw = get_list(item, f"Raw{key}", default=[], where=where)
    octets = bytes(each for each in raw if isinstance(each, int) and 0 <= each <= 0xFF)
    parsed = parse_id(octets, types) if len(octets) == len(raw) else ("", "")
    return parsed if parsed[0] else (clean_text(get_str(item, key, default="", where=where)), "")


def read_frames(folder: Path, sys_root: Path) -> dict[str, list[Neighbor]]:
    """Read the frames that an older networkd keeps in a file for each interface, named by the interface's number."""
    numbers = list_names(folder)
    if not numbers:
        return {}
    base = f"{sys_root}/class/net"
    names = {read_line(f"{base}/{name}/ifindex"): name for name in list_names(base)}
    return {names[number]: _read_frames_of(folder / number) for number in numbers if number in names}


def _read_frames_of(path: Path) -> list[Neighbor]:
    try:
        frames = split_raw_file(read_bytes(path))
    except (OSError, BadInput):  # removed meanwhile, as the link went down
        return []
    return [neighbor for frame in frames for neighbor in _parse_kept(frame)]


def _parse_kept(frame: bytes) -> list[Neighbor]:
    try:
        return [parse_frame(frame)._replace(source=NETWORKD)]
    except BadInput:  # this one costs itself
        return []
