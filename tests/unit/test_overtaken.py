"""A server that never answered gives way to the one that the network names meanwhile; loopback addresses count as
servers here alone, by naming them in hints instead of leases.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mkcore.errors import Unreachable
from mkcore.paths import paths_under
from mkctl.contact import Contact
from mkctl.hints import Hints, Lease
from mkctl.reports import Reporter
from mkctl.settings import Loaded, load
from mkctl.state import Saved

OTHER = Lease("eno1", server="192.0.2.1", base_uri="/hanlon/api/v1")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture
def silent(listening: socket.socket) -> Lease:
    """What DHCP says of it."""
    return Lease("eno2", server="127.0.0.1", port=listening.getsockname()[1], base_uri="/hanlon/api/v1")


def asking(tmp_path: Path, lease: Lease) -> tuple[Contact, Loaded, Hints]:
    """A node that is told of this server alone."""
    contact, loaded = Contact(paths_under(str(tmp_path)), (), Reporter()), load(paths_under(str(tmp_path)))
    hints = Hints(leases=(lease,))
    assert contact.look(loaded, Saved(), hints) == ""
    return contact, loaded, hints


async def check_in(contact: Contact, listening: socket.socket) -> tuple[asyncio.Task[object], socket.socket]:
    """Begin a checkin; return its task and its connection when the server has been asked."""
    task: asyncio.Task[object] = asyncio.ensure_future(contact.check_in(True))
    connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listening), 20)
    return task, connection


def test_it_is_waited_for_no_longer_when_a_better_one_is_named(
    tmp_path: Path, listening: socket.socket, silent: Lease
) -> None:
    async def story() -> None:
        contact, loaded, hints = asking(tmp_path, silent)
        task, connection = await check_in(contact, listening)
        with connection:
            better = replace(hints, leases=(OTHER, silent))
            contact.give_way(loaded, better)
            with pytest.raises(Unreachable, match="no answer yet, and the network names another server now"):
                await task
        assert contact.look(loaded, Saved(), better) == ""
        assert contact.server.startswith("http://192.0.2.1")

    asyncio.run(story())


def test_one_that_is_overtaken_before_it_is_asked_is_not_asked(tmp_path: Path, silent: Lease) -> None:
    """As while extensions are looked at between the choice and the checkin."""

    async def story() -> None:
        contact, loaded, hints = asking(tmp_path, silent)
        contact.give_way(loaded, replace(hints, leases=(OTHER, silent)))
        with pytest.raises(Unreachable, match="not asked, as the network names another server now"):
            await contact.check_in(True)

    asyncio.run(story())


def test_one_more_behind_it_changes_nothing(tmp_path: Path, listening: socket.socket, silent: Lease) -> None:
    """It may still answer; that it was given up would be known at once."""

    async def story() -> None:
        contact, loaded, hints = asking(tmp_path, silent)
        task, connection = await check_in(contact, listening)
        with connection:
            contact.give_way(loaded, replace(hints, leases=(silent, OTHER)))
            await asyncio.wait((task,), timeout=0.5)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(story())
