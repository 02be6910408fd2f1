"""What a node is told at a checkin, and what it is called: pure decisions of the server (protocol 3.7).

The original servers decide in this order: a first checkin or an unknown node registers; then a forced action; then a
node that was silent too long registers; then what the node is bound to; otherwise it is acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional


class Command(Enum):
    """The four words a microkernel knows (protocol 3.4); the Razor one ignores the last."""

    ACKNOWLEDGE = "acknowledge"
    REGISTER = "register"
    REBOOT = "reboot"
    POWEROFF = "poweroff"


ORDERS = (Command.REGISTER.value, Command.REBOOT.value, Command.POWEROFF.value)
"""What a person may order for the next checkin of one node."""


class Binding(Enum):
    """What a node is for, once a person decided: the originals' no-op models `boot_local` and `discover_only`."""

    NONE = ""
    LOCAL = "local"
    POWEROFF = "poweroff"


class State(Enum):
    """State of a node; NEW and EXPIRED are shown to people, the wire knows the other three (protocol 3.7)."""

    NEW = "new"
    ACTIVE = "active"
    INACTIVE = "inactive"
    BOUND = "bound"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Timeouts:
    """Silence after which a node must register again, and after which it is forgotten by the wire, in seconds."""

    register_s: int = 120
    expire_s: int = 300


def node_state(*, registered: bool, binding: str, silence_s: float, timeouts: Timeouts) -> State:
    """Name the state of a node whose last contact is `silence_s` ago. A bound node never expires or goes inactive."""
    if not registered:
        return State.NEW
    if binding:
        return State.BOUND
    if silence_s > timeouts.expire_s:
        return State.EXPIRED
    return State.INACTIVE if silence_s > timeouts.register_s else State.ACTIVE


@dataclass(frozen=True)
class Situation:
    """What the server knows at a checkin. `known` is false for a node that never registered or has expired."""

    known: bool
    first_checkin: bool = False
    order: str = ""
    silence_s: float = 0.0
    binding: str = ""
    binding_reached: bool = False


@dataclass(frozen=True)
class Decision:
    """The command, whether it uses up the waiting order, and whether the checkin counts as contact."""

    command: Command
    takes_order: bool = False
    is_contact: bool = True
    reason: str = ""


def _bound_command(situation: Situation) -> Optional[Decision]:
    if situation.binding == Binding.POWEROFF.value:
        return Decision(Command.POWEROFF, reason="bound to stay powered off")
    if situation.binding == Binding.LOCAL.value and not situation.binding_reached:
        return Decision(Command.REBOOT, reason="bound to its local disk")
    return None


def decide(situation: Situation, timeouts: Timeouts) -> Decision:
    """Decide the answer to one checkin; the first row that applies wins.

    A first checkin does not move the node's time stamp (protocol 3.6), the registration that follows does.
    """
    if not situation.known:
        return Decision(Command.REGISTER, is_contact=False, reason="unknown to the server")
    if situation.first_checkin:
        return Decision(Command.REGISTER, is_contact=False, reason="first checkin after its boot")
    if situation.order:
        return Decision(Command(situation.order), takes_order=True, reason="ordered")
    if situation.silence_s > timeouts.register_s:
        return Decision(Command.REGISTER, reason=f"silent for {int(situation.silence_s)} s")
    return _bound_command(situation) or Decision(Command.ACKNOWLEDGE)


BOOT_FORMS = ("initrd", "first-stage", "auto")
"""What iPXE brings by itself: the whole system, a first stage that fetches it, or the one where the other failed."""


def wants_first_stage(form: str, *, failed: bool) -> bool:
    """Whether a boot is to go by way of the first stage; ``failed``: nothing came of the boot before this one."""
    return form == "first-stage" or (form == "auto" and failed)
