"""What people do on the page: watch it live, order with a question, search, configure; with and without scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machines import HOSTILE, server, uuid
from mkserver_live import Live
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait


def _wait(browser: webdriver.Chrome) -> WebDriverWait[webdriver.Chrome]:
    passing = [StaleElementReferenceException]  # a live part is replaced between being found and being read
    return WebDriverWait(browser, 40, poll_frequency=0.1, ignored_exceptions=passing)


def _one(browser: webdriver.Chrome, selector: str) -> WebElement:
    return _wait(browser).until(lambda driver: driver.find_element(By.CSS_SELECTOR, selector))


def _text(browser: webdriver.Chrome, selector: str) -> str:
    return _wait(browser).until(lambda driver: driver.find_element(By.CSS_SELECTOR, selector).text)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, browser: webdriver.Chrome) -> Iterator[Live]:
    """A fresh server with one active node, and a window of 1280 px."""
    metrics = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    with Live(tmp_path_factory.mktemp("site")) as live:
        live.checkin(uuid(1), first=True)
        live.register(uuid(1), server(1))
        yield live


def test_first_node_appears_by_itself(browser: webdriver.Chrome, empty: Live) -> None:
    browser.get(f"http://{empty.base}/")
    assert _text(browser, "#ipxe-url") == f"http://{empty.base}/ipxe/hanlon"
    empty.register(uuid(1), server(1))
    assert _text(browser, ".nodes .c-name a") == "mk3CECEF100100"


def test_state_and_time_follow_the_server(browser: webdriver.Chrome, site: Live) -> None:
    browser.get(f"http://{site.base}/")
    assert _text(browser, ".nodes .badge") == "active"
    site.clock.now_s += 200
    _wait(browser).until(lambda driver: driver.find_element(By.CSS_SELECTOR, ".nodes .badge").text == "inactive")
    site.checkin(uuid(1))
    _wait(browser).until(lambda driver: driver.find_element(By.CSS_SELECTOR, ".nodes .badge").text == "active")


def test_focus_stays_while_the_list_renews(browser: webdriver.Chrome, site: Live) -> None:
    browser.get(f"http://{site.base}/")
    browser.execute_script("document.querySelector('.nodes .c-name a').focus()")
    site.register(uuid(2), server(2))
    _wait(browser).until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, ".nodes tbody tr")) == 2)
    assert browser.switch_to.active_element.text == "mk3CECEF100100"


def test_order_by_keyboard_asks_first(browser: webdriver.Chrome, site: Live) -> None:
    browser.get(f"http://{site.base}/nodes/{uuid(1)}")
    button = _one(browser, "#do-reboot")
    button.send_keys(Keys.ENTER)
    _one(browser, "dialog[open] form")
    assert browser.switch_to.active_element.text == "Cancel"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.find_elements(By.CSS_SELECTOR, "dialog[open]")
    assert site.command(uuid(1)) == "acknowledge"
    _one(browser, "#do-reboot").send_keys(Keys.ENTER)
    _one(browser, "dialog[open] form")
    browser.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    assert "told to reboot" in _text(browser, ".note.good")
    assert site.command(uuid(1)) == "reboot"
    _wait(browser).until(lambda driver: not driver.find_elements(By.CSS_SELECTOR, "#do-withdraw"))
    assert "Told to reboot: ordered" in _text(browser, ".past")


def test_without_scripts_orders_work_too(browser: webdriver.Chrome, site: Live) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"http://{site.base}/nodes/{uuid(1)}")
        _one(browser, "#do-poweroff").click()
        _one(browser, "main .ask button").click()
        assert "Poweroff waits" in _text(browser, "main")
        _one(browser, "#do-withdraw").click()
        _one(browser, "main .ask button").click()
        assert "withdrawn" in _text(browser, ".note.good")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert site.command(uuid(1)) == "acknowledge"


def test_search_in_facts_survives_a_new_registration(browser: webdriver.Chrome, site: Live) -> None:
    browser.get(f"http://{site.base}/nodes/{uuid(1)}")
    _one(browser, "#filter").send_keys("disk serial")
    shown = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".fact dt") if each.is_displayed()]
    assert shown == ["mk_hw_disk0_serial", "mk_hw_disk1_serial"]
    assert _text(browser, "#filter-count").startswith("2 of ")
    site.register(uuid(1), {**server(1), "mk_hw_disk2_serial": "NEW"})
    _wait(browser).until(lambda driver: driver.find_element(By.ID, "filter-count").text.startswith("3 of "))


def test_configuration_form(browser: webdriver.Chrome, site: Live) -> None:
    browser.get(f"http://{site.base}/nodes/{uuid(1)}")
    _one(browser, "#f-mk_checkin_interval").send_keys("0")
    _one(browser, "#f-other").send_keys("mk_site=hall 3\nmk_list=[1, 2]")
    _one(browser, ".settings button").click()
    assert "whole number from 1 to 3600" in _text(browser, ".note.bad")
    assert _one(browser, "#f-other").get_attribute("value") == "mk_site=hall 3\nmk_list=[1, 2]"
    assert site.checkin(uuid(1)).json["client_config"]["mk_checkin_interval"] == 60
    field = _one(browser, "#f-mk_checkin_interval")
    field.clear()
    field.send_keys("15")
    _one(browser, ".settings button").click()
    assert "Saved" in _text(browser, ".note.good")
    pushed = site.checkin(uuid(1)).json["client_config"]
    assert (pushed["mk_checkin_interval"], pushed["mk_site"], pushed["mk_list"]) == (15, "hall 3", [1, 2])
    field = _one(browser, "#f-mk_checkin_interval")
    field.clear()
    _one(browser, ".settings button").click()
    # The address says "saved" since the time before.
    _wait(browser).until(lambda _: site.checkin(uuid(1)).json["client_config"]["mk_checkin_interval"] == 60)


def test_hostile_facts_are_shown_and_do_nothing(browser: webdriver.Chrome, lab: Live) -> None:
    browser.get(f"http://{lab.base}/nodes/{uuid(6)}")
    heading = _one(browser, "h1").get_attribute("textContent") or ""
    assert HOSTILE in heading
    assert "49" not in heading
    assert not browser.find_elements(By.CSS_SELECTOR, "main script, main img")
    assert browser.execute_script("return document.title") == f"{HOSTILE} · mkserver"


def test_a_server_that_is_gone_is_said(browser: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Live(tmp_path_factory.mktemp("gone")) as live:
        live.register(uuid(1), server(1))
        browser.get(f"http://{live.base}/")
        assert not _one(browser, "#offline").is_displayed()
    _wait(browser).until(lambda driver: driver.find_element(By.ID, "offline").is_displayed())
