"""Sources that contradict each other, and the kernel lines that other servers send, each on a machine of its own.

Two servers are there: the one that must be found, and one that another source names, which must never hear of the
machine. What the network alone says: test_server_from_network.py. (Rows 3 to 7, 11, 13, 14; B03, B04.)

Source of the lines: protocol 1.1, 1.2.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from mkcore import events
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab, ip
from tests.machines.node import Node
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.segments import said
from tests.machines.server import IMAGE, PORT, ROOT, Server
from tests.machines.web import Nginx
from tests.machines.wire import Wire

pytestmark = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full boots a machine for each")

FOLDER = ROOT / "build/image-tests/server-sources"
DEADLINE_S = 600.0
RIGHT, WRONG, NOBODY = Lab.address, "192.168.88.2", "192.168.88.77"
WEB_PORT = 8080
UUID = "a3c5d1f0-7be2-4d6c-8f10-5e2b9a4c7d{number:02x}"
DNS = ("--port=53", "--no-resolv", "--no-hosts", "--domain=lab.test", "--local=/lab.test/")
SERVICE = f"--srv-host=_mk._tcp.lab.test,provision.lab.test,{PORT}", f"--host-record=provision.lab.test,{RIGHT}"
IMAGE_URL = f"http://{RIGHT}:{WEB_PORT}/hanlon/api/v1/image/mk/5vTdmGXAxa"
CLOUD = f"""#cloud-config
write_files:
  - path: /container-tmp-files/mk_conf.yaml
    permissions: 644
    owner: root
    content: |
      mk_register_path: /hanlon/api/v1/node/register
      mk_uri: http://{RIGHT}:{PORT}
      mk_checkin_interval: 60
      mk_checkin_path: /hanlon/api/v1/node/checkin
      mk_checkin_skew: 5
      mk_fact_excl_pattern: (^facter.*$)|(^id$)
      mk_log_level: Logger::ERROR
"""
# What its script prints where iPXE sent addresses alone: a Ruby array (B03).
RUBBISH = 'smbios_uuid=["525400123456", "525400123457"]'
HANLON_3 = f"rancher.password=x rancher.cloud_init.datasources=['url:{IMAGE_URL}/cloud-config'] {RUBBISH} quiet"
RAZOR_SERVER = (
    "rootflags=loop initrd=initrd0.img root=live:/microkernel.iso rootfstype=auto ro rd.live.image quiet acpi=force "
    f"rd.luks=0 rd.md=0 rd.dm=0 razor.register=http://{WRONG}:{PORT}/svc/checkin/7 "
    f"razor.extend=http://{WRONG}:{PORT}/svc/mk/extension.zip"
)


@dataclass(frozen=True)
class Case:
    """What each source says, and which one it must be: how its name begins, and the server's address by it."""

    source: str
    uri: str = f"http://{RIGHT}:{PORT}"
    line: str = "quiet"
    dhcp: tuple[str, ...] = ()
    site: Mapping[str, str] = field(default_factory=dict)


def site(uri: str, more: str = "") -> dict[str, str]:
    """The site's configuration with this server."""
    return {"mk.toml": f'[server]\nuri = "{uri}"\n{more}'}


NAMES = {name: f"--host-record={name}.lab.test" for name in ("hanlon", "razor")}
ORIGINALS = {"mk.toml": 'discovery.order = "originals"\n'}
# As a person at a boot loader's prompt gives a file to a machine.
BY_LINE = base64.b64encode(f'[server]\nuri = "http://{RIGHT}:{PORT}"\n'.encode()).decode()
CASES: Mapping[str, Case] = {
    "razor-line-against-dhcp": Case(
        "kernel line (razor.ip=)", line=f"maxcpus=1 quiet console=ttyS0 razor.ip={RIGHT}", dhcp=said(WRONG)
    ),
    "hanlon-2-line-against-a-file": Case(
        "kernel line (hanlon.ip=)", line=f"maxcpus=1 debug hanlon.ip={RIGHT}", site=site(f"http://{WRONG}:{PORT}")
    ),
    "hanlon-3-line-against-credential-and-dhcp": Case(
        "kernel line (cloud-config)", line=HANLON_3, dhcp=said(WRONG), site={"mk.server": f"http://{WRONG}:{PORT}"}
    ),
    "credential-against-dhcp": Case(
        "credential mk.server", dhcp=said(WRONG), site={"mk.server": f"http://{RIGHT}:{PORT}"}
    ),
    "file-against-dhcp": Case("credential mk.toml", dhcp=said(WRONG), site=site(f"http://{RIGHT}:{PORT}")),
    "file-on-the-kernel-line-against-dhcp": Case(
        "credential mk.toml", line=f"quiet systemd.set_credential_binary=mk.toml:{BY_LINE}", dhcp=said(WRONG)
    ),
    "dhcp-against-name": Case("DHCP option 224", dhcp=(*DNS, f"{NAMES['hanlon']},{WRONG}", *said(RIGHT))),
    "service-against-name-and-next-server": Case(
        "DNS, _mk._tcp",
        f"http://provision.lab.test:{PORT}",
        dhcp=(*DNS, *SERVICE, f"{NAMES['hanlon']},{WRONG}", f"--dhcp-boot=x,,{WRONG}"),
    ),
    "name-against-dhcp-as-the-originals-had-it": Case(
        "DNS name razor", f"http://razor:{PORT}", dhcp=(*DNS, f"{NAMES['razor']},{RIGHT}", *said(WRONG)), site=ORIGINALS
    ),
    "next-server-of-the-line-against-the-lease-s": Case(
        "next-server", line=f"quiet mk.next_server={RIGHT}", dhcp=(f"--dhcp-boot=x,,{WRONG}",)
    ),
    "razor-server-s-line-is-not-supported-yet": Case("DHCP option 224", line=RAZOR_SERVER, dhcp=said(RIGHT)),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The network, with a second address for the server that is the wrong one."""
    with Lab("mk-server-sources", FOLDER / "lab") as lab:
        ip("-n", lab.name, "addr", "add", f"{WRONG}/24", "dev", "br0")
        yield lab


@pytest.fixture(scope="module")
def servers(image: dict[str, str], lab: Lab) -> Iterator[tuple[Server, Server]]:
    """The right one and the wrong one."""
    reach = {"prefix": lab.prefix, "where": lab.call}
    with (
        Server(FOLDER / "right", address=RIGHT, password="of the lab", cmdline="", **reach) as right,
        Server(FOLDER / "wrong", address=WRONG, password="of the lab", cmdline="", **reach) as wrong,
    ):
        yield right, wrong


@pytest.fixture(scope="module")
def cloud(lab: Lab) -> Iterator[Nginx]:
    """Who hands out the cloud-config."""
    root = FOLDER / "cloud" / IMAGE_URL.partition(f":{WEB_PORT}/")[2]
    root.mkdir(parents=True, exist_ok=True)
    (root / "cloud-config").write_text(CLOUD)
    with Nginx(FOLDER / "cloud", FOLDER / "nginx", RIGHT, WEB_PORT, lab.prefix) as web:
        yield web


@pytest.mark.parametrize("name", CASES)
def test_the_right_one_is_found(lab: Lab, servers: tuple[Server, Server], cloud: Nginx, name: str) -> None:
    """Without help; the other server has never heard of the machine."""
    case, number = CASES[name], list(CASES).index(name)
    right, wrong = servers
    lab.serve(*case.dhcp)
    machine = Machine(
        uuid=UUID.format(number=number),
        nics=(Nic(f"52:54:00:4d:4d:{number:02x}", lab.add_tap()),),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline=f"console=ttyS0 {case.line}",
        credentials=build_credentials({key: text.encode() for key, text in case.site.items()}),
        channels=CHANNELS,
    )
    with (
        Wire(lab.call, "br0", PORT) as wire,
        VirtualMachine(machine, FOLDER / name, prefix=lab.prefix) as vm,
    ):
        node = Node(vm, Channel(vm), right, wire)
        node.channel.wait_event(events.REGISTERED, DEADLINE_S)
        assert str(node.property("ServerSource")).startswith(case.source)
        assert node.property("ServerUri") == case.uri
        known = right.node(machine.uuid) or right.node(machine.nics[0].mac)  # Razor's dialect knows no UUID
        assert known is not None
        facts = known["facts"]
        assert facts["mk_server_source"] == node.property("ServerSource")
        assert wrong.nodes() == []
        not_supported = node.channel.run("journalctl", "-u", "mkctl", "-o", "cat", "--grep=razor-server", check=False)
        assert ("not supported yet" in not_supported.stdout) == ("razor.register" in case.line)


def test_the_screen_says_why_no_server_is_found(lab: Lab, image: dict[str, str]) -> None:
    """All that somebody has who stands before the machine: words that nobody reads, and a network line that is none."""
    lab.serve("--dhcp-boot=x,,127.0.0.9")
    line = f"mk.url=http://{RIGHT} razor.ip={RIGHT}:{PORT} ip=192.0.2.7::192.0.2.1:nomask::ens3:none"
    machine = Machine(
        uuid=UUID.format(number=255),
        nics=(Nic("52:54:00:4d:4d:ff", lab.add_tap()),),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline=f"console=ttyS0 quiet {line}",
    )
    wanted = (
        "kernel line: mk.url= is not known here (mk.ip=, mk.server=, ",
        f"kernel line: razor.ip=: '{RIGHT}:{PORT}' is no IP address (its port belongs in razor.port=): not used",
        "next-server of interface 2's lease: 127.0.0.9 is not the address of a server: not used; ",
        "no server that was written down can be used; DHCP on ",
        "names no server",
        "Network kernel line: ip=, vlan=, bond= or another word is not as dracut.cmdline(7) has it",
    )
    with VirtualMachine(machine, FOLDER / "screen", prefix=lab.prefix) as vm:
        until_s = time.monotonic() + DEADLINE_S
        while missing := [each for each in wanted if each not in " ".join(vm.console().split())]:
            assert time.monotonic() < until_s, (missing, vm.console()[-3000:])
            time.sleep(0.5)
