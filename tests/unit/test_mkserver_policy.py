"""The server's decisions as tables: what a checkin is answered with, what a node is called."""

from __future__ import annotations

import pytest

from mkserver.policy import Command, Situation, State, Timeouts, decide, node_state

TIMEOUTS = Timeouts(register_s=120, expire_s=300)
A, R, B, P = Command.ACKNOWLEDGE, Command.REGISTER, Command.REBOOT, Command.POWEROFF


@pytest.mark.parametrize(
    ("situation", "command", "takes_order", "is_contact"),
    [
        (Situation(known=False), R, False, False),
        (Situation(known=False, order="reboot"), R, False, False),
        (Situation(known=True, first_checkin=True), R, False, False),
        (Situation(known=True, first_checkin=True, order="poweroff"), R, False, False),
        (Situation(known=True, silence_s=60), A, False, True),
        (Situation(known=True, silence_s=120), A, False, True),
        (Situation(known=True, silence_s=120.001), R, False, True),
        (Situation(known=True, order="register"), R, True, True),
        (Situation(known=True, order="reboot"), B, True, True),
        (Situation(known=True, order="poweroff"), P, True, True),
        (Situation(known=True, order="reboot", silence_s=200), B, True, True),
        (Situation(known=True, order="reboot", binding="poweroff"), B, True, True),
        (Situation(known=True, binding="poweroff"), P, False, True),
        (Situation(known=True, binding="poweroff", binding_reached=True), P, False, True),
        (Situation(known=True, binding="local"), B, False, True),
        (Situation(known=True, binding="local", binding_reached=True), A, False, True),
        (Situation(known=True, binding="local", silence_s=200), R, False, True),
    ],
)
def test_decisions(situation: Situation, command: Command, takes_order: bool, is_contact: bool) -> None:
    decision = decide(situation, TIMEOUTS)
    assert (decision.command, decision.takes_order, decision.is_contact) == (command, takes_order, is_contact)
    assert decision.reason or command is A


@pytest.mark.parametrize(
    ("registered", "binding", "silence_s", "state"),
    [
        (False, "", 0, State.NEW),
        (True, "", 0, State.ACTIVE),
        (True, "", 120, State.ACTIVE),
        (True, "", 121, State.INACTIVE),
        (True, "", 300, State.INACTIVE),
        (True, "", 301, State.EXPIRED),
        (True, "local", 100_000, State.BOUND),
    ],
)
def test_states(registered: bool, binding: str, silence_s: float, state: State) -> None:
    assert node_state(registered=registered, binding=binding, silence_s=silence_s, timeouts=TIMEOUTS) is state
