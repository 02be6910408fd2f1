"""How the page looks: no overflow from 360 px up, AA contrast of every text, light and dark; no other host is asked."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from machines import uuid
from mkserver_live import Live
from selenium import webdriver

WIDTHS = (360, 412, 768, 900, 1280, 1920)
PAGES = {
    "nodes": "/",
    "node": f"/nodes/{uuid(1)}",
    "hostile": f"/nodes/{uuid(6)}",
    "new": f"/nodes/{uuid(8)}",
    "config": "/config",
    "forms": "/forms",
    "ask": f"/nodes/{uuid(1)}/ask/poweroff",
    "nothing": "/?q=nothing-has-this",
    "problem": "/nodes/unknown",
}


MEASURES = (Path(__file__).parent / "measures.js").read_text()


def _measure(browser: webdriver.Chrome, what: str) -> Any:
    return browser.execute_script(f"{MEASURES}\nreturn {what}();")


def _look(browser: webdriver.Chrome, url: str, width: int, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)


def _shoot(browser: webdriver.Chrome, path: Path) -> None:
    height = min(6000, browser.execute_script("return document.documentElement.scrollHeight"))
    width = browser.execute_script("return document.documentElement.clientWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    made = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(made["data"]))


@pytest.mark.parametrize("page", [*PAGES, "empty"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_all_text_is_readable(
    browser: webdriver.Chrome, lab: Live, empty: Live, artifacts: Path, page: str, scheme: str
) -> None:
    url = f"http://{empty.base}/" if page == "empty" else f"http://{lab.base}{PAGES[page]}"
    for width in WIDTHS:
        _look(browser, url, width, scheme)
        browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        if width in (360, 768, 1280):
            _shoot(browser, artifacts / f"{page}-{width}-{scheme}.png")
        assert _measure(browser, "overflowing") == [], (page, width)
        assert _measure(browser, "squeezed") == [], (page, width)
        texts, poor = _measure(browser, "contrast")
        assert texts > 5
        assert poor == [], (page, width, scheme)


def test_page_asks_no_other_host_and_reports_no_error(browser: webdriver.Chrome, lab: Live, empty: Live) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    asked = set()
    for base, path in ((lab.base, "/"), (lab.base, PAGES["hostile"]), (empty.base, "/"), (lab.base, "/config")):
        browser.get(f"http://{base}{path}")
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.add(urlsplit(message["params"]["request"]["url"]).netloc)
    assert asked <= {lab.base, empty.base, ""}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
