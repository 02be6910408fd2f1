"""What lies on disk: the database and its versions, and the files that nodes boot."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from mkserver_live import Live
from sqlalchemy.engine import Connection

from mkcore.errors import BadConfig, NotReady
from mkserver import schema
from mkserver.image import read_image
from mkserver.schema import Database


def _url(directory: Path) -> str:
    return f"sqlite:///{directory / 'mkserver.db'}"


def test_a_new_database_is_made_and_opened_again(tmp_path: Path) -> None:
    Database(_url(tmp_path)).close()
    database = Database(_url(tmp_path))
    with database.read() as connection:
        assert connection.execute(sa.select(schema.schema_version.c.version)).scalar() == len(schema.MIGRATIONS)
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    database = Database(_url(tmp_path))
    ran: list[int] = []

    def second(connection: Connection) -> None:
        ran.append(2)
        connection.exec_driver_sql("ALTER TABLE nodes ADD COLUMN rack VARCHAR(8)")

    steps = (*schema.MIGRATIONS, second)
    for _ in range(2):
        with database.write() as connection:
            assert schema.migrate(connection, steps) == 2
    assert ran == [2]
    with database.read() as connection:
        connection.exec_driver_sql("SELECT rack FROM nodes")
    database.close()


def test_a_failing_migration_changes_nothing(tmp_path: Path) -> None:
    database = Database(_url(tmp_path))

    def broken(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE nodes ADD COLUMN rack VARCHAR(8)")
        connection.exec_driver_sql("NONSENSE")

    with pytest.raises(NotReady), database.write() as connection:
        schema.migrate(connection, (*schema.MIGRATIONS, broken))
    with database.read() as connection:
        assert connection.execute(sa.select(schema.schema_version.c.version)).scalar() == 1
        assert "rack" not in [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(nodes)")]
    database.close()


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    Database(_url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "mkserver.db") as raw:
        raw.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(BadConfig, match="version 99"):
        Database(_url(tmp_path))


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "sqlite+nosuch:///x"])
def test_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(BadConfig, match="database URL"):
        Database(url)


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="database: "):
        Database(f"sqlite:///{tmp_path / 'absent' / 'mkserver.db'}")
    (tmp_path / "mkserver.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(NotReady, match="database: "):
        Database(_url(tmp_path))


def test_readers_are_not_kept_waiting_by_a_writer(tmp_path: Path) -> None:
    database = Database(_url(tmp_path))
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(schema.config_values).values(scope="", key="k", value="1"))
            inside.set()
            leave.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(20)
    with database.read() as connection:
        assert connection.execute(sa.select(schema.config_values)).first() is None
    leave.set()
    writer.join(20)
    with database.read() as connection:
        assert connection.execute(sa.select(schema.config_values.c.value)).scalar() == "1"
    database.close()


def _boot(live: Live) -> dict[str, str]:
    text = live.get("/hanlon/api/v1/boot?uuid=N1&dhcp_mac=x").text
    return dict(re.findall(r"^(kernel|initrd) http://[^/]+(\S+)", text, re.MULTILINE))


def _live(tmp_path: Path) -> Live:
    (tmp_path / "linux").write_bytes(b"kernel")
    (tmp_path / "init rd$").write_bytes(bytes(range(256)) * 4096)
    return Live(tmp_path, kernel=tmp_path / "linux", initrd=tmp_path / "init rd$", cmdline="hanlon.ip={host}")


def test_files_are_served_whole_and_in_parts(tmp_path: Path) -> None:
    with _live(tmp_path) as live:
        paths = _boot(live)
        assert paths["initrd"].endswith("/init_rd_")
        whole = live.get(paths["initrd"])
        assert (whole.status, whole.headers["accept-ranges"], len(whole.body)) == (200, "bytes", 1 << 20)
        assert whole.headers["content-disposition"] == 'attachment; filename="init_rd_"'
        head = live.ask("HEAD", paths["initrd"])
        assert (head.status, head.headers["content-length"], head.body) == (200, str(1 << 20), b"")
        for wanted, body in (("bytes=1-3", b"\1\2\3"), ("bytes=-2", b"\xfe\xff"), (f"bytes={(1 << 20) - 1}-", b"\xff")):
            part = live.get(paths["initrd"], Range=wanted)
            assert (part.status, part.body) == (206, body)
        beyond = live.get(paths["initrd"], Range="bytes=9999999-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */1048576")
        assert live.get(paths["initrd"], Range="bytes=0-1,5-6").status == 200
        assert live.get(paths["initrd"], If_None_Match=whole.headers["etag"]).status == 304
        stale = live.get(paths["initrd"], Range="bytes=0-1", If_Range='"other"')
        assert (stale.status, len(stale.body)) == (200, 1 << 20)
        assert live.get(paths["kernel"].replace("/hanlon/api/v1/", "/razor/")).body == b"kernel"


def test_a_rebuilt_image_has_a_new_address(tmp_path: Path) -> None:
    with _live(tmp_path) as live:
        before = _boot(live)
        (tmp_path / "linux").write_bytes(b"kernel two")
        after = _boot(live)
        assert before["kernel"] != after["kernel"]
        assert live.get(before["initrd"]).status == 404
        assert live.get(after["kernel"]).body == b"kernel two"
        (tmp_path / "linux").unlink()
        assert "This server has no microkernel" in live.get("/hanlon/api/v1/boot?uuid=N1&dhcp_mac=x").text


OTHER_FILES = ["mkserver.db", "secret", "..%2fsecret", "%2e%2e/secret", "linux/../secret", "linux%00", ""]


@pytest.mark.parametrize("name", OTHER_FILES)
def test_nothing_but_kernel_and_initrd_is_served(tmp_path: Path, name: str) -> None:
    with _live(tmp_path) as live:
        directory = _boot(live)["kernel"].rpartition("/")[0]
        assert live.get(f"{directory}/{name}").status == 404


def test_kernel_and_initrd_of_one_name_have_two(tmp_path: Path) -> None:
    for each in ("a", "b"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "image").write_bytes(each.encode())
    image = read_image(tmp_path / "a" / "image", tmp_path / "b" / "image")
    assert image is not None
    assert (image.kernel_name, image.initrd_name) == ("image", "initrd-image")


def test_kernel_arguments_come_from_command_line_server_and_node(tmp_path: Path) -> None:
    with _live(tmp_path) as live:
        live.register("N1", {"a": "b"})
        live.send("PATCH", "/api/config", {"set": {"boot_kernel_args": "all=1", "boot_debug_level": "quiet"}})
        live.send("PATCH", "/api/config", {"node": "N1", "set": {"boot_kernel_args": "own={uuid}"}})
        live.send("PATCH", "/api/config", {"set": {"mk_checkin_interval": 10}})
        text = live.get("/hanlon/api/v1/boot?uuid=n1&dhcp_mac=x").text
        assert " quiet hanlon.ip=127.0.0.1 all=1 own=N1 initrd=init_rd_ || goto error" in text
        assert "echo ERROR, will reboot in 10\nsleep 10\n" in text


@pytest.mark.parametrize("name", ["52:54:00:AB:CD:01", "525400abcd01", "52-54-00-ab-cd-01"])
def test_a_machine_that_never_registered_is_named_by_the_card_that_it_booted_from(tmp_path: Path, name: str) -> None:
    """Nobody knows the UUID of the one that needs a word on its kernel line before it can register."""
    with _live(tmp_path) as live:
        boot = "/hanlon/api/v1/boot?uuid=564d0c5d-0000-0000-0000-0000000000{}&dhcp_mac=01-52-54-00-ab-cd-{}"
        for number in ("01", "02"):
            live.get(boot.format(number, number))
        answer = live.send("PATCH", "/api/config", {"node": name, "set": {"boot_kernel_args": "console=ttyS0"}})
        assert answer.status == 200
        told = [" console=ttyS0 " in live.get(boot.format(number, number)).text for number in ("01", "02")]
        assert told == [True, False]
        missing = live.send("PATCH", "/api/config", {"node": "52:54:00:ab:cd:03", "set": {"boot_kernel_args": "x"}})
        assert missing.status == 404
        facts = {"mk_hw_nic_count": "1", "mk_hw_nic0_logical_name": "eno1", "mk_hw_nic0_serial": "52:54:00:ab:cd:01"}
        live.register("564d0c5d-0000-0000-0000-000000000001", facts)
        said = live.send("PATCH", "/api/config", {"node": name, "set": {"boot_kernel_args": "quiet"}})
        assert said.status == 200, "the card's address is among the facts alone, until it boots again"


def test_a_card_that_several_machines_have_names_none_of_them(tmp_path: Path) -> None:
    """The USB cards of BMCs are called alike in many machines: an order must not reach whichever was seen last."""
    shared = "02:a0:98:00:00:01"
    with _live(tmp_path) as live:
        for number in ("1", "2"):
            cards = {f"mk_hw_nic{n}_logical_name": f"eno{n}" for n in (0, 1)}
            macs = {"mk_hw_nic0_serial": f"52:54:00:ab:cd:0{number}", "mk_hw_nic1_serial": shared}
            live.register(f"564d0c5d-0000-0000-0000-00000000000{number}", {"mk_hw_nic_count": "2", **cards, **macs})
        answer = live.send("POST", f"/api/nodes/{shared}/orders", {"order": "poweroff"})
        assert answer.status == 404 and "2 nodes have this card; use an id" in answer.text
        assert live.send("POST", "/api/nodes/52:54:00:ab:cd:01/orders", {"order": "poweroff"}).status == 202
        live.get("/hanlon/api/v1/boot?uuid=564d0c5d-0000-0000-0000-000000000002&dhcp_mac=01-02-a0-98-00-00-01")
        said = live.send("PATCH", "/api/config", {"node": shared, "set": {"boot_kernel_args": "quiet"}})
        assert said.status == 200, "one of them boots from it"


@pytest.mark.parametrize("forced", ["soon", 0, -5, 60.5, True, None, [10]])
def test_a_forced_interval_leaves_the_boot_script_whole(tmp_path: Path, forced: object) -> None:
    with _live(tmp_path) as live:
        live.send("PATCH", "/api/config", {"set": {"mk_checkin_interval": forced}, "force": True})
        answer = live.get("/hanlon/api/v1/boot?uuid=n1&dhcp_mac=x")
        assert (answer.status, "\nsleep 60\n" in answer.text) == (200, True)


def test_slow_readers_of_a_file_hold_up_nobody(tmp_path: Path) -> None:
    """More of them than there are workers; the file is larger than all socket buffers."""
    with _live(tmp_path) as live:
        os.truncate(tmp_path / "init rd$", 64 << 20)
        path = _boot(live)["initrd"]
        slow = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", live.port), timeout=20)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {live.base}\r\nRange: bytes=1-\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 206"
            slow.append(connection)
        assert live.checkin("N1").status == 200
        for connection in slow:
            connection.close()
