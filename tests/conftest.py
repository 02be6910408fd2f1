"""The tiers of the test suite: which there are, whether this machine can run them, and what the summary says.

A tier is a directory below tests/. A tier that this machine cannot run is never silent: its tests are skipped with the
reason, the summary names the tier and the reason, and where every tier was promised (``make test`` sets
MK_REQUIRE_TIERS=1) that is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, settings

# How long examples take to be made and tried says how busy the machine is, and nothing about what is tested.
# A few examples, which are the same at each run: a change fails by what it changed. Many others in the full run.
FULL = bool(os.environ.get("MK_FULL"))
settings.register_profile(
    "suite",
    deadline=None,
    max_examples=300 if FULL else 25,
    derandomize=not FULL,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent


def _needs(*programs: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in programs if not shutil.which(name, path=path)]
    return f"{', '.join(missing)} not installed (packaging/setup installs it)" if missing else ""


def _needs_root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


TIERS: dict[str, Callable[[], str]] = {
    "unit": lambda: "",
    "bus": lambda: _needs("dbus-daemon", "busctl"),
    "units": lambda: _needs("systemd-analyze"),
    "coverage": lambda: "" if importlib.util.find_spec("coverage") else "coverage not installed",
    "browser": lambda: _needs("chromium", "chromedriver"),
    "system": lambda: _needs_root() or _needs("systemd-nspawn", "mmdebstrap", "dpkg-buildpackage", "facter", "sfdisk"),
    "image": lambda: (
        _needs_root() or _needs("qemu-system-x86_64", "dnsmasq", "ip", "mmdebstrap", "mke2fs", "ipmi_sim", "swtpm")
    ),
}
"""Tier -> why this machine cannot run it ("" when it can)."""

_reasons: dict[str, str] = {}
_outcomes: dict[str, Counter[str]] = {tier: Counter() for tier in TIERS}


def _tier(path: Path) -> str:
    parts = path.resolve().relative_to(ROOT / "tests").parts
    return parts[0] if parts and parts[0] in TIERS else "unit"


def _reason(tier: str) -> str:
    if tier not in _reasons:
        _reasons[tier] = TIERS[tier]()
    return _reasons[tier]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tiers from the cheapest to the dearest, whatever order they were named in."""
    order = list(TIERS)
    items.sort(key=lambda item: order.index(_tier(item.path)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or under MK_REQUIRE_TIERS fail, the tests of a tier that cannot run here."""
    tier = _tier(item.path)
    if _reason(tier):
        message = f"tier {tier} cannot run here: {_reason(tier)}"
        if os.environ.get("MK_REQUIRE_TIERS"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count each test's outcome under its tier; reports of worker processes come together here, too."""
    if report.when == "call" or report.outcome != "passed":
        _outcomes[_tier(ROOT / report.nodeid.partition("::")[0])][report.outcome] += 1


def pytest_terminal_summary(terminalreporter) -> None:  # type: ignore[no-untyped-def]
    """One line a tier: what ran, or why it did not."""
    used = {tier: counts for tier, counts in _outcomes.items() if counts}
    if not used:
        return
    terminalreporter.section("tiers")
    for tier, counts in used.items():
        text = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        reason = f"  NOT RUN: {_reason(tier)}" if _reason(tier) else ""
        terminalreporter.write_line(f"{tier:8} {text}{reason}")
    skipped = terminalreporter.stats.get("skipped", [])
    skips = {str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)}
    for reason in sorted(skips):
        terminalreporter.write_line(f"skipped: {reason.removeprefix('Skipped: ')}")
