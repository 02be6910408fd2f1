"""The order of all sources, and who is tried next (protocol 1.4; rows 9 to 14)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from mkctl.candidate import Candidate, Configured, Kind
from mkctl.cmdline import parse_cmdline
from mkctl.dialects import HANLON, RAZOR
from mkctl.discovery import ORDERS, discover
from mkctl.hints import Hints, Lease, Service
from mkctl.turn import PATIENCE, Turn

ADDRESSES = {kind: f"192.0.2.{number}" for number, kind in enumerate(Kind, 1)}
"""An address of its own for each source, so that it tells which one counted."""

PAIRS = list(itertools.combinations(Kind, 2))


def look(kinds: set[Kind], order: str = "explicit") -> list[Kind]:
    """Discover with these sources alone; return the kinds of the candidates, as their addresses tell them."""

    def said(kind: Kind) -> str:
        return ADDRESSES[kind] if kind in kinds else ""

    shipped = Kind.SHIPPED in kinds
    configured = said(Kind.SHIPPED if shipped else Kind.SITE)
    hints = Hints(
        leases=(Lease("eno1", server=said(Kind.DHCP)),),
        services=(Service("s.example", 80),) if Kind.SERVICE in kinds else (),
        names=("hanlon",) if Kind.NAME in kinds else (),
        next_server=said(Kind.NEXT_SERVER),
    )
    found = discover(
        parse_cmdline(f"mk.ip={said(Kind.KERNEL_LINE)}" if Kind.KERNEL_LINE in kinds else ""),
        f"http://{said(Kind.PUSH)}:8026" if Kind.PUSH in kinds else "",
        f"http://{said(Kind.CREDENTIAL)}:8026" if Kind.CREDENTIAL in kinds else "",
        Configured(uri=f"http://{configured}:8026" if configured else "", shipped=shipped),
        hints,
        order,
    )
    by_uri = {f"http://{address}:8026": kind for kind, address in ADDRESSES.items()}
    by_uri |= {"http://s.example:80": Kind.SERVICE, "http://hanlon:8026": Kind.NAME}
    assert found.problems == ()
    for each in found.candidates:
        assert each.kind is by_uri[each.uri]
    return [each.kind for each in found.candidates]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_each_pair_of_sources_in_conflict(pair: tuple[Kind, Kind], order: str) -> None:
    """The one that stands first in the documented order counts."""
    if set(pair) == {Kind.SITE, Kind.SHIPPED}:
        return  # one key of one configuration: which file it came from is decided where files are read
    ranked = sorted(pair, key=ORDERS[order].index)
    assert look(set(pair), order) == ranked


@pytest.mark.parametrize("order", ORDERS)
def test_orders_hold_every_source_once(order: str) -> None:
    assert sorted(ORDERS[order], key=lambda kind: kind.name) == sorted(Kind, key=lambda kind: kind.name)


def test_the_documented_order() -> None:
    """What README and mk.toml(5) say, literally."""
    names = [kind.name for kind in ORDERS["explicit"]]
    assert names == ["PUSH", "KERNEL_LINE", "CREDENTIAL", "SITE", "DHCP", "SERVICE", "NAME", "NEXT_SERVER", "SHIPPED"]
    names = [kind.name for kind in ORDERS["originals"]]
    assert names[:5] == ["PUSH", "KERNEL_LINE", "NAME", "DHCP", "NEXT_SERVER"]


def test_port_and_base_path_of_a_lease_count_for_names_and_next_server() -> None:
    """Options 225 and 226 without 224, as with a server that is found by its name (protocol 1.4)."""
    hints = Hints(leases=(Lease("eno1", port=81, base_uri="/h/api/v1"),), names=("hanlon", "razor"))
    found = discover((), "", "", Configured(), hints).candidates
    assert [(each.uri, each.base_path, each.dialect) for each in found] == [
        ("http://hanlon:81", "/h/api/v1", HANLON),
        ("http://razor:81", "", RAZOR),
    ]
    found = discover(parse_cmdline("mk.next_server=192.0.2.9"), "", "", Configured(), hints).candidates
    assert (found[2].uri, found[2].base_path, found[2].source) == ("http://192.0.2.9:81", "/h/api/v1", "next-server")


@pytest.mark.parametrize(
    ("order", "uri"), [("originals", "http://192.0.2.1:81"), ("explicit", "http://192.0.2.1:8026")]
)
def test_hanlons_own_kernel_line_borrows_from_the_lease_in_the_order_of_the_originals(order: str, uri: str) -> None:
    hints = Hints(leases=(Lease("eno1", port=81, base_uri="/h/api/v1"),))
    found = discover(parse_cmdline("hanlon.ip=192.0.2.1"), "", "", Configured(), hints, order).candidates
    assert [each.uri for each in found] == [uri]
    line = parse_cmdline("hanlon.ip=192.0.2.1 hanlon.port=82")
    assert discover(line, "", "", Configured(), hints, "originals").candidates[0].uri == "http://192.0.2.1:82"


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "false", "255.255.255.255"])
def test_next_server_that_cannot_be_a_server_is_a_line_and_the_next_source_counts(address: str) -> None:
    hints = Hints(names=("razor",))
    found = discover(parse_cmdline(f"mk.next_server={address}"), "", "", Configured(), hints)
    assert [each.uri for each in found.candidates] == ["http://razor:8026"]
    assert len(found.problems) == 1
    assert found.problems[0].text.startswith("next-server: ")


def test_one_server_named_twice_is_one_candidate() -> None:
    hints = Hints(
        leases=(Lease("eno1", server="192.0.2.1"), Lease("eno2", server="192.0.2.1")), next_server="192.0.2.1"
    )
    assert len(discover((), "", "", Configured(), hints).candidates) == 1


def test_written_servers_are_never_left_for_found_ones() -> None:
    """Who silences the kernel line's server must not win the machine with a DHCP answer."""
    hints = Hints(leases=(Lease("eno1", server="192.0.2.66"),))
    line = parse_cmdline("mk.ip=192.0.2.1 hanlon.ip=192.0.2.2")
    turn = discover(line, "", "", Configured(), hints).in_turn
    assert [each.uri for each in turn] == ["http://192.0.2.1:8026", "http://192.0.2.2:8026"]
    pushed = discover(line, "http://192.0.2.5:1", "", Configured(), hints).in_turn
    assert [each.uri for each in pushed] == ["http://192.0.2.5:1"]  # its failure is judged by the probation
    assert len(discover((), "", "", Configured(), hints).in_turn) == 1
    assert discover((), "", "", Configured(), Hints()).in_turn == ()


A, B, C = (Candidate(f"http://192.0.2.{number}:8026", "test") for number in (1, 2, 3))


def test_turn_goes_through_all_and_begins_again() -> None:
    turn = Turn()
    for expected in (A, B, C, A, B):
        assert turn.choose([A, B, C]) == expected
        turn.failed()


def test_turn_stays_with_the_one_that_answered() -> None:
    turn = Turn()
    turn.choose([A, B])
    turn.failed()
    assert turn.moves_on
    assert turn.choose([A, B]) == B
    turn.answered()
    for _ in range(PATIENCE - 1):
        turn.failed()
        assert not turn.moves_on
        assert turn.choose([A, B]) == B
    turn.failed()
    assert turn.choose([A, B]) == A
    turn.failed()
    assert not turn.moves_on  # all have failed: now it waits
    assert turn.choose([A, B]) == B


def test_turn_follows_what_is_named() -> None:
    turn = Turn()
    assert turn.choose([]) is None
    assert turn.choose([A]) == A
    turn.answered()
    assert turn.choose([B]) == B
    assert turn.choose([A, B]) == A
    turn.failed()
    assert turn.choose([A]) == A


def test_turn_is_overtaken_by_a_better_one_that_is_named_meanwhile() -> None:
    turn = Turn()
    turn.choose([B])
    turn.offer([B, A])
    assert not turn.overtaken and not turn.moves_on
    turn.offer([A, B])
    assert turn.overtaken and turn.moves_on
    assert turn.choose([A, B]) == A
    turn.failed()
    assert turn.choose([A, B]) == B  # it was not given its time before, and is asked before A again


def test_turn_is_not_overtaken_by_what_is_no_better() -> None:
    turn = Turn()
    turn.choose([A, B])
    turn.failed()
    turn.choose([A, B])
    turn.offer([A, B])
    assert not turn.overtaken  # A has failed
    turn.offer([replace(B, source="another card"), C])
    assert not turn.overtaken  # it is the same server
    turn.answered()
    turn.offer([C, B])
    assert not turn.overtaken  # it is a server of ours


def test_both_words_for_next_server_count() -> None:
    """What iPXE was told may be wrong, or old; the lease's is tried then."""
    hints = Hints(next_server="192.0.2.77")
    found = discover(parse_cmdline("mk.next_server=192.0.2.1"), "", "", Configured(), hints)
    assert [each.uri for each in found.candidates] == ["http://192.0.2.1:8026", "http://192.0.2.77:8026"]
    found = discover(parse_cmdline("mk.next_server=127.0.0.1"), "", "", Configured(), hints)
    assert [each.uri for each in found.candidates] == ["http://192.0.2.77:8026"] and len(found.problems) == 1


def test_a_server_stays_the_same_whatever_names_it() -> None:
    """A lease that moves to another card, and a file that is written later, cost it neither trust nor patience."""
    turn = Turn()
    turn.choose([A, B])
    turn.failed()
    assert turn.choose([replace(A, source="another card"), B]) == B, "it has failed under another name"
    turn.answered()
    turn.failed()
    other = replace(B, source="another card")
    assert turn.choose([C, other]) == other and turn.settled
    turn.failed()
    assert turn.choose([C, other]) == other, "the patience goes on"
    turn.failed()
    assert turn.choose([C, other]) == C
