"""The kernel lines that Razor, Hanlon 2, Hanlon 3 and razor-server send (protocol 1.1), word by word: what each means.

iPXE hands a line over as it stands behind the kernel's address; what follows here begins there.
"""

from __future__ import annotations

import pytest

from mkcore.placeholders import is_junk_uuid
from mkctl.candidate import Configured, Problem
from mkctl.cloudconfig import CloudConfig, find_sources
from mkctl.cmdline import parse_cmdline
from mkctl.dialects import HANLON, RAZOR, Dialect
from mkctl.discovery import NOT_SUPPORTED, discover
from mkctl.hints import Hints, Lease
from mkctl.identity import choose_uuid

ADDRESS = "192.168.66.254"
SERVER = f"http://{ADDRESS}:8026"
UUID = "564D6F5C-0D9E-4A3B-9C1D-000C29C952BA"
OWN = "4C4C4544-0042-3510-8052-B4C04F4E4D31"
CLOUD = f"http://{ADDRESS}:8026/hanlon/api/v1/image/mk/6kBEJlOTb1mMuRQvtQXnaM/cloud-config"
DATASOURCES = f"rancher.cloud_init.datasources=['url:{CLOUD}']"
SAID = CloudConfig(SERVER, "/hanlon/api/v1/node/checkin", "/hanlon/api/v1/node/register")
NEXT_SERVER = Hints(next_server=ADDRESS)
OPTIONS = Hints(leases=(Lease("eno1", server=ADDRESS, port=8026, base_uri="/hanlon/api/v1"),))

LINES: dict[str, tuple[str, Hints, str, Dialect | None]] = {
    "razor": ("maxcpus=1", Hints(names=("razor",)), "http://razor:8026", RAZOR),
    "razor quiet": ("maxcpus=1 quiet", Hints(names=("razor",)), "http://razor:8026", RAZOR),
    "razor debug, next-server": ("maxcpus=1 debug", NEXT_SERVER, SERVER, None),
    "razor, console and address": (
        f"maxcpus=1 quiet console=tty0 console=ttyS1,115200n8 razor.ip={ADDRESS}",
        Hints(),
        SERVER,
        RAZOR,
    ),
    "razor, name": ("maxcpus=1 razor.server=provision", Hints(), "http://provision:8026", RAZOR),
    "hanlon 2": ("maxcpus=1", OPTIONS, SERVER, HANLON),
    "hanlon 2 debug, address": (f"maxcpus=1 debug hanlon.ip={ADDRESS}", Hints(), SERVER, HANLON),
    "hanlon 2, name in the DNS": ("maxcpus=1 quiet", Hints(names=("hanlon",)), "http://hanlon:8026", HANLON),
    "hanlon 2, name": ("maxcpus=1 hanlon.server=box.example", Hints(), "http://box.example:8026", HANLON),
    "hanlon 3": (f"{DATASOURCES} smbios_uuid={UUID}", Hints(cloud=SAID), SERVER, HANLON),
    "hanlon 3 with all": (
        f"rancher.password=s3cret {DATASOURCES} smbios_uuid={UUID} quiet console=ttyS0,115200",
        Hints(cloud=SAID),
        SERVER,
        HANLON,
    ),
    "hanlon 3, cloud-config gone": (f"{DATASOURCES} smbios_uuid={UUID} debug", NEXT_SERVER, SERVER, HANLON),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_leads_to_its_server(name: str) -> None:
    line, hints, uri, dialect = LINES[name]
    found = discover(parse_cmdline(line), "", "", Configured(), hints)
    first = found.in_turn[0]
    assert (first.uri, first.dialect, found.problems) == (uri, dialect, ())
    assert first.routes(HANLON).checkin in (f"{uri}/hanlon/api/v1/node/checkin",)


@pytest.mark.parametrize("name", [name for name in LINES if name.startswith("hanlon 3")])
def test_hanlon_3_says_who_the_node_is_and_where_its_configuration_lies(name: str) -> None:
    tokens = parse_cmdline(LINES[name][0])
    assert find_sources(tokens) == (CLOUD,)
    assert choose_uuid(tokens, OWN) == (UUID, "kernel line", ())


@pytest.mark.parametrize("debug", ["", "quiet ", "debug "])
def test_razor_server_is_named_as_not_supported_yet(debug: str) -> None:
    base = f"http://{ADDRESS}:8080"
    line = (
        "rootflags=loop initrd=initrd0.img root=live:/microkernel.iso rootfstype=auto ro rd.live.image "
        f"{debug}acpi=force rd.luks=0 rd.md=0 rd.dm=0 razor.register={base}/svc/checkin/7 "
        f"razor.extend={base}/svc/mk/extension.zip console=ttyS0"
    )
    found = discover(parse_cmdline(line), "", "", Configured())
    assert found.candidates == () and found.problems == (Problem(NOT_SUPPORTED, unsupported=True, written=True),)
    other = discover(parse_cmdline(line), "", "", Configured(), OPTIONS)  # who is there is spoken to all the same
    assert [each.uri for each in other.in_turn] == [SERVER]


# What Ruby prints for the addresses of a node whose firmware has no UUID, and for a node that is known by two values.
RUBBISH = (
    '["000C29C952BA", "000C29C952C4"]',
    '["000C29C952BA"]',
    "[]",
    '["000C29C952BA", "", "", "", "", "", "", ""]',
    '["", ""]',
    f"{UUID}_000C29C952BA",
    "000C29C952BA_000C29C952C4",
    "",
)


@pytest.mark.parametrize("rubbish", RUBBISH)
@pytest.mark.parametrize("extra", ["", " quiet hanlon.ip=192.168.66.254", " debug console=ttyS0,115200"])
def test_b03_rubbish_is_no_identity_and_spoils_nothing(rubbish: str, extra: str) -> None:
    tokens = parse_cmdline(f"{DATASOURCES} smbios_uuid={rubbish}{extra}")
    uuid, source, reasons = choose_uuid(tokens, OWN)
    assert (uuid, source) == (OWN, "sysfs")
    assert len(reasons) == (1 if rubbish else 0) and all("smbios_uuid= is no UUID" in each for each in reasons)
    assert choose_uuid(tokens, "")[0] == "" and not is_junk_uuid(OWN)
    found = discover(tokens, "", "", Configured(), Hints(cloud=SAID))
    assert [each.uri for each in found.in_turn] == [SERVER] * len(found.in_turn) and found.in_turn
    assert find_sources(tokens) == (CLOUD,)
