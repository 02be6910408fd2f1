"""Routes of a kernel's tables, what they reach, and the schedule of looking for one (protocol 1.7; B10 to B13)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from mkctl.network import delay_s, parse_ipv4_routes, parse_ipv6_routes, reaches, read_routes
from mkctl.waiting import Schedule, Wakeup, parse_started_s, read_started_s, wait_for_route

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n"
SUBNET = "eth0\t0002000A\t00000000\t0001\t0\t0\t1024\t00FFFFFF\t0\t0\t0\n"
LINK_LOCAL = "eth0\t0000FEA9\t00000000\t0001\t0\t0\t2048\t0000FFFF\t0\t0\t0\n"
REJECT = "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n"
DOWN = "eth0\t00000000\t0202000A\t0002\t0\t0\t1024\t00000000\t0\t0\t0\n"

ZERO = "0" * 32
V6_LO = "00000000000000000000000000000001 80 " + ZERO + " 00 " + ZERO + " 00000000 00000002 00000000 80200001 lo\n"
V6_UNREACHABLE = f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo\n"
V6_LINK = f"fe80{'0' * 28} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth0\n"
V6_MULTICAST = f"ff00{'0' * 28} 08 {ZERO} 00 {ZERO} 00000100 00000003 00000000 00000001     eth0\n"
V6_OWN = f"20010db8{'0' * 23}5 80 {ZERO} 00 {ZERO} 00000000 00000002 00000000 80200001     eth0\n"
V6_SUBNET = f"20010db8{'0' * 24} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth0\n"
V6_DEFAULT = f"{ZERO} 00 {ZERO} 00 fe80{'0' * 27}1 00000400 00000001 00000000 00450003     eth0\n"


def v4(*lines: str, host: str) -> bool:
    return reaches(parse_ipv4_routes(HEAD + "".join(lines), "little"), host)


def v6(*lines: str, host: str) -> bool:
    return reaches(parse_ipv6_routes("".join(lines)), host)


@pytest.mark.parametrize(
    ("lines", "host", "expected"),
    [
        ((), "192.0.2.1", False),
        ((), "127.0.0.1", True),
        ((), "localhost", True),
        ((), "razor", False),
        ((DEFAULT,), "192.0.2.1", True),
        ((DEFAULT,), "razor", True),
        ((SUBNET,), "192.0.2.1", False),
        ((SUBNET,), "10.0.2.7", True),
        ((SUBNET,), "razor", True),
        ((LINK_LOCAL,), "razor", False),
        ((LINK_LOCAL,), "192.0.2.1", False),
        ((LINK_LOCAL,), "169.254.7.7", True),
        ((REJECT,), "192.0.2.1", False),
        ((DOWN,), "192.0.2.1", False),
        ((DEFAULT,), "2001:db8::1", False),
        (("nonsense\n", "eth0 zz zz zz 0 0 0 zz\n", "eth0\t00\t00\t0001\t0\t0\t0\t00\n"), "192.0.2.1", False),
    ],
)
def test_ipv4(lines: tuple[str, ...], host: str, expected: bool) -> None:
    assert v4(*lines, host=host) is expected


@pytest.mark.parametrize(
    ("lines", "host", "expected"),
    [
        ((V6_LO, V6_UNREACHABLE, V6_MULTICAST), "2001:db8::1", False),
        ((V6_LO, V6_LINK, V6_OWN), "razor", False),
        ((V6_LINK,), "fe80::1%eth0", True),
        ((V6_SUBNET,), "2001:db8::1", True),
        ((V6_SUBNET,), "2001:db9::1", False),
        ((V6_DEFAULT,), "2001:db9::1", True),
        ((V6_DEFAULT,), "razor", True),
        (("short line\n", "g" * 32 + V6_DEFAULT[32:]), "razor", False),
    ],
)
def test_ipv6(lines: tuple[str, ...], host: str, expected: bool) -> None:
    assert v6(*lines, host=host) is expected


def test_big_endian_machines_write_the_words_the_other_way_round() -> None:
    text = HEAD + "eth0\t0A000200\t00000000\t0001\t0\t0\t0\tFFFFFF00\t0\t0\t0\n"
    assert str(parse_ipv4_routes(text, "big")[0].destination) == "10.0.2.0/24"


def test_read_routes_of_a_kernel_without_ipv6_and_of_nothing(tmp_path: Path) -> None:
    assert read_routes(str(tmp_path)) == []
    (tmp_path / "net").mkdir()
    (tmp_path / "net/route").write_text(HEAD + SUBNET)
    assert [each.interface for each in read_routes(str(tmp_path))] == ["eth0"]


def test_the_schedule_is_the_protocol_s() -> None:
    assert [delay_s(n) for n in range(9)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    schedule = Schedule()
    assert [schedule.next_s() for _ in range(3)] == [1, 2, 4]
    schedule.signalled()
    assert [schedule.next_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1, 2]


def test_a_signal_ends_the_wait_for_a_route() -> None:
    async def run() -> tuple[bool, list[float]]:
        changed, told, routes = Wakeup(), [], [False, False, True]

        def waiting(delay: float) -> None:
            told.append(delay)
            changed.set()

        return await wait_for_route(lambda: routes.pop(0), changed, waiting, lambda: False), told

    found, told = asyncio.run(run())
    assert found and told == [1.0, 0.1]


def test_somebody_who_cannot_wait_gives_up() -> None:
    async def run() -> bool:
        changed = Wakeup()
        return await wait_for_route(lambda: False, changed, lambda _delay: changed.set(), lambda: True)

    assert asyncio.run(run()) is False


def test_the_skew_counts_from_the_start_of_the_process() -> None:
    fields = "S 1 7 7 0 -1 4194304 9 0 0 0 1 2 0 0 20 0 1 0 2680 10 20"
    assert parse_started_s(f"7 (mk ctl) x) {fields}", 100) == 26.8
    assert [parse_started_s(text, 100) for text in ("", "7 (mkctl", "7 (mkctl) S 1", "7 (a) " + "x " * 30)] == [0.0] * 4
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0.0 < read_started_s() <= now_s
