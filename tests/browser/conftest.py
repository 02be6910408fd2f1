"""A headless Chromium and running servers for the page's tests; screenshots go to build/artifacts/browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import guest, hostile, server, uuid
from mkserver_live import Live
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ARTIFACTS = Path(__file__).resolve().parents[2] / "build" / "artifacts" / "browser"


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Directory of the screenshots."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests; it logs every request it makes."""
    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def _fill(live: Live) -> None:
    """Nodes in every state, at the times a visitor would see them."""
    clock = live.clock
    clock.now_s -= 900
    live.register(uuid(7), server(7))
    clock.now_s += 900 - 200
    live.register(uuid(5), server(5))
    clock.now_s += 140
    for number in (1, 2, 3):
        live.checkin(uuid(number), first=True)
        live.register(uuid(number), server(number))
    live.register(uuid(4), guest(4))
    live.register(uuid(6), hostile())
    live.send("PUT", f"/api/nodes/{uuid(3)}/binding", {"binding": "local"})
    clock.now_s += 48
    live.get(f"/hanlon/api/v1/boot?uuid={uuid(8)}&mac_id=52:54:00:0a:00:08&dhcp_mac=01-52-54-00-0a-00-08")
    live.register(uuid(1), server(1, memorysize_mb="64301.00", lldp_neighbor_portid_eno1="ge-0/0/12"))
    live.send("PATCH", "/api/config", {"node": uuid(1), "set": {"mk_checkin_interval": 30}})
    clock.now_s += 9
    live.checkin(uuid(1))
    live.send("POST", f"/api/nodes/{uuid(1)}/orders", {"order": "reboot"})
    clock.now_s += 3


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with eight machines, one of them hostile."""
    with Live(tmp_path_factory.mktemp("lab")) as live:
        _fill(live)
        yield live


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that saw nobody yet, with an image to boot."""
    data = tmp_path_factory.mktemp("empty")
    (data / "vmlinuz").write_bytes(b"k" * 1_000_000)
    (data / "initrd.img").write_bytes(b"i" * 2_000_000)
    with Live(data, kernel=data / "vmlinuz", initrd=data / "initrd.img") as live:
        yield live
