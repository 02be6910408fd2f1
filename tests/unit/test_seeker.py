"""Looking for the server in the network: when the DNS is asked, and what is passed on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Optional, cast

import pytest

import mkctl.renewal
import mkctl.seeker
from mkcore.errors import BusFailed, NotAuthorized
from mkcore.paths import paths_under
from mkcore.systemd1 import Bus
from mkcore.trust import Trust
from mkctl.candidate import Configured, Kind
from mkctl.cmdline import parse_cmdline
from mkctl.discovery import discover
from mkctl.hints import NAMES
from mkctl.renewal import Renewal
from mkctl.seeker import Seeker
from mkctl.turn import Turn
from mkctl.waiting import Wakeup
from tests.unit.test_hints import link


def no_bus() -> Any:
    raise BusFailed("no connection to the system bus")


def make(
    tmp_path: Path,
    resolve: Callable[[str], list[str]],
    beyond: Callable[[], bool] = lambda: False,
    found: Callable[[], None] = lambda: None,
    described: str = "",
    describe: Optional[Callable[[object], Awaitable[str]]] = None,
    lost: Callable[[], bool] = lambda: False,
    line: str = "",
    systemd: int = 257,
    wide: bool = False,
    in_contact: Callable[[], bool] = lambda: False,
) -> Seeker:
    """A seeker without a bus, or one whose networkd says this."""

    async def version(_bus: object) -> int:
        return systemd

    async def constant(_bus: object) -> str:
        return described

    return Seeker(
        paths_under(str(tmp_path)),
        parse_cmdline(line),
        cast("Callable[[], Bus]", lambda: None) if described or describe else no_bus,
        describe=describe or constant,
        ready=lambda: asyncio.sleep(0),
        needed=lambda: True,
        beyond=beyond,
        wide=lambda: wide,
        lost=lost,
        in_contact=in_contact,
        found=found,
        trust=Trust,
        resolve=resolve,
        version=version,
    )


def seek(tmp_path: Path, names: dict[str, list[str]]) -> Seeker:
    """Look once without a bus, where the DNS knows these names."""

    def resolve(name: str) -> list[str]:
        return names.get(name, [])

    called: list[bool] = []
    seeker = make(tmp_path, resolve, found=lambda: called.append(True))
    asyncio.run(seeker.look())
    assert called and not seeker.hints.unasked
    return seeker


def test_without_networkd_the_names_still_count(tmp_path: Path) -> None:
    assert seek(tmp_path, {"razor": ["192.0.2.1"]}).hints.names == ("razor",)


def test_a_dns_that_lies_is_one_line(tmp_path: Path) -> None:
    hints = seek(tmp_path, {"hanlon": ["127.0.0.1", "::1"], "razor": ["0.0.0.0", "192.0.2.1"]}).hints
    assert hints.names == ("razor",)
    assert hints.problems == ("DNS, hanlon: 127.0.0.1 is not the address of a server: not used",)


def test_next_server_of_the_leases_on_file(tmp_path: Path) -> None:
    leases = tmp_path / "run/systemd/netif/leases"
    leases.mkdir(parents=True)
    (leases / "2").write_text("ADDRESS=192.0.2.7\n")
    (leases / "3").write_text("NEXT_SERVER=192.0.2.1\n")
    (leases / "10").write_text("NEXT_SERVER=192.0.2.2\n")  # the first card's counts (row 8)
    assert seek(tmp_path, {}).hints.next_server == "192.0.2.1"


def test_next_server_of_the_boot_nic_comes_first_and_a_bad_one_is_one_line(tmp_path: Path) -> None:
    leases = tmp_path / "run/systemd/netif/leases"
    leases.mkdir(parents=True)
    for index, server in ((2, "192.0.2.2"), (3, "127.0.0.1"), (4, "192.0.2.4")):
        (leases / str(index)).write_text(f"NEXT_SERVER={server}\n")
    described = json.dumps({"Interfaces": [link(n, f"eno{n}", {}) for n in (2, 3, 4)]})

    def look(boot: str) -> tuple[str, tuple[str, ...]]:
        seeker = make(tmp_path, lambda _name: [], described=described, line=f"BOOTIF=01-52-54-00-00-00-{boot}")
        asyncio.run(seeker.look())
        return seeker.hints.next_server, seeker.hints.problems

    assert look("04") == ("192.0.2.4", ())
    bad = "next-server of interface 3's lease: 127.0.0.1 is not the address of a server: not used"
    assert look("03") == ("192.0.2.2", (bad,))


@pytest.mark.parametrize(("systemd", "told"), [(252, 1), (256, 0), (0, 0)])
def test_a_systemd_that_tells_no_options_is_a_problem(tmp_path: Path, systemd: int, told: int) -> None:
    described = json.dumps({"Interfaces": [link(2, "eno1", {})]})
    seeker = make(tmp_path, lambda _name: [], described=described, systemd=systemd)
    for _ in range(2):
        asyncio.run(seeker.look())
    line = "systemd 252 tells no DHCP options (256 does): of DHCP, next-server and the search domains alone count"
    assert seeker.hints.problems == (line,) * told
    assert seeker.hints.too_old == (252 if told else 0)


def test_a_dns_that_is_silent_is_not_one_that_knows_nothing(tmp_path: Path) -> None:
    answers = [OSError("Temporary failure in name resolution"), None]

    def resolve(_name: str) -> list[str]:
        if answers[0]:
            raise answers[0]
        return []

    seeker = make(tmp_path, resolve)
    silent = []
    for _ in range(2):
        asyncio.run(seeker.look())
        silent.append(seeker.hints.silent_dns)
        answers.reverse()
    assert silent == [True, False]


def test_a_cloud_config_that_is_to_be_asked_for_holds_back_what_counts_less(tmp_path: Path) -> None:
    """A server in a file, or one that DHCP names, is not talked to before; then it is, where none came."""
    tokens = parse_cmdline("rancher.cloud_init.datasources=['url:http://127.0.0.1:1/cloud-config']")
    seeker = make(tmp_path, lambda _name: [], line="rancher.cloud_init.datasources=['url:http://127.0.0.1:1/x']")
    configured = Configured("http://192.0.2.9", "mk.toml")
    assert seeker.hints.awaits == "asking for the cloud-config that the kernel line names"
    assert discover(tokens, "", "http://192.0.2.8", configured, seeker.hints).candidates == ()
    kernel_line = discover((*tokens, *parse_cmdline("mk.ip=192.0.2.7")), "", "", configured, seeker.hints)
    assert [each.uri for each in kernel_line.candidates] == ["http://192.0.2.7:8026"]
    asyncio.run(seeker.look())
    assert not seeker.hints.awaits
    assert [each.uri for each in discover(tokens, "", "", configured, seeker.hints).candidates] == [configured.uri]


def test_a_cloud_config_is_awaited_until_there_is_a_network(tmp_path: Path) -> None:
    """A machine that looks before its card has an address must not take the next source for it."""
    links = [link(2, "eno1", {}, OperationalState="carrier")]

    async def describe(_bus: object) -> str:
        return json.dumps({"Interfaces": links})

    async def two() -> list[tuple[bool, int]]:
        seen: list[tuple[bool, int]] = []
        for state in ("carrier", "routable"):
            links[0] = link(2, "eno1", {}, OperationalState=state)
            await seeker.look()
            seen.append((bool(seeker.hints.awaits), len(seeker.hints.problems)))
        return seen

    line = "rancher.cloud_init.datasources=['url:http://127.0.0.1:1/x']"
    seeker = make(tmp_path, lambda _name: [], describe=describe, line=line)
    assert asyncio.run(two()) == [(True, 0), (False, 1)]


def test_better_sources_are_not_awaited_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says that there is a network, and there is one all the same."""
    described = json.dumps({"Interfaces": [link(2, "eno1", {}, OperationalState="carrier")]})
    line = "rancher.cloud_init.datasources=['url:http://127.0.0.1:1/x']"
    for wide, text in ((True, ""), (False, line)):
        seeker = make(tmp_path, lambda _name: [], described=described, wide=wide, line=text)
        monkeypatch.setattr(mkctl.seeker, "AWAIT_S", 3600.0)
        asyncio.run(seeker.look())
        assert seeker.hints.awaits
        seeker = make(tmp_path, lambda _name: [], described=described, wide=wide, line=text)
        monkeypatch.setattr(mkctl.seeker, "AWAIT_S", 0.0)
        asyncio.run(seeker.look())
        assert not seeker.hints.awaits


def test_nothing_found_is_nothing(tmp_path: Path) -> None:
    assert seek(tmp_path, {}).hints.names == ()


def test_silence_is_no_answer(tmp_path: Path) -> None:
    """A resolver that stalls for a moment must not cost a server that is found already; an answer without it does."""
    said: list[list[str]] = [["192.0.2.1"], [], ["192.0.2.1"]]

    def resolve(name: str) -> list[str]:
        if name != "razor":
            return []
        if not said[0]:
            raise OSError("Temporary failure in name resolution")
        return said[0]

    async def looks() -> list[tuple[str, ...]]:
        seeker = make(tmp_path, resolve)
        found: list[tuple[str, ...]] = []
        for _ in range(3):
            await seeker.look()
            found.append(seeker.hints.names)
            said.pop(0)
        said.insert(0, ["0.0.0.0"])
        await seeker.look()
        return [*found, seeker.hints.names]

    assert asyncio.run(looks()) == [("razor",), ("razor",), ("razor",), ()]


def test_what_answers_stays_although_dhcp_names_another(tmp_path: Path) -> None:
    """DHCP names a dead server, the DNS a living one: once that answered, no look goes back to the dead one."""
    configured = Configured()
    beyond = [False]
    described = json.dumps({"Interfaces": [link(2, "eno1", {224: "c0000242"})]})
    names = {"razor": ["192.0.2.1"]}
    seeker = make(tmp_path, lambda name: names.get(name, []), lambda: beyond[0], described=described)
    turn = Turn()

    def choose() -> str:
        asyncio.run(seeker.look())
        chosen = turn.choose(discover((), "", "", configured, seeker.hints).in_turn)
        assert chosen is not None
        beyond[0] = chosen.kind is not Kind.DHCP
        return chosen.uri

    assert choose() == "http://192.0.2.66:8026"
    turn.failed()
    beyond[0] = True  # as failures make it
    assert choose() == "http://razor:8026"
    turn.answered()
    assert [choose() for _ in range(3)] == ["http://razor:8026"] * 3


def test_leases_are_read_often_while_no_server_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """networkd tells nobody that a renewed lease differs in options; the DNS is asked on its own schedule."""
    monkeypatch.setattr(mkctl.seeker, "LEASES_S", 0.01)
    monkeypatch.setattr(mkctl.seeker.Schedule, "next_s", lambda _self: 60.0)
    asked: list[str] = []
    said = [json.dumps({"Interfaces": [link(2, "eno1", {224: number})]}) for number in ("c0000242", "c0000201")]

    async def describe(_bus: object) -> str:
        return said[0]

    def ask(name: str) -> list[str]:
        asked.append(name)
        return []

    async def story() -> str:
        changed = Wakeup()
        seeker = make(tmp_path, ask, found=changed.set, describe=describe, lost=lambda: True)
        task = asyncio.ensure_future(seeker.run())
        assert await changed.wait(20)
        del said[0]
        assert await changed.wait(20)
        task.cancel()
        return seeker.hints.leases[0].server

    assert asyncio.run(story()) == "192.0.2.1"
    assert len(asked) == len(NAMES)


def test_a_dns_that_counts_more_is_asked_before_leases_and_files_count(tmp_path: Path) -> None:
    """As the originals had it; not before there is a network in which somebody could answer."""
    links = [link(2, "eno1", {224: "c0000242"}, OperationalState="carrier")]
    configured, told = Configured("http://192.0.2.9", "mk.toml"), list[tuple[str, ...]]()

    def servers() -> tuple[str, ...]:
        found = discover((), "", "", configured, seeker.hints, "originals")
        return tuple(each.uri for each in found.candidates)

    async def describe(_bus: object) -> str:
        return json.dumps({"Interfaces": links})

    async def two() -> None:
        await seeker.look()
        assert servers() == (), "nobody could answer"
        links[0] = link(2, "eno1", {224: "c0000242"})
        await seeker.look()

    seeker = make(
        tmp_path,
        lambda name: ["192.0.2.1"] * (name == "razor"),
        describe=describe,
        wide=True,
        found=lambda: told.append(servers()),
    )
    assert servers() == () and seeker.hints.missing == ("asking the DNS, which counts more than files here",)
    asyncio.run(two())
    assert servers() == ("http://razor:8026", "http://192.0.2.66:8026", "http://192.0.2.9")
    assert [each for each in told if each] == [servers()], "none of them came before"


def renewing(tmp_path: Path, in_contact: Callable[[], bool]) -> Seeker:
    """One of a machine with two leases, and a card without."""
    without = {**link(3, "eno2", {}), "DHCPv4Client": {}}
    described = json.dumps({"Interfaces": [link(2, "eno1", {224: "c0000201"}), without, link(4, "eno3", {})]})
    return make(tmp_path, lambda _name: [], described=described, in_contact=in_contact)


def test_leases_are_renewed_while_no_server_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each that DHCP gave, whatever became of another; a right that is missing is said once."""
    monkeypatch.setattr(mkctl.renewal, "RENEW_S", 0.0)
    monkeypatch.setattr(mkctl.seeker, "LEASES_S", 0.01)
    renewed: list[int] = []

    async def renew(_bus: object, index: int) -> None:
        renewed.append(index)
        raise BusFailed("gone") if index == 2 else NotAuthorized("no")

    async def story() -> None:
        seeker = renewing(tmp_path, lambda: len(renewed) >= 4)
        task = asyncio.ensure_future(seeker.run())
        while len(renewed) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # ten looks more, and a server that answers
        assert not task.done()
        task.cancel()

    monkeypatch.setattr(mkctl.seeker, "renew_lease", renew)
    asyncio.run(story())
    assert renewed == [2, 4, 2, 4]
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "leases may not be renewed (no): they are when due"
    ]


def test_leases_are_renewed_every_few_minutes() -> None:
    """The first time at random, as a hall is switched on at once."""
    now_s = [100.0]
    renewal = Renewal(lambda: now_s[0], lambda: 0.5)

    def due(at_s: float, lacking: bool = True) -> bool:
        now_s[0] = at_s
        return renewal.is_due(lacking)

    assert [due(100), due(249), due(250), due(251), due(550)] == [False, False, True, False, True]
    assert [due(551, lacking=False), due(552), due(701), due(702)] == [False, False, False, True]


def test_a_lease_counts_before_the_dns_has_answered(tmp_path: Path) -> None:
    """Also where none answered so far: what the leases name is tried while the DNS is silent."""
    described = json.dumps({"Interfaces": [link(2, "eno1", {224: "c0000201"})]})
    silence = threading.Event()

    def ask(_name: str) -> list[str]:
        silence.wait(20)
        return []

    async def story() -> None:
        changed = Wakeup()
        seeker = make(tmp_path, ask, found=changed.set, described=described, lost=lambda: True)
        looking = asyncio.ensure_future(seeker.look())
        assert await changed.wait(10)
        assert seeker.hints.leases[0].server == "192.0.2.1" and not looking.done()
        silence.set()
        await looking

    asyncio.run(story())


def test_between_the_looks_at_all_nobody_outside_is_asked(tmp_path: Path) -> None:
    """Neither the DNS nor who has the cloud-config of the kernel line."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}/cloud-config"
        seeker = make(
            tmp_path,
            lambda name: asked.append(name) or [],  # type: ignore[func-returns-value]
            described=json.dumps({"Interfaces": []}),
            lost=lambda: True,
            line=f"rancher.cloud_init.datasources=['url:{uri}']",
        )
        asyncio.run(seeker.look(whole=False))
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert asked == []


def test_the_shipped_file_waits_until_there_was_a_network_to_ask_in(tmp_path: Path) -> None:
    """What counts least must not win because it is known first."""
    down = '{"Interfaces": [{"Index": 2, "Name": "eno1", "Type": "ether", "OperationalState": "carrier"}]}'
    said = [down, down.replace("carrier", "routable")]

    async def describe(bus: Bus) -> str:
        return said.pop(0)

    seeker = make(tmp_path, lambda name: [], describe=describe)
    for unasked in (True, True, False):
        assert seeker.hints.unasked is unasked
        found = discover((), "", "", Configured(uri="http://192.0.2.1", shipped=True), seeker.hints)
        assert bool(found.candidates) is not unasked
        if said:
            asyncio.run(seeker.look())
