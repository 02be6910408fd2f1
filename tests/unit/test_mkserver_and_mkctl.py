"""Both ends of the wire against each other: mkctl's dialects build and parse, mkserver answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mkserver_live import Live

from mkcore import config
from mkcore.errors import BadInput, ServerRefused
from mkcore.http import Answer, exchange
from mkcore.paths import Paths
from mkctl.candidate import Configured
from mkctl.cmdline import parse_cmdline
from mkctl.dialects import DIALECTS, Request, probe_requests, recognise
from mkctl.discovery import discover
from mkctl.identity import Identity
from mkserver import pushed
from mkserver.settings import DEFAULT_CMDLINE

IDENTITY = Identity("564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7", ("00:0c:29:c9:52:ba", "00:0c:29:c9:52:c4"))
FACTS: dict[str, Any] = {"hostname": "mk000C29C952BA", "is_virtual": True, "virtual": "kvm", "mk_hw_cpu_count": "2"}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A fresh server."""
    with Live(tmp_path, cmdline=DEFAULT_CMDLINE) as running:
        yield running


def _send(request: Request) -> Answer:
    return exchange(request.method, request.uri, headers=request.headers, body=request.body)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_nodes_first_minutes(live: Live, name: str) -> None:
    dialect, base = DIALECTS[name], f"http://{live.base}"

    def command(first: bool) -> str:
        return dialect.parse_checkin(
            _send(dialect.build_checkin(base + dialect.checkin_path, IDENTITY, first, "idle"))
        ).command

    assert command(True) == "register"
    request = dialect.build_registration(base + dialect.register_path, IDENTITY, FACTS, "idle")
    registered = dialect.parse_registration(_send(request))
    shown = live.get("/api/nodes/mk000C29C952BA").json
    assert (registered.node, registered.remark) == (shown["id"], "")
    assert shown["tags"][-2:] == ["cpus_2", "kvm_vm"]
    assert command(False) == "acknowledge"
    for order in ("register", "reboot", "poweroff"):
        live.send("POST", f"/api/nodes/{shown['id']}/orders", {"order": order})
        assert [command(False), command(False)] == [order, "acknowledge"]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_refused_registration_is_told_in_the_servers_words(live: Live, name: str) -> None:
    dialect = DIALECTS[name]
    request = dialect.build_registration(f"http://{live.base}{dialect.register_path}", Identity(), FACTS, "idle")
    with pytest.raises(ServerRefused) as refused:
        dialect.parse_registration(_send(request))
    assert refused.value.status == 400


def test_each_path_is_recognised_as_its_dialect(live: Live) -> None:
    for name, dialect in DIALECTS.items():
        (probe,) = probe_requests(f"http://{live.base}", dialect.checkin_path)
        found = recognise(_send(probe))
        assert found is not None
        assert found.name == name
    assert live.get("/api/nodes").json["nodes"] == [], "asking changed nothing"


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_an_unconfigured_node_finds_nothing_to_change(live: Live, tmp_path: Path, name: str) -> None:
    dialect = DIALECTS[name]
    uri = f"http://{live.base}{dialect.checkin_path}"
    reply = dialect.parse_checkin(_send(dialect.build_checkin(uri, IDENTITY, True, "idle")))
    site = config.read_site(Paths(etc=tmp_path / "etc", lib=tmp_path / "lib", credentials=tmp_path / "credentials"))
    effective = config.effective(site, {}, config.DIALECT_DEFAULTS[name])
    assert config.differs(reply.config or {}, effective) == []
    live.send("PATCH", "/api/config", {"set": {"mk_checkin_interval": 20}})
    reply = dialect.parse_checkin(_send(dialect.build_checkin(uri, IDENTITY, True, "idle")))
    assert config.differs(reply.config or {}, effective) == ["mk_checkin_interval"]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_kernel_line_of_a_boot_leads_back_in_its_dialect(live: Live, name: str, tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"k")
    with Live(tmp_path, kernel=tmp_path / "k", initrd=tmp_path / "k", cmdline=DEFAULT_CMDLINE) as booting:
        path = {"hanlon": "/hanlon/api/v1/boot?uuid=N1&dhcp_mac=x", "razor": "/razor/api/boot?hw_id=AA"}[name]
        line = re.search(r"^kernel \S+ (.*) \|\| goto error", booting.get(path).text, re.MULTILINE)
        assert line
        found = discover(parse_cmdline(line.group(1)), "", "", Configured())
        assert found.candidates[0].uri == f"http://{booting.base}"
        assert found.candidates[0].dialect is not None
        assert found.candidates[0].dialect.name == name


def test_the_server_accepts_exactly_what_nodes_accept(tmp_path: Path) -> None:
    """Ranges of pushed numbers are the node's own: what passes here is never refused there."""
    site = config.read_site(Paths(etc=tmp_path / "etc", lib=tmp_path / "lib", credentials=tmp_path / "credentials"))
    for key, value in (("mk_checkin_interval", 1), ("mk_checkin_interval", 3600), ("mk_checkin_skew", 300)):
        assert pushed.check_value(key, value) == value
        config.validate_push({key: value}, site)
    for key, refused in (("mk_checkin_interval", 0), ("mk_checkin_interval", 3601), ("mk_checkin_skew", 301)):
        with pytest.raises(BadInput):
            pushed.check_value(key, refused)
        with pytest.raises(BadInput):
            config.validate_push({key: refused}, site)
