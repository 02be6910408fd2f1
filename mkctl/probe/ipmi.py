"""What `ipmitool` says of the management controller (BMC): product, LAN channels, FRU devices.

Three collectors, so that one slow answer (a FRU listing can take half a minute) costs the others nothing; called only
where there is a controller. Which channels are LANs differs between boards (1; 8; 1 and 3), and asking for them one by
one would be eleven processes: `ipmitool exec` takes all questions in one. Source: ipmitool(1); IPMI 2.0 sections 6.3
(channel numbers), 22.24 (Get Channel Info); protocol 6.11.
"""

from __future__ import annotations

import time

from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkcore.proc import Finished, run
from mkctl.probe.collect import Collected
from mkctl.probe.ipmi_facts import bmc_facts, build_bmc, build_fru, build_lan, fru_facts, lan_facts, pick_channel
from mkctl.probe.ipmi_text import CHANNELS, parse_channels, parse_fru, parse_lan6, parse_pairs, read_lines
from mkctl.probe.tools import ended, failed, remark

_QUESTIONS = "".join(f"channel info {number}\n" for number in CHANNELS).encode()
_UNNUMBERED = "default"


def collect_bmc(timeout_s: float) -> Collected:
    """Run `ipmitool bmc info`."""
    finished = run(("ipmitool", "bmc", "info"), timeout_s=timeout_s)
    pairs = parse_pairs(read_lines(finished.stdout, finished.ok))
    facts = bmc_facts(pairs)
    if not facts or not ended(finished):
        return failed(finished, "said nothing of a BMC")
    return Collected(facts, error=remark(finished), inventory={"bmc": build_bmc(pairs)})


def collect_lan(paths: Paths, timeout_s: float) -> Collected:
    """Ask which channels are LANs, then for the settings of each; without an answer for those of the default one."""
    deadline = time.monotonic() + timeout_s
    scan = run(("ipmitool", "exec", "/dev/stdin"), timeout_s=timeout_s, stdin=_QUESTIONS)
    if not ended(scan):
        return failed(scan)
    channels = [str(number) for number in parse_channels(read_lines(scan.stdout))] or [_UNNUMBERED]
    settings: dict[str, dict[str, str]] = {}
    problems: list[Finished] = []
    for channel in channels:
        finished = _ask("lan", channel, deadline)
        pairs = parse_pairs(read_lines(finished.stdout, finished.ok))
        if ended(finished) and lan_facts(pairs):
            settings[channel] = pairs
        if not finished.ok:
            problems.append(finished)
    if not settings and problems and not ended(problems[-1]):
        return failed(problems[-1])
    lans: dict[str, Json] = {
        channel: build_lan(pairs, _read_ipv6(channel, deadline)) for channel, pairs in settings.items()
    }
    facts = lan_facts(pick_channel(settings.values()), bool(settings) and wants_community(paths))
    inventory: dict[str, Json] = {"bmc": {"lan": lans}} if lans else {}
    return Collected(facts, error="; ".join(map(remark, problems)), inventory=inventory)


def _read_ipv6(channel: str, deadline: float) -> list[str]:
    """Return the channel's IPv6 addresses; none where controller or tool know no IPv6, which is no problem."""
    finished = _ask("lan6", channel, deadline)
    return parse_lan6(read_lines(finished.stdout, finished.ok))


def collect_fru(timeout_s: float) -> Collected:
    """Run `ipmitool fru print`, which ends badly wherever one of the devices it knows of is not there."""
    finished = run(("ipmitool", "fru", "print"), timeout_s=timeout_s)
    if not ended(finished):
        return failed(finished)
    devices = parse_fru(read_lines(finished.stdout, finished.ok))
    found = build_fru(devices)
    inventory: dict[str, Json] = {"bmc": {"fru": found}} if found else {}
    return Collected(fru_facts(devices), error=remark(finished), inventory=inventory)


def wants_community(paths: Paths) -> bool:
    """Tell whether the site wants the SNMP community among the facts (facts.snmp_community; defect B53)."""
    from mkcore.site import read_site  # reads TOML: only for machines with a BMC

    return read_site(paths).values.get("facts.snmp_community") is True


def _ask(what: str, number: str, deadline: float) -> Finished:
    argv = ("ipmitool", what, "print") + ((number,) if number != _UNNUMBERED else ())
    return run(argv, timeout_s=max(0.0, deadline - time.monotonic()))
