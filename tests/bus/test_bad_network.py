"""What the network says and cannot be meant: each is one line however often it is said, and the next source counts.

The daemon is the real one; networkd and resolved are stand-ins on a private bus, since no real DHCP server can be made
to say all of this. The next source is the file that a package ships, which counts least. (B05, B13; protocol 1.3.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.bus.harness import FakeSystemd, Node, wait_until
from tests.bus.server import Server
from tests.fakes import WireServer, json_answer

LOOKS = 4


@dataclass(frozen=True)
class Bad:
    """What is said, and the one line that follows. options: of DHCP, number -> hexadecimal bytes."""

    line: str
    options: Mapping[int, str] = field(default_factory=dict)
    services: tuple[tuple[int, int, int, str], ...] = ()
    lease: str = ""
    cloud: bytes = b""


BAD: Mapping[str, Bad] = {
    "short-server": Bad(r"DHCP on eno7: option 224: 3 bytes instead of 4: not used", {224: "c0a842"}),
    "long-server": Bad(r"DHCP on eno7: option 224: 8 bytes instead of 4: not used", {224: "c0a842fec0a842fd"}),
    "no-address": Bad(r"option 224: 0\.0\.0\.0 is not the address of a server: not used", {224: "00000000"}),
    "link-local": Bad(r"option 224: 169\.254\.1\.1 is not the address of a server: not used", {224: "a9fe0101"}),
    "loopback": Bad(r"option 224: 127\.9\.9\.9 is not the address of a server: not used", {224: "7f090909"}),
    "port-0": Bad(r"option 225: 0000 is no port \(two bytes, not 0\): not used", {225: "0000"}),
    "base-not-ascii": Bad(r"option 226: the byte 0xe4 is not ASCII: not used", {226: "2fe4"}),
    "no-hexadecimal": Bad(r"interface 7: option 224 is not hexadecimal: not used", {224: "zz"}),
    "service-without-a-port": Bad(
        r"DNS, _mk\._tcp: port 0 of mk\.example is out of range: not used", services=((0, 0, 0, "mk.example"),)
    ),
    "next-server-that-is-this-machine": Bad(
        r"next-server of interface 7's lease: 127\.0\.0\.1 is not the address of a server: not used", lease="127.0.0.1"
    ),
    "cloud-config-that-is-none": Bad(r"cloud-config: .*: line 1: '\{\]' is not #cloud-config: not used", cloud=b"{]"),
    "cloud-config-of-10-mb": Bad(
        r"cloud-config: .*: the answer is larger than 256000 bytes: not used",
        cloud=b"#cloud-config\n" + b"#" * 10_000_000,
    ),
}


def describe(options: Mapping[int, str]) -> str:
    """networkd's description of one card with a lease."""
    private = [{"Option": number, "PrivateOptionData": data} for number, data in options.items()]
    card: dict[str, Any] = {
        "Index": 7,
        "Name": "eno7",
        "Type": "ether",
        "OperationalState": "routable",
        "SearchDomains": [{"Domain": "example"}],
        "DHCPv4Client": {"PrivateOptions": private},
    }
    return json.dumps({"Interfaces": [card]})


@pytest.mark.parametrize("name", BAD)
def test_it_is_one_line_and_the_next_source_counts(node: Node, systemd: FakeSystemd, server: Server, name: str) -> None:
    bad = BAD[name]
    systemd.network, systemd.services = describe(bad.options), list(bad.services)
    server.commands = ["register"]
    node.write(
        "etc/mk/mk.toml", '[checkin]\nskew_s = 0\ninterval_s = 3600\nretry_ceiling_s = 1\n[log]\nlevel = "INFO"\n'
    )
    node.write("usr/lib/mk/mk.toml", f'server.uri = "{server.uri}"\n')
    if bad.lease:
        node.write("run/systemd/netif/leases/7", f"NEXT_SERVER={bad.lease}\n")
    with WireServer(json_answer(bad.cloud)) as cloud:
        if bad.cloud:
            node.write("proc/cmdline", f"rancher.cloud_init.datasources=['url:{cloud.uri}/cloud-config']\n")
        with node.daemon() as daemon:
            wait_until(lambda: node.status().get("registered_digest"), "a registration by the next source")

            def told() -> list[str]:
                assert node.call("CheckIn").returncode == 0
                return daemon.said(bad.line)

            wait_until(told, bad.line)
            for number in range(LOOKS):
                systemd.network = describe({**bad.options, 1: f"{number:02x}"})
                systemd.network_changed()
                assert node.call("CheckIn").returncode == 0
            assert len(daemon.said(bad.line)) == 1, daemon.lines
        assert node.status()["server_uri"] == server.uri
