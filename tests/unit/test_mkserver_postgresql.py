"""The same server on PostgreSQL: a private one on a socket in a temporary directory, where it is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mkserver_live import Live

NODE = "564D0C5D-0000-0000-0000-000000000001"
DEADLINE_S = 60.0


def _programs() -> str:
    """Directory of PostgreSQL's programs, "" where there are none."""
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    return str(known[-1].parent) if known else str(Path(found).resolve().parent) if found else ""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty database."""
    programs = _programs()
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 is not installed")
    directory = tmp_path_factory.mktemp("postgresql")
    user: dict[str, int] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses root
        user = {"user": 65534, "group": 65534}
        os.chown(directory, 65534, 65534)
        for parent in [directory, *directory.parents][:3]:
            parent.chmod(0o755)
    make = [f"{programs}/initdb", "-D", f"{directory}/data", "-U", "mk", "-A", "trust", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, cwd=directory, timeout=DEADLINE_S, **user)
    run = [f"{programs}/postgres", "-D", f"{directory}/data", "-k", str(directory), "-c", "listen_addresses="]
    process = subprocess.Popen(run, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
    try:
        _wait(programs, directory)
        yield f"postgresql://mk@/postgres?host={directory}"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _wait(programs: str, directory: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    while subprocess.run([f"{programs}/pg_isready", "-q", "-h", str(directory)], check=False).returncode:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_nodes_life_on_postgresql(url: str, tmp_path: Path) -> None:
    with Live(tmp_path, database_url=url) as live:
        assert live.command(NODE, first=True) == "register"
        facts = {"hostname": "a1", "unusual": "\u2028\ufffe" + "é" * 300, "n": {"a": [1, None, 2.5]}}
        assert live.register(NODE, facts).status == 201
        assert live.register(NODE, {**facts, "new": "1"}).status == 201
        live.send("PATCH", "/api/config", {"node": NODE, "set": {"mk_checkin_interval": 5}})
        live.send("POST", f"/api/nodes/{NODE}/orders", {"order": "reboot"})
        assert live.command(NODE) == "reboot"
        shown = live.get("/api/nodes/a1").json
        assert shown["facts"] == {**facts, "new": "1"}
        assert shown["config"] == {"mk_checkin_interval": 5}
        assert [event["kind"] for event in shown["history"]].count("facts_changed") == 1
        live.clock.now_s += 400
        assert live.services.registry.sweep() == 1
        assert live.get("/api/nodes?q=A1&state=expired").json["matching"] == 1
    with Live(tmp_path, database_url=url, clock=live.clock) as again:
        assert again.get("/api/nodes/a1").json["checkins"] == 2
        assert again.ask("DELETE", f"/api/nodes/{NODE}").status == 200


def test_registrations_that_come_at_once_on_postgresql(url: str, tmp_path: Path) -> None:
    with Live(tmp_path, database_url=url) as live, ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda number: live.register(f"N{number % 10}", {"n": str(number)}).status, range(60)))
        assert set(statuses) == {201}
        assert live.get("/api/nodes").json["matching"] == 10
