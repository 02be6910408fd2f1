"""A headless Chromium and running servers for the page's tests; screenshots go to build/artifacts/browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import fill
from mkserver_live import Live
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from mkserver.forms import TEXTS

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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with eight machines, one of them hostile, and every form of an image."""
    folder = tmp_path_factory.mktemp("image")
    for name in TEXTS:
        (folder / name).write_bytes(b"f" * 1_234_567)
    digests = {name: {"size_bytes": 1_234_567, "sha256": f"{number:064x}"} for number, name in enumerate(TEXTS)}
    (folder / "manifest.json").write_text(json.dumps({"files": digests}))
    data = tmp_path_factory.mktemp("lab")
    with Live(data, kernel=folder / "vmlinuz", initrd=folder / "initrd") as live:
        fill(live)
        yield live


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that saw nobody yet, with an image to boot."""
    data = tmp_path_factory.mktemp("empty")
    (data / "vmlinuz").write_bytes(b"k" * 1_000_000)
    (data / "initrd.img").write_bytes(b"i" * 2_000_000)
    with Live(data, kernel=data / "vmlinuz", initrd=data / "initrd.img") as live:
        yield live
