"""Who is let in to page and API: this machine by a loopback name, or the password; and what other sites may not do."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from mkserver_live import Live

from mkcore.errors import BadConfig, BadInput
from mkserver import auth
from mkserver.serve import check_exposure, check_image, parse_listen
from mkserver.settings import Settings

NODE = "N1"
PEOPLE = ["/", "/api/nodes", "/api/version", "/config", f"/nodes/{NODE}", "/static/mkserver.css", "/fragment/nodes"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A server with one node."""
    with Live(tmp_path) as running:
        running.register(NODE, {"a": "b"})
        yield running


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize("path", PEOPLE)
def test_without_a_password_only_loopback_names_are_let_in(live: Live, path: str) -> None:
    assert live.get(path).status == 200
    assert live.get(path, Host=f"localhost:{live.port}").status == 200
    refused = live.get(path, Host="rebound.example:8026")
    assert refused.status == 403
    assert "no password is set" in refused.text


@pytest.mark.parametrize("path", PEOPLE)
def test_with_a_password_everybody_needs_it_at_once(live: Live, path: str) -> None:
    auth.set_password(live.data, "correct horse")
    refused = live.get(path)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="mkserver", charset="UTF-8"')
    assert live.get(path, Authorization=_basic("wrong horse")).status == 401
    assert live.get(path, Authorization=_basic("correct horse")).status == 200
    assert live.get(path, Authorization=_basic("correct horse"), Host="mk.example").status == 200
    auth.remove_password(live.data)
    assert live.get(path).status == 200


def test_node_routes_know_no_password(live: Live) -> None:
    auth.set_password(live.data, "correct horse")
    assert live.checkin(NODE).status == 200
    assert live.get("/razor/api/node").status == 200
    assert live.get("/ipxe/hanlon").status == 200


ODD = ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Digest x", "Bearer 00"]


@pytest.mark.parametrize("header", ODD)
def test_odd_credentials(live: Live, header: str) -> None:
    auth.set_password(live.data, "correct horse")
    assert live.get("/api/nodes", Authorization=header).status == 401


def test_guessing_is_slowed(live: Live) -> None:
    auth.set_password(live.data, "correct horse")
    for number in range(10):
        assert live.get("/api/nodes", Authorization=_basic(f"guess {number}")).status == 401
    late = live.get("/api/nodes", Authorization=_basic("correct horse"))
    assert (late.status, late.headers["retry-after"]) == (429, "60")


def test_the_data_directorys_secret_lets_the_command_line_in(live: Live) -> None:
    auth.set_password(live.data, "correct horse")
    token = auth.local_token(auth.read_secret(live.data))
    assert live.get("/api/nodes", Authorization=f"Bearer {token}").status == 200


def test_files_are_private_and_hold_no_password(live: Live) -> None:
    auth.set_password(live.data, "correct horse")
    for name in (auth.PASSWORD_FILE, auth.SECRET_FILE):
        assert stat.S_IMODE((live.data / name).stat().st_mode) == 0o600
        assert b"correct horse" not in (live.data / name).read_bytes()


def test_a_password_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # then the owner is another, as on a machine where root sets the service's password
        os.chown(tmp_path, 12345, 12345)
    auth.set_password(tmp_path, "correct horse")
    assert (tmp_path / auth.PASSWORD_FILE).stat().st_uid == tmp_path.stat().st_uid


def test_short_passwords_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least 8"):
        auth.set_password(tmp_path, "short")


ORDER = b'{"order": "reboot"}'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 202),
        ({"Content-Type": "application/json", "Origin": "http://{base}"}, 202),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
    ],
)
def test_changes_by_api_from_other_sites(live: Live, headers: dict[str, str], status: int) -> None:
    sent = {name: value.replace("{base}", live.base) for name, value in headers.items()}
    assert live.ask("POST", f"/api/nodes/{NODE}/orders", ORDER, sent).status == status
    assert (live.get(f"/api/nodes/{NODE}").json["order"] == "reboot") == (status == 202)


def _token(live: Live, **headers: str) -> str:
    found = re.search(r'name="token" value="(\w+)"', live.get(f"/nodes/{NODE}/ask/reboot", **headers).text)
    assert found
    return found.group(1)


def test_forms_need_a_token_that_fits_the_credentials(live: Live) -> None:
    path, form = f"/nodes/{NODE}/ask/reboot", {"Content-Type": "application/x-www-form-urlencoded"}
    assert live.ask("POST", path, b"", form).status == 403
    assert live.ask("POST", path, b"token=" + b"0" * 64, form).status == 403
    token = _token(live).encode()
    assert live.ask("POST", path, b"token=" + token, {**form, "Origin": "http://evil.example"}).status == 403
    auth.set_password(live.data, "correct horse")
    known = {"Authorization": _basic("correct horse")}
    assert live.ask("POST", path, b"token=" + token, {**form, **known}).status == 403, "made for somebody else"
    own = _token(live, **known).encode()
    done = live.ask("POST", path, b"token=" + own, {**form, **known})
    assert done.status == 303
    assert live.get(f"/api/nodes/{NODE}", **known).json["order"] == "reboot"


def test_form_tokens_grow_old(tmp_path: Path) -> None:
    now = [1_000_000.0]
    gate = auth.Gate(tmp_path, lambda: now[0])
    token = gate.form_token("")
    now[0] += 11 * 3600
    assert gate.accepts_form(token, "")
    now[0] += 24 * 3600
    assert not gate.accepts_form(token, "")
    assert not gate.accepts_form(None, "")


def test_pages_have_a_strict_policy_and_set_no_cookie(live: Live) -> None:
    for path in PEOPLE:
        headers = live.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers
        assert "access-control-allow-origin" not in headers
    assert "content-security-policy" not in live.checkin(NODE).headers


def test_errors_are_pages_for_browsers_and_json_for_programs(live: Live) -> None:
    assert "no such node" in live.get("/nodes/nobody", Accept="text/html").text
    assert live.get("/nope", Accept="text/html").headers["content-type"].startswith("text/html")
    assert live.get("/nope", Accept="application/json").json == {"error": "no such route"}
    assert live.get("/api/nope", Accept="text/html").json == {"error": "no such route"}
    assert live.ask("POST", "/api/version", b"{}", {"Content-Type": "application/json"}).status == 405


def test_listening_elsewhere_needs_a_password(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        check_exposure(Settings(data=tmp_path, host=host))
    for host in ("0.0.0.0", "::", "192.0.2.1", "lab.example"):
        with pytest.raises(BadConfig, match="without a password"):
            check_exposure(Settings(data=tmp_path, host=host))
    auth.set_password(tmp_path, "correct horse")
    check_exposure(Settings(data=tmp_path, host="0.0.0.0"))


def test_addresses_to_listen_on() -> None:
    assert parse_listen("127.0.0.1:8026") == ("127.0.0.1", 8026)
    assert parse_listen("[::1]:80") == ("::1", 80)
    assert parse_listen(":8026") == ("127.0.0.1", 8026)
    for text in ("127.0.0.1", "a:b", "a:99999", ""):
        with pytest.raises(BadConfig):
            parse_listen(text)


def test_half_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"k")
    for settings in (
        Settings(data=tmp_path, kernel=tmp_path / "k"),
        Settings(data=tmp_path, kernel=tmp_path / "k", initrd=tmp_path / "missing"),
    ):
        with pytest.raises(BadConfig):
            check_image(settings)
    check_image(Settings(data=tmp_path, kernel=tmp_path / "k", initrd=tmp_path / "k"))
