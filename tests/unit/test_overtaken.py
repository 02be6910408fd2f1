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
def silent() -> Iterator[Lease]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Lease("eno2", server="127.0.0.1", port=listening.getsockname()[1], base_uri="/hanlon/api/v1")


def asking(tmp_path: Path, lease: Lease) -> tuple[Contact, Loaded, Hints]:
    """A node that is told of this server alone."""
    contact, loaded = Contact(paths_under(str(tmp_path)), (), Reporter()), load(paths_under(str(tmp_path)))
    hints = Hints(leases=(lease,))
    assert contact.look(loaded, Saved(), hints) == ""
    return contact, loaded, hints


async def check_in_while(contact: Contact, loaded: Loaded, hints: Hints) -> asyncio.Task[object]:
    """Begin a checkin, tell the node of these hints, and return the checkin's task a moment later."""
    task: asyncio.Task[object] = asyncio.ensure_future(contact.check_in(True))
    await asyncio.sleep(0.2)
    contact.give_way(loaded, hints)
    await asyncio.wait((task,), timeout=2)
    return task


def test_it_is_waited_for_no_longer_when_a_better_one_is_named(tmp_path: Path, silent: Lease) -> None:
    async def story() -> None:
        contact, loaded, hints = asking(tmp_path, silent)
        task = await check_in_while(contact, loaded, replace(hints, leases=(OTHER, silent)))
        with pytest.raises(Unreachable, match="the network names another server now"):
            await task
        assert contact.look(loaded, Saved(), replace(hints, leases=(OTHER, silent))) == ""
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


def test_one_more_behind_it_changes_nothing(tmp_path: Path, silent: Lease) -> None:
    async def story() -> None:
        contact, loaded, hints = asking(tmp_path, silent)
        task = await check_in_while(contact, loaded, replace(hints, leases=(silent, OTHER)))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
