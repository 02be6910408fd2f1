"""How the page looks: nothing overflows from 360 px up, every text has AA contrast, in light and dark; no other host is asked."""

from __future__ import annotations

import json
from pathlib import Path
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
    "ask": f"/nodes/{uuid(1)}/ask/poweroff",
    "nothing": "/?q=nothing-has-this",
    "problem": "/nodes/unknown",
}

OVERFLOW = """
const found = [];
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) found.push(['document', document.documentElement.scrollWidth, width]);
for (const each of document.body.querySelectorAll('*')) {
  const style = getComputedStyle(each);
  if (style.visibility === 'hidden' || style.clipPath !== 'none' || each.closest('.skip, .hidden, dialog:not([open]), thead')) continue;
  const box = each.getBoundingClientRect();
  if (box.width && (box.right > width + 0.5 || box.left < -0.5)) found.push([each.tagName + '.' + each.className, box.left, box.right]);
  const clips = ['hidden', 'clip'].includes(style.overflowX);
  if (!clips && each.scrollWidth > each.clientWidth + 1 && each.clientWidth && style.display !== 'inline'
      && !['INPUT', 'SELECT', 'TEXTAREA'].includes(each.tagName)) {
    found.push([each.tagName + '.' + each.className + ' holds more', each.scrollWidth, each.clientWidth]);
  }
}
return found;
"""

SQUEEZED = """
return [...document.querySelectorAll('a, button, .badge, .cut, h1, h2, label, dd, time')]
  .filter(each => each.checkVisibility() && each.textContent.trim().length > 3 && !each.closest('.skip, .hidden'))
  .map(each => [each.textContent.trim().slice(0, 30), each.getBoundingClientRect().width])
  .filter(([, width]) => width < 22);
"""

CONTRAST = """
const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
const pen = canvas.getContext('2d', {willReadFrequently: true});
function rgba(text) { pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
  const d = pen.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; }
function over(top, below) { return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1); }
function background(node) { const layers = [];
  for (let each = node; each; each = each.parentElement) {
    const colour = rgba(getComputedStyle(each).backgroundColor); layers.unshift(colour); if (colour[3] === 1) break; }
  return layers.reduce((below, top) => over(top, below), rgba(getComputedStyle(document.body).backgroundColor)); }
function luminance(c) { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; }
const found = []; let texts = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const owner = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || ['SCRIPT', 'STYLE'].includes(owner.tagName)) continue;
  if (!owner.checkVisibility || !owner.checkVisibility() || owner.closest('.skip, .hidden')) continue;
  const style = getComputedStyle(owner);
  const back = background(owner), front = over(rgba(style.color), back);
  const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
  const needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
  texts += 1;
  if ((a + 0.05) / (b + 0.05) < needed) found.push([walker.currentNode.textContent.trim().slice(0, 40), owner.className, ((a + 0.05) / (b + 0.05)).toFixed(2)]);
}
for (const input of document.querySelectorAll('input[placeholder], textarea[placeholder]')) {
  const back = background(input), front = over(rgba(getComputedStyle(input, '::placeholder').color), back);
  const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) found.push(['placeholder', input.name, ((a + 0.05) / (b + 0.05)).toFixed(2)]);
}
return [texts, found];
"""


def _look(browser: webdriver.Chrome, url: str, width: int, scheme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)


def _shoot(browser: webdriver.Chrome, path: Path) -> None:
    import base64

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
        assert browser.execute_script(OVERFLOW) == [], (page, width)
        assert browser.execute_script(SQUEEZED) == [], (page, width)
        texts, poor = browser.execute_script(CONTRAST)
        assert texts > 5
        assert poor == [], (page, width, scheme)


def test_page_asks_no_other_host_and_reports_no_error(browser: webdriver.Chrome, lab: Live, empty: Live) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    asked = set()
    for url in (f"http://{lab.base}/", f"http://{lab.base}{PAGES['hostile']}", f"http://{empty.base}/", f"http://{lab.base}/config"):
        browser.get(url)
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.add(urlsplit(message["params"]["request"]["url"]).netloc)
    assert asked <= {lab.base, empty.base, ""}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
