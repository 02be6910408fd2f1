"""The words that `mkctl.decide` thinks in: what is remembered, what happened, what shall be done.

Everything here is frozen data, so that each decision is a value that a test can compare and a log can show. Times are
seconds of CLOCK_BOOTTIME: it goes on while a machine sleeps and nobody can set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Optional, Union

from mkcore.errors import MkError
from mkcore.events import Event
from mkcore.jsonfields import Json
from mkctl.dialects.model import Reply

# ---------------------------------------------------------------- what is remembered


class Verdict(Enum):
    """What mkctl found out about a configuration on probation and has to tell mkweb."""

    OPEN = "open"
    CONFIRM = "confirm"
    REFUSE = "refuse"


class Probation(NamedTuple):
    """A pushed configuration that mkweb wants a verdict on."""

    digest: str
    since_s: float
    failed_checkins: int = 0
    verdict: Verdict = Verdict.OPEN
    reason: str = ""


class State(NamedTuple):
    """All that decisions depend on beside the situation of the moment. The first three survive a restart of mkctl.

    `registered_digest` is "" when nothing is registered, or when the server ordered a registration that has not
    succeeded yet: an order is thereby not lost in a restart.
    """

    first_checkin: bool = True
    registered_digest: str = ""
    registered_server: str = ""
    wanted: str = ""  # why a registration is owed: "", "ordered", "asked"
    changed_since_s: Optional[float] = None  # since when facts differ while hardware still comes and goes
    registering: bool = False
    register_failures: int = 0
    register_not_before_s: float = 0.0
    in_contact: bool = False
    ever_in_contact: bool = False
    failures: int = 0
    last_failure: str = ""
    last_command: str = ""
    slot_s: Optional[float] = None
    pending_post: Optional[PostConfig] = None
    settled_config: str = ""  # digest of what was sent and needs no second post
    post_not_before_s: float = 0.0
    post_failure: str = ""
    probation: Optional[Probation] = None
    fetch_started: bool = False  # by this process
    fetch_failures: int = 0
    fetch_not_before_s: float = 0.0


class Facts(NamedTuple):
    """What decisions need to know of facts.json.

    `digest` is that of what would be sent, less the volatile facts (`mkctl.registration.digest_facts`); "" without a
    file. `age_s` counts from the end of the last collection, from boot during the first. `uevents_unchanged`: no
    hardware came or went since (`mkcore.uevents`).
    """

    present: bool = False
    complete: bool = False
    digest: str = ""
    age_s: float = 0.0
    uevents_unchanged: bool = False


class Situation(NamedTuple):
    """The moment a decision is made in; `rand` in [0, 1) feeds the jitter, `seed` the phase (`Identity.seed`)."""

    now_s: float
    server: str
    seed: str
    facts: Facts
    rand: float = 0.5
    hold_registration: bool = False
    pushed: Mapping[str, Json] = {}
    refused_digests: frozenset[str] = frozenset()
    moves_on: bool = False
    """Whether the next checkin goes to another server than the one that failed."""


class Settings(NamedTuple):
    """The configuration values that decisions depend on (mk.toml names in comments); seconds throughout."""

    interval_s: float = 60.0  # checkin.interval_s
    retry_ceiling_s: float = 90.0  # checkin.retry_ceiling_s
    facts_max_age_s: float = 300.0  # facts.max_age_s
    allow_power_orders: bool = False  # actions.allow_power_orders


# ---------------------------------------------------------------- what happened


@dataclass(frozen=True)
class NoServer:
    """Discovery found no address; `reason` says where it looked, or which network is missing."""

    reason: str


@dataclass(frozen=True)
class CheckedIn:
    """A checkin with errcode 0. `differing` names the pushed keys that differ (mkcore.config.differs)."""

    reply: Reply
    differing: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckinFailed:
    """A checkin without a usable answer: Unreachable, ServerRefused or BadAnswer."""

    error: MkError


@dataclass(frozen=True)
class RegisterAsked:
    """A person asked for a registration (Register() on the bus)."""


@dataclass(frozen=True)
class Registered:
    """The server took the registration of facts with this digest."""

    server: str
    digest: str


@dataclass(frozen=True)
class RegistrationFailed:
    """The server did not take the registration."""

    error: MkError


@dataclass(frozen=True)
class FactsArrived:
    """facts.json was written (the situation holds what it says now)."""


@dataclass(frozen=True)
class FactsFailed:
    """A collection that was asked for did not happen."""

    error: MkError


@dataclass(frozen=True)
class HoldReleased:
    """Nothing holds a registration back any more (extensions are merged, or their time is up)."""


@dataclass(frozen=True)
class FetchFailed:
    """mk-fetch could not be started. How it ended is its own matter."""

    error: MkError


@dataclass(frozen=True)
class PowerFailed:
    """systemd did not take the power order."""

    kind: str
    error: MkError


@dataclass(frozen=True)
class ConfigStored:
    """mkweb stored the configuration and will restart us."""


@dataclass(frozen=True)
class ConfigUnchanged:
    """mkweb found nothing new in the configuration."""


@dataclass(frozen=True)
class ConfigNotTaken:
    """mkweb did not store it. `final`: the same again is pointless (400, 413, 422); else later (409, 429, silence)."""

    reason: str
    final: bool
    retry_after_s: Optional[float] = None


@dataclass(frozen=True)
class NotRestarted:
    """The restart that mkweb announced did not come in time."""


@dataclass(frozen=True)
class VerdictDelivered:
    """mkweb took /confirm or /refuse."""


@dataclass(frozen=True)
class VerdictFailed:
    """mkweb could not be told."""

    error: MkError


Outcome = Union[
    NoServer, CheckedIn, CheckinFailed, RegisterAsked, Registered, RegistrationFailed, FactsArrived, FactsFailed,
    HoldReleased, FetchFailed, PowerFailed, ConfigStored, ConfigUnchanged, ConfigNotTaken, NotRestarted,
    VerdictDelivered, VerdictFailed,
]  # fmt: skip

# ---------------------------------------------------------------- what shall be done


@dataclass(frozen=True)
class Wait:
    """Check in again at `until_s` (absolute); `reason` is a status line such as `next checkin`."""

    until_s: float
    reason: str


@dataclass(frozen=True)
class SaveState:
    """Write state.json now, before the next action: a restart may follow, which the first-checkin flag must survive."""


@dataclass(frozen=True)
class Register:
    """Send the facts; `reason` is `ordered`, `asked`, `new`, `facts changed` or `other server`."""

    reason: str


@dataclass(frozen=True)
class CollectFacts:
    """Start mk-facts.service. Its end is FactsArrived, also when the file says nothing new, or FactsFailed."""

    reason: str


@dataclass(frozen=True)
class FetchExtensions:
    """Start mk-fetch.service, after the run that may be under way. No outcome but FetchFailed."""


@dataclass(frozen=True)
class Power:
    """Start `kind`.target: `reboot` or `poweroff`."""

    kind: str


@dataclass(frozen=True)
class PostConfig:
    """POST this map to mkweb; `keys` are the ones that differ."""

    config: dict[str, Json]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class AwaitRestart:
    """Start nothing more and wait for SIGTERM this long; then NotRestarted."""

    timeout_s: float


@dataclass(frozen=True)
class Confirm:
    """POST /confirm for this digest; then VerdictDelivered, or VerdictFailed (not retryable: no such apply is open)."""

    digest: str


@dataclass(frozen=True)
class Refuse:
    """POST /refuse for this digest; then VerdictDelivered or VerdictFailed."""

    digest: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Tell the operator: one event of the journal's catalog, one line of text, fields (`server` becomes MK_SERVER)."""

    event: Event
    message: str
    fields: Mapping[str, str] = field(default_factory=dict[str, str])


Action = Union[
    Wait, SaveState, Register, CollectFacts, FetchExtensions, Power, PostConfig, AwaitRestart, Confirm, Refuse, Report,
]  # fmt: skip


class Decision(NamedTuple):
    """The state from now on and what to do, in this order; at most one Wait, always last."""

    state: State
    actions: tuple[Action, ...] = ()
