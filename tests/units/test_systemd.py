"""The unit files: what systemd itself says of them, their exposure, and the decisions that each must show."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.exposure import LIMITS

UNITS = Path(__file__).resolve().parent.parent.parent / "units"
FILES = sorted((UNITS / "systemd").iterdir())
SERVICES = [path for path in FILES if path.suffix == ".service"]
OF_A_HOST = "mk-container.service"
"""Starts Podman, which need not be here; on a machine that has it, it is tried."""
OF_SYSTEMD_ITSELF = {"DeviceAllow"}
"""Findings that no switch of ours causes: ProtectClock= adds the real-time clock, read-only, to the devices."""


class Unit(configparser.RawConfigParser):
    """A unit file; a directive that stands several times has its values joined by a newline."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
        self.optionxform = str  # type: ignore[assignment]
        self.path = path
        seen: dict[tuple[str, str], list[str]] = {}
        section = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                seen.setdefault((section, name), []).append(value)
        self.read_dict({section: {} for section, _ in seen})
        for (section, name), values in seen.items():
            self.set(section, name, "\n".join(values))


def unit(name: str) -> Unit:
    """Return one of our units."""
    return Unit(UNITS / "systemd" / name)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


def test_verify(prefix: Path) -> None:
    """systemd finds nothing to say: no unknown directive, no missing program, no unit that is not there."""
    units = sorted((prefix / "lib/systemd/system").iterdir())
    assert [path.name for path in units] == sorted([*(path.name for path in FILES), OF_A_HOST])
    units = [path for path in units if path.name != OF_A_HOST]
    done = analyze("verify", "--recursive-errors=no", "--man=no", *map(str, units))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_verify_would_notice(prefix: Path, tmp_path: Path) -> None:
    """A misspelt directive makes the check above fail: it is a check."""
    broken = tmp_path / "mkctl.service"
    text = (prefix / "lib/systemd/system/mkctl.service").read_text(encoding="utf-8")
    broken.write_text(text.replace("NoNewPrivileges", "NoNewPriviledges"), encoding="utf-8")
    done = analyze("verify", "--recursive-errors=no", "--man=no", str(broken))
    assert "NoNewPriviledges" in done.stderr


def findings(path: Path) -> tuple[float, list[dict[str, str]]]:
    """Return the exposure of a service and each switch that adds to it."""
    made = analyze("security", "--offline=true", "--no-pager", str(path))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", made.stdout)
    assert found, made.stdout + made.stderr
    listed = json.loads(analyze("security", "--offline=true", "--json=short", str(path)).stdout)
    return float(found[1]), [each for each in listed if each["exposure"] and float(each["exposure"]) > 0]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_exposure(path: Path) -> None:
    """Within its limit, and every switch that is left open has a line that says why."""
    exposure, open_switches = findings(path)
    assert exposure <= LIMITS[path.stem]
    reasons = " ".join(re.findall(r"^# Open: (.*?)\. ", path.read_text(encoding="utf-8"), re.M))
    explained = {name.strip("= ") for name in re.split(r"[,\s]+", reasons)}
    names = {re.match(r"\w+", each["name"])[0] for each in open_switches}  # type: ignore[index]
    if path.stem != "mk-facts":
        names -= OF_SYSTEMD_ITSELF
    else:
        assert "DeviceAllow" in names
    unexplained = {name for name in names if name not in explained and name != "SupplementaryGroups"}
    assert not unexplained, f"{path.name}: open without a reason: {sorted(unexplained)}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name != "mkserver.service"], ids=lambda path: path.name
)
def test_belongs_to_the_target(path: Path) -> None:
    """Each unit stops with mk.target and lives in mk.slice; only the target can be enabled."""
    parsed = Unit(path)
    assert parsed.has_section("Install") == (path.name == "mk.target")
    if path.name != "mk.target":
        assert parsed.get("Unit", "PartOf") == "mk.target"
    if path.suffix in (".service", ".socket"):
        assert parsed.get(path.suffix[1:].title(), "Slice") == "mk.slice"
    assert parsed.get("Unit", "Documentation")


def test_target_wants_what_starts_by_itself() -> None:
    """Sockets, timer, controller, one collection, what is to be fetched; servers behind sockets start on demand."""
    wanted = unit("mk.target").get("Unit", "Wants").split()
    others = {
        "mk.target",
        "mk.slice",
        "mkweb.service",
        "mkmirror.service",
        "mk-facts-hotplug.timer",
        "mk-extensions.service",
        "mk-clock.service",
        "mkserver.service",
    }
    assert sorted(wanted) == sorted({path.name for path in FILES} - others)


def test_server_stands_alone() -> None:
    """mkserver is no part of a node."""
    text = (UNITS / "systemd/mkserver.service").read_text(encoding="utf-8")
    directives = [line for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in directives if "mk.target" in line or "mk.slice" in line]


@pytest.mark.parametrize("name", ["mkctl", "mkweb", "mkmirror", "mk-facts", "mk-fetch", "mk-extensions"])
def test_systemd_never_gives_up(name: str) -> None:
    """No number of starts ends a service for good, and none of them orders itself after the network being online."""
    parsed = unit(f"{name}.service")
    assert parsed.get("Unit", "StartLimitIntervalSec") == "0"
    assert "network-online.target" not in parsed.get("Unit", "After", fallback="")


@pytest.mark.parametrize(
    ("name", "restart"), [("mkctl", "always"), ("mkweb", "on-failure"), ("mkmirror", "on-failure")]
)
def test_life(name: str, restart: str) -> None:
    """Readiness, watchdog, and a restart that fits: `always` would start again what ended because it was idle."""
    parsed = unit(f"{name}.service")
    assert (parsed.get("Service", "Type"), parsed.get("Service", "Restart")) == ("notify", restart)
    assert parsed.get("Service", "WatchdogSec")
    assert parsed.get("Service", "User") == name


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_state_outlives_restarts(path: Path) -> None:
    """A runtime directory is kept: the end of a oneshot or a restart would delete the state in it."""
    parsed = Unit(path)
    if parsed.has_option("Service", "RuntimeDirectory"):
        assert parsed.get("Service", "RuntimeDirectoryPreserve") == "yes"


def test_controller_waits_for_the_bus_alone() -> None:
    """It starts at once: no route, no server, no facts are waited for, and no restart collects facts again."""
    parsed = unit("mkctl.service")
    assert parsed.get("Unit", "After").split() == ["network.target", "dbus.socket"]
    assert not parsed.has_option("Unit", "Wants") and not parsed.has_option("Unit", "Requires")
    assert parsed.get("Service", "BusName") == "org.mksuite.Controller1"


def test_what_was_fetched_is_installed_however_fetching_ended() -> None:
    """A failed mk-fetch is tried again, which triggers no other unit; one that was stopped or staged nothing, none."""
    fetch, install = unit("mk-fetch.service"), unit("mk-extensions.service")
    assert (fetch.get("Service", "Type"), fetch.get("Service", "Restart")) == ("oneshot", "on-failure")
    following = "/bin/sh -c '[ \"$EXIT_CODE\" != exited ] || {}exec systemctl --no-block start {}.service'"
    staged = "[ ! -e /run/mk-fetch/staged.json ] || "
    assert fetch.get("Service", "ExecStopPost") == "-+" + following.format(staged, "mk-extensions")
    assert install.get("Service", "ExecStopPost") == "-" + following.format("", "mk-facts")
    assert "mk-fetch.service" not in install.get("Unit", "After").split()
    assert "mk-extensions.service" in fetch.get("Unit", "After").split()  # a start during an installation would be lost


def test_sockets_are_local_and_named() -> None:
    """Loopback addresses, and the names by which mkmirror tells its two sockets apart."""
    sockets = {path.stem: Unit(path) for path in FILES if path.suffix == ".socket"}
    listening = {name: parsed.get("Socket", "ListenStream") for name, parsed in sockets.items()}
    assert listening == {"mkweb": "127.0.0.1:2156", "mkmirror": "127.0.0.1:2157", "mkmirror-packages": "127.0.0.1:2158"}
    names = {name: parsed.get("Socket", "FileDescriptorName", fallback="") for name, parsed in sockets.items()}
    assert names == {"mkweb": "", "mkmirror": "extensions", "mkmirror-packages": "packages"}


def test_timers() -> None:
    """Facts: about 45 s after boot, then each quarter of an hour; after a change, one second later."""
    timer = unit("mk-facts.timer")
    assert (timer.get("Timer", "OnActiveSec"), timer.get("Timer", "OnUnitInactiveSec")) == ("35s", "15min")
    hotplug = unit("mk-facts-hotplug.timer")
    assert (hotplug.get("Timer", "OnActiveSec"), hotplug.get("Timer", "Unit")) == ("1s", "mk-facts.service")


def test_no_directive_is_newer_than_systemd_252() -> None:
    """Unknown directives are warned about, unknown values of Type= break a unit."""
    newer = {
        "ImportCredential",
        "RestartSteps",
        "RestartMaxDelaySec",
        "RestartMode",
        "FileDescriptorStorePreserve",
        "OpenFile",
    }
    for path in FILES:
        for section in (parsed := Unit(path)).sections():
            assert not newer & set(parsed.options(section)), path.name
        assert parsed.get("Service", "Type", fallback="") != "notify-reload", path.name
