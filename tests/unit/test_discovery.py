"""The server's address from kernel line, push, credential, configuration (rows 9, 10, 14; B04, B05; protocol 1.2)."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkctl.addresses import parse_uri
from mkctl.candidate import Candidate, Configured, Found
from mkctl.cmdline import parse_cmdline
from mkctl.dialects import HANLON, RAZOR, Dialect
from mkctl.discovery import discover

NOTHING = Configured()


def look(line: str, pushed: str = "", credential: str = "", configured: Configured = NOTHING) -> Found:
    return discover(parse_cmdline(line), pushed, credential, configured)


@pytest.mark.parametrize(
    ("line", "uri", "dialect", "base"),
    [
        ("razor.ip=192.0.2.1", "http://192.0.2.1:8026", RAZOR, ""),
        ("hanlon.ip=192.0.2.1", "http://192.0.2.1:8026", HANLON, ""),
        ("mk.ip=192.0.2.1", "http://192.0.2.1:8026", None, ""),
        ("razor.server=Provision.Example.NET", "http://provision.example.net:8026", RAZOR, ""),
        ("hanlon.server=hanlon", "http://hanlon:8026", HANLON, ""),
        ("mk.server=a_b-c.example", "http://a_b-c.example:8026", None, ""),
        ("hanlon.ip=192.0.2.1 hanlon.port=8080", "http://192.0.2.1:8080", HANLON, ""),
        ("hanlon.ip=192.0.2.1 hanlon.base_uri=/x/api/v1", "http://192.0.2.1:8026", HANLON, "/x/api/v1"),
        ("mk.ip=192.0.2.1 mk.base_uri=hanlon/api/v1/", "http://192.0.2.1:8026", HANLON, "/hanlon/api/v1"),
        ("mk.uri=http://192.0.2.1:9000/razor/api", "http://192.0.2.1:9000", RAZOR, "/razor/api"),
        ("mk.uri=https://boot.example.net", "https://boot.example.net", None, ""),
        ("razor.uri=http://192.0.2.1:9000/", "http://192.0.2.1:9000", RAZOR, ""),
        ("mk.ip=2001:db8::1", "http://[2001:db8::1]:8026", None, ""),
        ("mk.ip=[2001:DB8::1] mk.port=80", "http://[2001:db8::1]:80", None, ""),
        ("mk.uri=http://[2001:db8::1]:8026/hanlon/api/v1", "http://[2001:db8::1]:8026", HANLON, "/hanlon/api/v1"),
        ("mk.ip=127.0.0.1", "http://127.0.0.1:8026", None, ""),
        ("mk.ip=169.254.1.1", "http://169.254.1.1:8026", None, ""),
        ("mk.ip=192.0.2.1 smbios_uuid=564d0c5d-0000-0000-0000-000000000001", "http://192.0.2.1:8026", HANLON, ""),
        ("razor.ip=192.0.2.1 smbios_uuid=564d0c5d-0000-0000-0000-000000000001", "http://192.0.2.1:8026", RAZOR, ""),
        ("hanlon.server=a hanlon.server=b", "http://b:8026", HANLON, ""),
        ('mk.uri="http://192.0.2.1:1"', "http://192.0.2.1:1", None, ""),
    ],
)
def test_kernel_line(line: str, uri: str, dialect: Optional[Dialect], base: str) -> None:
    found = look(line)
    assert [(each.uri, each.dialect, each.base_path) for each in found.candidates] == [(uri, dialect, base)]
    assert found.problems == ()
    assert found.candidates[0].source.startswith("kernel line (")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("razor.ip=192.0.2.1 razor.ip=192.0.2.2", "razor.ip= is given 2 times"),
        ("razor.ip=", "razor.ip= is empty"),
        ("hanlon.ip=0.0.0.0", "0.0.0.0 is not the address of a server"),
        ("hanlon.ip=::", ":: is not the address"),
        ("hanlon.ip=224.0.0.1", "224.0.0.1 is not the address"),
        ("hanlon.ip=255.255.255.255", "255.255.255.255 is not the address"),
        ("hanlon.ip=fe80::1%eth0", "is not the address of a server"),
        ("hanlon.ip=false", "'false' is no IP address"),
        ("hanlon.ip=1.2.3", "'1.2.3' is no IP address"),
        ("hanlon.server=-x", "'-x' is no host name"),
        ("hanlon.server=a..b", "no host name"),
        ("hanlon.server=" + "a" * 64, "no host name"),
        ("hanlon.ip=192.0.2.1 hanlon.port=0", "hanlon.port=0 is no port"),
        ("hanlon.ip=192.0.2.1 hanlon.port=65536", "hanlon.port=65536 is no port"),
        ("hanlon.ip=192.0.2.1 hanlon.port=+80", "hanlon.port=+80 is no port"),
        ("hanlon.ip=192.0.2.1 hanlon.port=http", "is no port"),
        ("hanlon.ip=192.0.2.1 hanlon.base_uri=/a/../b", "is no path"),
        ("hanlon.ip=192.0.2.1 hanlon.base_uri=/a?b", "is no path"),
        ("hanlon.port=80", "hanlon.port= without hanlon.ip= or hanlon.server="),
        ("mk.uri=ftp://192.0.2.1", "mk.uri=: 'ftp://192.0.2.1' is no address that begins with http:// or https://"),
        ("mk.uri=192.0.2.1:8026", "is no address that begins with http:// or https://"),
        ("mk.uri=http://", "no host name"),
        ("mk.uri=http://0.0.0.0:80", "0.0.0.0 is not the address"),
        ("mk.uri=http://1234", "'1234' is no IP address"),
        ("mk.uri=http://u:p@192.0.2.1", "only scheme, host, port and path"),
        ("mk.uri=http://192.0.2.1/?a=b", "only scheme, host, port and path"),
        ("mk.uri=http://192.0.2.1:99999", "HOST:PORT with a port of 1 to 65535 is needed"),
        ("mk.uri=http://192.0.2.1:0", "port 0 is out of range"),
        ("mk.uri=http://[::1", "HOST or HOST:PORT"),
        ("mk.uri=http://2001:db8::10:8026", "IPv6 stands in brackets"),
        ("mk.ip=192.0.2.1:8026", "mk.ip=: '192.0.2.1:8026' is no IP address (its port belongs in mk.port=)"),
        ("razor.server=boot:8026", "(its port belongs in razor.port=)"),
        ("mk.server=http://192.0.2.1", "mk.server=: 'http://192.0.2.1' is no host name (mk.uri= takes such)"),
        ("mk.url=http://192.0.2.1", "mk.url= is not known here (mk.ip=, mk.server=, mk.port=, mk.base_uri=, mk.uri="),
        ("mk.adress", "mk.adress= is not known here"),
        ("MK.IP=192.0.2.1", "MK.IP= is not read, mk.ip= would be"),
        ("mk.Fingerprint=00", "mk.Fingerprint= is not read, mk.fingerprint= would be"),
        ("Hanlon.ip=192.0.2.1", "Hanlon.ip= is not read, hanlon.ip= would be"),
    ],
)
def test_what_cannot_be_used_is_one_line(line: str, problem: str) -> None:
    found = look(line)
    assert found.candidates == ()
    (only,) = found.problems
    assert problem in only.text
    assert "\n" not in only.text
    assert "not used" in only.text or "none of them is used" in only.text
    assert only.written and not only.unsupported


@pytest.mark.parametrize(
    "line", ["mk.root=http://x mk.sshkey=y mk.fingerprint=z", "razor.extend=x hanlon.more=y z.mk.a mk quiet"]
)
def test_what_others_read_is_no_problem(line: str) -> None:
    """Words of ours that count elsewhere, and what other servers' lines say beside an address."""
    assert look(line) == Found()


def test_b04_only_whole_names_count() -> None:
    assert look("xrazor.ip=192.0.2.1 razor_ip=192.0.2.1 razorXip=192.0.2.1 razor.ip.x=192.0.2.1") == Found()


@pytest.mark.parametrize("line", ["razor.register=http://razor:8080/svc", "RAZOR.Register=x", "razor.register="])
def test_razor_server_is_answered_once(line: str) -> None:
    found = look(line)
    (only,) = found.problems
    assert only.text == "the razor-server protocol (razor.register=) is not supported yet"
    assert only.unsupported
    assert look(line + " mk.ip=192.0.2.1").candidates[0].uri == "http://192.0.2.1:8026"


def test_order_of_the_sources() -> None:
    found = look(
        "razor.ip=192.0.2.3 hanlon.ip=192.0.2.2 mk.ip=192.0.2.1",
        pushed="http://192.0.2.9:8026",
        credential="http://192.0.2.4:8026\n",
        configured=Configured(uri="http://192.0.2.5:8026", source="/etc/mk/mk.toml"),
    )
    assert [each.uri[-6] for each in found.candidates] == ["9", "1", "2", "3", "4", "5"]
    assert [each.source for each in found.candidates] == [
        "server's push",
        "kernel line (mk.ip=)",
        "kernel line (hanlon.ip=)",
        "kernel line (razor.ip=)",
        "credential mk.server",
        "/etc/mk/mk.toml",
    ]


def test_within_a_prefix_uri_beats_ip_beats_name() -> None:
    found = look("mk.server=name mk.ip=192.0.2.1 mk.uri=http://u mk.port=8080")
    assert found.candidates[0].uri == "http://u"
    assert [each.text for each in found.problems] == [
        "kernel line: mk.ip=, mk.server=, mk.port= beside mk.uri=: not used"
    ]
    assert look("mk.uri=http://u mk.base_uri=/b").problems == ()
    assert look("mk.server=name mk.ip=192.0.2.1").candidates[0].uri == "http://192.0.2.1:8026"


def test_a_bad_source_does_not_hide_the_next() -> None:
    found = look("razor.ip=nonsense", credential="http://192.0.2.4:8026")
    assert [each.uri for each in found.candidates] == ["http://192.0.2.4:8026"]
    assert len(found.problems) == 1


def test_b05_nothing_found_is_nothing_and_never_a_host_called_false() -> None:
    assert look("quiet") == Found()


@pytest.mark.parametrize(
    ("configured", "line", "dialect", "checkin", "register"),
    [
        (
            Configured("http://s"),
            "",
            HANLON,
            "http://s/hanlon/api/v1/node/checkin",
            "http://s/hanlon/api/v1/node/register",
        ),
        (Configured("http://s"), "", RAZOR, "http://s/razor/api/node/checkin", "http://s/razor/api/node/register"),
        (Configured("http://s/api/v9"), "", HANLON, "http://s/api/v9/node/checkin", "http://s/api/v9/node/register"),
        (
            Configured("http://s", checkin_path="/c", register_path="/r"),
            "mk.ip=192.0.2.1",
            RAZOR,
            "http://192.0.2.1:8026/c",
            "http://192.0.2.1:8026/r",
        ),
        (
            Configured("http://s", checkin_path="/c", register_path="/r"),
            "mk.ip=192.0.2.1 mk.base_uri=/b",
            RAZOR,
            "http://192.0.2.1:8026/b/node/checkin",
            "http://192.0.2.1:8026/b/node/register",
        ),
    ],
)
def test_routes(configured: Configured, line: str, dialect: Dialect, checkin: str, register: str) -> None:
    routes = look(line, configured=configured).candidates[0].routes(dialect)
    assert (routes.checkin, routes.register) == (checkin, register)


@pytest.mark.parametrize(
    ("configured", "dialect"),
    [
        (Configured("http://s"), None),
        (Configured("http://s", dialect="razor"), RAZOR),
        (Configured("http://s", dialect="hanlon"), HANLON),
        (Configured("http://s", checkin_path="/razor/api/node/checkin"), RAZOR),
        (Configured("http://s", checkin_path="/hanlon/api/v1/node/checkin"), HANLON),
        (Configured("http://s", checkin_path="/other/api/v1/node/checkin"), HANLON),
        (Configured("http://s", checkin_path="/elsewhere"), None),
        (Configured("http://s", checkin_path="/razor/api/node/checkin", dialect="hanlon"), HANLON),
    ],
)
def test_dialect_of_a_configured_address(configured: Configured, dialect: Optional[Dialect]) -> None:
    assert look("", configured=configured).candidates[0].dialect == dialect


def test_the_configured_dialect_beats_what_hanlon_s_word_betrays() -> None:
    found = look("smbios_uuid=4C4C4544 mk.ip=192.0.2.1", configured=Configured(dialect="razor"))
    assert found.candidates[0].dialect is RAZOR
    assert look("smbios_uuid=4C4C4544 mk.ip=192.0.2.1").candidates[0].dialect is HANLON


def test_the_kernel_lines_prefix_beats_the_configured_dialect() -> None:
    assert look("hanlon.ip=192.0.2.1", configured=Configured(dialect="razor")).candidates[0].dialect is HANLON


def test_probes_of_a_silent_source() -> None:
    assert [each.uri for each in Candidate("http://s", "x").probes()] == [
        "http://s/hanlon/api/v1/node/checkin",
        "http://s/razor/api/node/checkin",
    ]
    assert [each.uri for each in Candidate("http://s", "x", base_path="/b").probes()] == ["http://s/b/node/checkin"]
    assert [each.uri for each in Candidate("http://s", "x", checkin_path="/c").probes()] == ["http://s/c"]
    assert all(each.method == "GET" and each.body is None for each in Candidate("http://s", "x").probes())


@given(st.text(max_size=80))
def test_parse_uri_raises_only_bad_input(text: str) -> None:
    for uri in (text, "http://" + text):
        try:
            address, base = parse_uri(uri)
        except BadInput as error:
            assert "\n" not in str(error)
            continue
        assert address.startswith(("http://", "https://"))
        assert not base or base.startswith("/")
        assert parse_uri(address + base) == (address, base)


PREFIX = st.sampled_from(["razor.", "hanlon.", "mk."])
KEY = st.sampled_from(["ip", "server", "port", "base_uri", "uri", "register"])


@given(st.lists(st.tuples(PREFIX, KEY, st.text(max_size=20)), max_size=5))
def test_any_kernel_line_gives_candidates_or_lines(parts: list[tuple[str, str, str]]) -> None:
    found = look(" ".join(f"{prefix}{key}={value}" for prefix, key, value in parts))
    assert all("\n" not in each.text for each in found.problems)
