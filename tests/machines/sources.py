"""All that can tell a node where its server is, as a table: each source alone, pairs that contradict each other, and
words that cannot be meant.

The node is in a container, on a cable whose far end has DHCP and DNS, and on which two servers are reached: the one
that must be found, and one that nobody must go to. What stands on the kernel line is a file in mkctl's own view, since
a container has its host's. Source of the lines: protocol 1.1, 1.2; of the order: protocol 1.4, B04, B05.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tests.machines import nspawn, tree
from tests.machines.segments import BASE, Segments, said
from tests.machines.server import PORT
from tests.machines.topologies import FILES, OTHER4, OTHER_RANGE4, OWN, RANGE4, RANGE6, Place, vendor_options

UUID = "4C4C4544-0042-4410-8051-C3C04F395934"
RIGHT, WRONG, STRANGER = "192.168.90.1", "192.168.90.2", "192.168.90.3"
"""A stranger is a web server that knows nothing of nodes."""
RIGHT6 = "fd00:91::1"
HERE = ("192.168.90.254/24", "fd00:90::fe/64")
"""DHCP and DNS, and where next-server leads unless a cell names another one: no server is there."""
CARD, OTHER_CARD = "eno1", "eno2"
MACS = ("52:54:00:4d:51:01", "52:54:00:4d:51:02")
IDS = {UUID, *(mac.replace(":", "").upper() for mac in MACS)}
"""All that a server can know the node by."""
WEB_PORT = 8080
LINE, CREDENTIAL, SHIPPED = "/run/kernel-line", "/run/credstore/mk.server", "/run/shipped.toml"
SHIPPED_AS = "/usr/lib/mk/mk.toml"
CARDS = "/run/cards"
DROP_IN = f"[Service]\nBindReadOnlyPaths={LINE}:/proc/cmdline {CARDS}:/sys/class/net -{SHIPPED}:{SHIPPED_AS}\n"
LEFT = f"{LINE} {CARDS} {CREDENTIAL} {SHIPPED} /run/mkweb/*"
AS_A_CARD = f"""
for each in {CARD} {OTHER_CARD}; do
    test -e /sys/class/net/$each || continue
    mkdir -p {CARDS}/$each/device
    cd /sys/class/net/$each
    cp address ifindex mtu type {CARDS}/$each
    echo 1 > {CARDS}/$each/carrier
    echo up > {CARDS}/$each/operstate
done
"""
"""sysfs as it is where the cables' ends are cards: the other ones identify nobody, and Razor knows a node by nothing
else.
"""
EARLY = "[checkin]\nskew_s = 0\n"

URI, WRONG_URI, NAMED_URI = (f"http://{host}:{PORT}" for host in (RIGHT, WRONG, "provision.lab.test"))
DNS = ("--port=53", "--no-resolv", "--no-hosts", "--domain=lab.test", "--local=/lab.test/")
PROVISION = f"--host-record=provision.lab.test,{RIGHT}"
SERVICE = (*DNS, PROVISION, f"--srv-host=_mk._tcp.lab.test,provision.lab.test,{PORT}")
IMAGE_PATH = "hanlon/api/v1/image/mk/5vTdmGXAxa"
RUBBISH = 'smbios_uuid=["525400123456", "525400123457"]'
"""What a Hanlon 3 server prints where iPXE sent addresses alone: a Ruby array (B03)."""
RAZOR_LINE = "maxcpus=1 quiet console=ttyS0,115200"
HANLON_2_LINE = "maxcpus=1 debug"
HANLON_3_LINE = (
    "rancher.password=x rancher.cloud_init.datasources="
    f"['url:http://{RIGHT}:{WEB_PORT}/{IMAGE_PATH}/cloud-config'] {RUBBISH} quiet"
)
RAZOR_SERVER_LINE = (
    "rootflags=loop initrd=initrd0.img root=live:/microkernel.iso rootfstype=auto ro rd.live.image quiet acpi=force "
    f"rd.luks=0 rd.md=0 rd.dm=0 razor.register={WRONG_URI}/svc/checkin/7 razor.extend={WRONG_URI}/svc/mk/extension.zip"
)
CLOUD = f"""\
#cloud-config
write_files:
  - path: /container-tmp-files/mk_conf.yaml
    permissions: 644
    owner: root
    content: |
      mk_register_path: {BASE}/node/register
      mk_uri: {URI}
      mk_checkin_interval: 60
      mk_checkin_path: {BASE}/node/checkin
      mk_checkin_skew: 5
      mk_fact_excl_pattern: (^facter.*$)|(^id$)
      mk_log_level: Logger::ERROR
"""
PUSHED = MappingProxyType(
    {"mk_uri": URI, "mk_checkin_path": "/razor/api/node/checkin", "mk_register_path": "/razor/api/node/register"}
)
"""What a Razor server pushes of itself with each answer (protocol 2.3)."""
ALLOWED = '[apply]\nallow_push = ["mk_uri"]\n'


@dataclass(frozen=True)
class Cell:
    """What each source says. ``source``, ``uri``: how the node's ServerSource begins, and its ServerUri. ``network``,
    ``other``: options of the DHCP and DNS servers on the card's cable and on that of another card, if it is there.
    ``push``: what is pushed before mkctl is started. ``once``: what mkctl says exactly once, a pattern each.
    ``is_up``: the network is there before mkctl, as where mkctl is started again.
    """

    source: str
    uri: str = URI
    line: str = "quiet"
    network: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    site: str = ""
    credential: str = ""
    shipped: str = ""
    push: Mapping[str, object] = field(default_factory=dict)
    once: tuple[str, ...] = ()
    is_up: bool = False
    in_make_test: bool = False


def name(host: str, address: str) -> str:
    """The DNS's word for a host of the domain."""
    return f"--host-record={host}.lab.test,{address}"


def next_server(address: str) -> str:
    """The lease's next-server."""
    return f"--dhcp-boot=pxe,,{address}"


def site(uri: str) -> str:
    """The site's file with this server."""
    return f'[server]\nuri = "{uri}{BASE}"\n'


ALONE: Mapping[str, Cell] = {
    "razor-s-line": Cell("kernel line (razor.ip=)", line=f"{RAZOR_LINE} razor.ip={RIGHT}"),
    "razor-s-line-with-a-name": Cell(
        "kernel line (razor.server=)",
        NAMED_URI,
        f"{RAZOR_LINE} razor.server=provision.lab.test",
        (*DNS, PROVISION),
    ),
    "hanlon-2-s-line": Cell("kernel line (hanlon.ip=)", line=f"{HANLON_2_LINE} hanlon.ip={RIGHT}"),
    "hanlon-2-s-line-with-a-name": Cell(
        "kernel line (hanlon.server=)",
        NAMED_URI,
        f"{HANLON_2_LINE} hanlon.server=provision.lab.test",
        (*DNS, PROVISION),
    ),
    "hanlon-3-s-line": Cell("kernel line (cloud-config)", line=HANLON_3_LINE, in_make_test=True),
    "line-of-no-dialect": Cell("kernel line (mk.uri=)", line=f"quiet mk.uri={URI}"),
    "push": Cell("server's push", site=ALLOWED, push=PUSHED, is_up=True),
    "credential": Cell("credential mk.server", credential=URI + BASE),
    "site-file": Cell(OWN, site=site(URI)),
    "dhcp": Cell(f"DHCP option 224, {CARD}", network=said(RIGHT)),
    "dhcpv6": Cell("DHCPv6 vendor options", f"http://[{RIGHT6}]:{PORT}", network=(*RANGE6, vendor_options(RIGHT6))),
    "dns-service": Cell("DNS, _mk._tcp", NAMED_URI, network=SERVICE, in_make_test=True),
    "dns-name-hanlon": Cell("DNS name hanlon", f"http://hanlon:{PORT}", network=(*DNS, name("hanlon", RIGHT))),
    "dns-name-razor": Cell("DNS name razor", f"http://razor:{PORT}", network=(*DNS, name("razor", RIGHT))),
    "next-server-of-the-lease": Cell("next-server", network=(next_server(RIGHT),)),
    "next-server-of-the-line": Cell("next-server", line=f"quiet mk.next_server={RIGHT}"),
    "shipped-file": Cell(SHIPPED_AS, shipped=site(URI)),
}
CONFLICTS: Mapping[str, Cell] = {
    "kernel-line-against-dhcp": Cell(
        "kernel line (razor.ip=)", line=f"{RAZOR_LINE} razor.ip={RIGHT}", network=said(WRONG)
    ),
    "kernel-line-against-site-file": Cell(
        "kernel line (hanlon.ip=)", line=f"{HANLON_2_LINE} hanlon.ip={RIGHT}", site=site(WRONG_URI)
    ),
    "credential-against-dhcp": Cell("credential mk.server", credential=URI, network=said(WRONG)),
    "dhcp-against-dns-name": Cell(
        f"DHCP option 224, {CARD}", network=(*DNS, name("hanlon", WRONG), *said(RIGHT)), in_make_test=True
    ),
    "dns-name-against-dhcp-as-the-originals-had-it": Cell(
        "DNS name razor",
        f"http://razor:{PORT}",
        network=(*DNS, name("razor", RIGHT), *said(WRONG)),
        site='[discovery]\norder = "originals"\n',
    ),
    "dhcp-against-shipped-file": Cell(
        f"DHCP option 224, {CARD}", network=said(RIGHT), shipped=site(WRONG_URI), is_up=True
    ),
    "dns-service-against-next-server": Cell(
        "DNS, _mk._tcp", NAMED_URI, network=(*SERVICE, name("hanlon", WRONG), next_server(WRONG))
    ),
    "next-server-of-the-line-against-the-lease-s": Cell(
        "next-server", line=f"quiet mk.next_server={RIGHT}", network=(next_server(WRONG),)
    ),
    "push-against-kernel-line": Cell(
        "server's push", line=f"{RAZOR_LINE} razor.ip={WRONG}", site=ALLOWED, push=PUSHED, is_up=True
    ),
    "kernel-line-against-a-push-that-the-site-forbids": Cell(
        "kernel line (razor.ip=)", line=f"{RAZOR_LINE} razor.ip={RIGHT}", push={**PUSHED, "mk_uri": WRONG_URI}
    ),
}
BAD: Mapping[str, Cell] = {
    "dns-that-leads-to-this-machine": Cell(
        "next-server",
        network=(
            *(*DNS, name("hanlon", "127.0.0.1"), name("here", "127.0.0.1"), next_server(RIGHT)),
            "--srv-host=_mk._tcp.lab.test,here.lab.test,2156",  # where mkweb listens
        ),
        once=(
            r"DNS, hanlon: 127\.0\.0\.1 is not the address of a server: not used",
            r"http://here\.lab\.test:2156/.*: 127\.0\.0\.1 is not the address of a server",
        ),
    ),
    "name-that-is-a-web-server": Cell(
        "next-server",
        network=(*DNS, name("razor", STRANGER), next_server(RIGHT)),
        once=(r"http://razor:8026/razor/api/node/checkin.*: checkin refused: .*\(HTTP 404\)",),
    ),
    "next-server-that-is-a-web-server": Cell(
        SHIPPED_AS,
        network=(next_server(STRANGER),),
        shipped=site(URI),
        is_up=True,
        once=(rf"http://{STRANGER}:{PORT} speaks neither Hanlon's nor Razor's dialect",),
    ),
    "dhcp-servers-that-disagree": Cell(
        f"DHCP option 224, {CARD}",
        network=said(RIGHT),
        other=said("192.168.91.77"),
        once=(r"DHCP servers disagree about the server \(192\.168\.91\.77 on eno2, 192\.168\.90\.1 on eno1\)",),
    ),
    "line-of-razor-server": Cell(
        f"DHCP option 224, {CARD}",
        line=RAZOR_SERVER_LINE,
        network=said(RIGHT),
        once=(r"the razor-server protocol \(razor\.register=\) is not supported yet",),
    ),
}
RAZOR_SERVER = Cell("", line=RAZOR_SERVER_LINE)
CELLS: Mapping[str, Cell] = {**ALONE, **CONFLICTS, **BAD}


@contextlib.contextmanager
def boot(layers: list[Path]) -> Iterator[nspawn.Machine]:
    """Boot a machine without a card, nothing of the suite started, whose DNS is asked by resolved, as the image's."""
    *_, base = layers
    resolved, *_ = tree.make_layer("resolved", ("systemd-resolved",))
    with nspawn.boot("sources", [*layers[:-1], resolved, base], uuid=UUID, files=FILES) as machine:
        machine.run("systemd-sysusers")  # the layer with our packages knows no user of the other one's
        machine.run("systemctl", "restart", "systemd-resolved.service")
        machine.run("ln", "-sf", "/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
        machine.drop_in("mkctl.service", DROP_IN)
        machine.drop_in("systemd-networkd.service", "[Unit]\nStartLimitIntervalSec=0\n")  # started for each cell
        yield machine


@contextlib.contextmanager
def settle(cell: Cell, machine: nspawn.Machine, far: Segments) -> Iterator[Place]:
    """Write all down that this cell says, with the cards plugged in and DHCP ready; take it away in the end."""
    place = Place(machine, far)
    try:
        _write(cell, machine)
        if cell.other:  # its card comes first
            place.far.serve(place.plug(OTHER_CARD, OTHER4, mac=MACS[1]), OTHER_RANGE4, *cell.other)
        far.serve(place.plug(CARD, *HERE, mac=MACS[0]), RANGE4, *cell.network)
        machine.run("sh", "-ec", AS_A_CARD)
        yield place
    finally:
        place.clear()
        machine.run("sh", "-c", f"rm -rf {LEFT}")


def _write(cell: Cell, machine: nspawn.Machine) -> None:
    for path, text in (
        (LINE, f"{cell.line}\n"),
        (OWN, EARLY + cell.site),
        (CREDENTIAL, cell.credential),
        (SHIPPED, cell.shipped),
    ):
        if text:
            machine.write(path, text)
