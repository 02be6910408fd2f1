"""Which of a machine's warnings a test forgives: silence that ended, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mkcore import events
from mkcore.events import Event
from tests.machines.complaints import MOST_SILENCES, list_complaints

SERVER = "http://192.168.88.1:8026"
SILENCE = f"{SERVER}/node/checkin: timed out; trying again in 2 s"
NO_ANSWER = f"{SERVER}/node/checkin: no complete answer within 20 s; trying again in 2 s"
REFUSED = f"{SERVER}/node/checkin: Connection refused; trying again in 2 s"
BACK = f"{SERVER} answers again after 1 failed checkins"

Entry = Mapping[str, str]


def entry(event: Event, message: str) -> Entry:
    """One line of mkctl's journal."""
    named = {"MESSAGE": message, "MESSAGE_ID": event.id, "PRIORITY": str(event.priority)}
    return {**named, "_SYSTEMD_UNIT": "mkctl.service"}


LOST = entry(events.SERVER_LOST, SILENCE)
FOUND_AGAIN = entry(events.SERVER_BACK, BACK)
PLAIN = {"MESSAGE": "a warning of its own", "PRIORITY": "4", "_SYSTEMD_UNIT": "mkweb.service"}


@pytest.mark.parametrize(
    ("entries", "complaints"),
    [
        pytest.param([entry(events.REGISTERED, "registered"), {"MESSAGE": "no priority"}], [], id="nothing"),
        pytest.param([LOST, FOUND_AGAIN], [], id="timed out, answered later"),
        pytest.param([entry(events.SERVER_LOST, NO_ANSWER), FOUND_AGAIN], [], id="no whole answer, answered later"),
        pytest.param([LOST], [f"mkctl.service: {SILENCE}"], id="never answered"),
        pytest.param([FOUND_AGAIN, LOST], [f"mkctl.service: {SILENCE}"], id="answered before"),
        pytest.param(
            [entry(events.SERVER_LOST, REFUSED), FOUND_AGAIN], [f"mkctl.service: {REFUSED}"], id="another reason"
        ),
        pytest.param(
            [entry(events.BAD_ANSWER, SILENCE), FOUND_AGAIN], [f"mkctl.service: {SILENCE}"], id="another event"
        ),
        pytest.param([LOST, PLAIN, FOUND_AGAIN], ["mkweb.service: a warning of its own"], id="a warning beside it"),
        pytest.param(
            [LOST, FOUND_AGAIN] * (MOST_SILENCES + 1), [f"mkctl.service: {SILENCE}"] * (MOST_SILENCES + 1), id="often"
        ),
    ],
)
def test_complaints(entries: list[Entry], complaints: list[str]) -> None:
    """Entries of a boot -> the lines that a test fails for."""
    assert list_complaints(entries) == complaints
