"""The cloud-config of a Hanlon 3 server: what counts of it, what is wrong with others, and what is asked next."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Optional

import pytest

from mkcore.errors import BadInput, BusFailed
from mkcore.paths import paths_under
from mkcore.trust import Trust
from mkctl.candidate import Configured
from mkctl.cloudconfig import LIMIT_BYTES, CloudConfig, find_sources, parse_cloud_config
from mkctl.cmdline import parse_cmdline
from mkctl.dialects import HANLON
from mkctl.discovery import discover
from mkctl.hints import Hints
from mkctl.seeker import Seeker
from tests.fakes import WireServer, json_answer
from tests.unit.tls_server import Authority, TlsServer

# In the form of protocol 1.6 and 2.1, with what stands around it there.
TEXT = """#cloud-config
rancher:
  console: default
coreos:
  units:
    - name: "hanlonmk.service"
      content: |
        [Unit]
        write_files: none
write_files:
  - path: /container-tmp-files/first_checkin.yaml
    permissions: 644
    owner: root
    content: |
      --- true
  - path: /container-tmp-files/mk_conf.yaml
    permissions: 644
    owner: root
    content: |
      mk_register_path: /hanlon/api/v1/node/register
      mk_uri: http://192.0.2.1:8026
      mk_checkin_interval: 60
      mk_checkin_path: /hanlon/api/v1/node/checkin
      mk_checkin_skew: 5
      mk_fact_excl_pattern: (^facter.*$)|(^id$)|(.*json_str$)
      mk_log_level: Logger::ERROR

  - path: /container-tmp-files/mk-version.yaml
    content: |
      ---
      mk_version: 3.0.1_dirty
  - path: /opt/rancher/bin/start-mk.sh
    permissions: 755
    content: |
      #!/bin/bash
      while true; do echo "mk_uri: http://other"; done
ssh_authorized_keys:
  - ssh-ed25519 AAAA me
"""
SAID = CloudConfig(
    "http://192.0.2.1:8026", "/hanlon/api/v1/node/checkin", "/hanlon/api/v1/node/register", version="3.0.1_dirty"
)


def test_the_server_and_its_paths_count() -> None:
    assert parse_cloud_config(TEXT) == SAID
    assert parse_cloud_config(TEXT.replace("\n", "\r\n")) == SAID


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("#cloud-config", "<html>", "line 1: '<html>' is not #cloud-config"),
        ("write_files:\n  - path: /container-tmp-files/first", "other:\n  - path: /first", "there is no write_files"),
        ("mk_conf.yaml", "mk.yaml", "it writes no mk_conf.yaml"),
        ("      mk_uri: http://192.0.2.1:8026\n", "", "mk_conf.yaml: there is no mk_uri"),
        ("http://192.0.2.1:8026", "false", 'mk_conf.yaml: mk_uri: "false" is not a http:// or https:// URI'),
        ("http://192.0.2.1:8026", "[1, 2]", "mk_conf.yaml: line 2: '[1, 2]' is not a plain value"),
        ("http://192.0.2.1:8026", "http://0.0.0.0:8026", "0.0.0.0 is not the address of a server"),
        ("interval: 60", "interval: often", 'mk_conf.yaml: mk_checkin_interval: "often" is not in 1..3600'),
        ("interval: 60", "interval: 0", 'mk_conf.yaml: mk_checkin_interval: "0" is not in 1..3600'),
        ("interval: 60", "interval 60", "mk_conf.yaml: line 3: 'mk_checkin_interval 60' is no setting"),
        ("    owner: root\n", "\towner: root\n", "line 13: 'owner: root' is not what a cloud-config has there"),
        ("    permissions: 644\n", "    {{{\n", "line 12: '{{{' is not what a cloud-config has there"),
    ],
)
def test_what_is_wrong_is_one_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(BadInput) as caught:
        parse_cloud_config(TEXT.replace(old, new))
    assert str(caught.value) == said


@pytest.mark.parametrize("size", range(0, len(TEXT), 7))
def test_half_of_one_is_refused_or_says_the_same_server(size: int) -> None:
    try:
        said = parse_cloud_config(TEXT[:size])
    except BadInput:
        return
    assert said.uri.startswith("http://192.0.2.1"[: len(said.uri)])


def no_bus() -> Any:
    raise BusFailed("no connection to the system bus")


def look(tmp_path: Path, line: str, trust: Optional[Trust] = None) -> Hints:
    """Look once without a bus, where the DNS knows `razor` alone."""

    async def once() -> Hints:
        seeker = Seeker(
            paths_under(str(tmp_path)),
            parse_cmdline(line),
            no_bus,
            ready=lambda: asyncio.sleep(0),
            needed=lambda: True,
            beyond=lambda: False,
            wide=lambda: False,
            lost=lambda: False,
            in_contact=lambda: False,
            found=lambda: None,
            trust=lambda: trust or Trust(),
            resolve=lambda name: ["192.0.2.9"] if name == "razor" else [],
        )
        await seeker.look()
        return seeker.hints

    return asyncio.run(once())  # made inside, as its events belong to the loop


def kernel_line(server: WireServer | TlsServer) -> str:
    uri = f"{server.uri}/hanlon/api/v1/image/mk/abc/cloud-config"
    return f"rancher.password=x rancher.cloud_init.datasources=['url:{uri}'] smbios_uuid=564D0000-0001 quiet"


def test_a_kernel_line_of_hanlon_3_names_the_server(tmp_path: Path) -> None:
    with WireServer(json_answer(TEXT.encode())) as server:
        line = kernel_line(server)
        assert find_sources(parse_cmdline(line)) == (f"{server.uri}/hanlon/api/v1/image/mk/abc/cloud-config",)
        hints = look(tmp_path, line)
    assert (hints.cloud, hints.problems, hints.names) == (SAID, (), ())
    (candidate,) = discover(parse_cmdline(line), "", "", Configured(), hints).in_turn
    assert (candidate.uri, candidate.dialect, candidate.source) == (SAID.uri, HANLON, "kernel line (cloud-config)")
    assert candidate.routes(HANLON).register == SAID.uri + SAID.register_path


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json_answer(b"{]"), "line 1: '{]' is not #cloud-config"),
        (json_answer(b"#cloud-config\nwrite_files:\n  - path: /x\n" + b"#" * 10_000_000), "larger than 256000 bytes"),
        (json_answer(b"#cloud-config\n\xff"), "not UTF-8 at byte 14"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "status 403"),
        (json_answer(TEXT.replace("http://192.0.2.1:8026", "[1]").encode()), "is not a plain value"),
    ],
    ids=["no-yaml", "10-mb", "no-text", "refused", "wrong-type"],
)
def test_a_bad_one_is_one_line_and_the_next_source_counts(tmp_path: Path, answer: bytes, said: str) -> None:
    with WireServer(answer) as server:
        hints = look(tmp_path, kernel_line(server))
        assert hints.cloud is None and hints.names == ("razor",)
        (line,) = hints.problems
        assert line.startswith(f"cloud-config: {server.uri}/hanlon/api/v1/image/mk/abc/cloud-config: ")
        assert said in line and line.endswith(": not used")
        found = discover(parse_cmdline(kernel_line(server)), "", "", Configured(), hints)
    assert [each.uri for each in found.candidates] == ["http://razor:8026"]
    assert [each.text for each in found.problems] == [line]


def test_one_behind_tls_is_known_as_the_server_is(tmp_path: Path) -> None:
    """By the site's CA or the pinned certificate; without them it is refused like any other."""
    ca = Authority(tmp_path / "ca")
    with TlsServer(*ca.issue("cloud"), body=TEXT.encode()) as server:
        line = kernel_line(server)
        assert look(tmp_path, line, Trust(ca=str(ca.root))).cloud == SAID
        hints = look(tmp_path, line)
        assert hints.cloud is None and "unable to get local issuer certificate" in hints.problems[0]


def test_the_password_of_one_is_not_shown(tmp_path: Path) -> None:
    with WireServer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as server:
        line = f"rancher.cloud_init.datasources=['url:http://me:geheim@127.0.0.1:{server.port}/cloud-config']"
        (problem,) = look(tmp_path, line).problems
    assert problem == f"cloud-config: http://***@127.0.0.1:{server.port}/cloud-config: status 403: not used"


def test_blanks_cost_no_more_than_their_length() -> None:
    """A quarter of a megabyte of blanks once held mkctl's whole loop for longer than its watchdog waits."""
    blanks = " " * (LIMIT_BYTES // 2)
    text = (
        f"#cloud-config\nwrite_files:\n  - path: /mk_conf.yaml{blanks}\n"
        f"    content: |\n      mk_uri: http://192.0.2.1{blanks}\n"
    )
    began = time.process_time()
    assert parse_cloud_config(text).uri == "http://192.0.2.1"
    with pytest.raises(BadInput):
        parse_cloud_config(text.replace(blanks + "\n    c", blanks + "x: [\n    c"))
    assert time.process_time() - began < 10, "minutes, where it costs the square"
