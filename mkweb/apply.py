"""The state machine that puts a pushed configuration into use, and takes it out again when it does not prove itself.

`apply.json` is written before each step, with the new and the previous map in it, so that whatever moment kills
mkweb, its next start knows what was meant and finishes it: stored -> restarting -> probation -> confirmed | refused.
Everything here is data in, data out: what the state says, what was seen of systemd and mkctl, and the time make the
next step; who does it is mkweb.worker.

Verdict one: the restart's job ended `done` and mkctl says on the bus that it uses the pushed digest. Verdict two:
mkctl itself confirms after a good checkin with it, or refuses. Time is CLOCK_BOOTTIME in microseconds: it goes on
during suspend and is never set.

Source: design 8 (Apply); systemd's job results in org.freedesktop.systemd1(5), JobRemoved.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Optional, TypeVar

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, get_bool, get_int, get_object, get_str, get_strings

VERSION = 1
SAFETY_S = 360.0
"""How long mkctl may stay silent in probation; it refuses by itself after 300 s, so silence longer than that means
that it hangs.
"""
ANSWER_S = 20.0
"""How long a started mkctl may take to answer on the bus."""
LOOK_AGAIN_S = 1.0
MAX_SPACING_S = 3600
MAX_REFUSED = 32
"""Digests of rolled back configurations that are remembered, the newest ones."""


class Phase(enum.Enum):
    """Where an apply stands."""

    STORED = "stored"
    RESTARTING = "restarting"
    PROBATION = "probation"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


class Report(enum.Enum):
    """What mkctl reported about the configuration."""

    NONE = ""
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Apply:
    """One apply, as apply.json holds it. `digest` and `previous` are those of `config` and `previous_config`."""

    phase: Phase
    digest: str
    previous: str
    config: dict[str, Json]
    previous_config: dict[str, Json]
    accepted_usec: int
    """When the push was accepted."""
    phase_usec: int
    """When this phase was entered; `boottime_usec` in the file."""
    boot_id: str
    spacing_s: int
    """The least time between this push and the next one."""
    refused_digests: tuple[str, ...] = ()
    report: Report = Report.NONE
    reason: str = ""
    """mkctl's own words with a refusal."""
    verdict: str = ""
    rolled_back: bool = False
    """Of a refused one: the previous configuration is back and mkctl was restarted with it."""

    @property
    def open(self) -> bool:
        """Whether steps are still owed."""
        return self.phase in (Phase.STORED, Phase.RESTARTING, Phase.PROBATION) or (
            self.phase is Phase.REFUSED and not self.rolled_back
        )


@dataclass(frozen=True)
class Seen:
    """What was seen since the phase began; empty where nothing was, or nobody answered."""

    job: str = ""
    """Result of the restart's job: done, failed, timeout, canceled, dependency, skipped."""
    job_usec: int = 0
    blocked: str = ""
    """Why the last attempt to restart made no job: not allowed, no bus."""
    retry_usec: int = 0
    """When to attempt it again."""
    active: str = ""
    """The unit's ActiveState: active, activating, deactivating, inactive, failed, reloading."""
    details: str = ""
    """What a failed start left behind: its STATUS and the journal's last line."""
    in_use: str = ""
    """mkctl's ConfigDigest."""
    config_error: str = ""
    """mkctl's ConfigError."""


class Do(enum.Enum):
    """What to do next."""

    BEGIN = "enter restarting"
    RESTART = "have systemd restart mkctl"
    LOOK = "look again after a while"
    TRY = "enter probation"
    CONFIRM = "keep it"
    REFUSE = "put the previous one back"
    CLOSE = "the previous one is back"
    REST = "nothing is owed"


@dataclass(frozen=True)
class Step:
    """The next step, why, and for LOOK in how many seconds."""

    do: Do
    why: str = ""
    wait_s: float = 0.0


def next_step(apply: Apply, seen: Seen, now_usec: int) -> Step:
    """Return the step that `apply` needs next, given what was seen by `now_usec`."""
    if apply.phase is Phase.STORED:
        return Step(Do.BEGIN)
    if apply.phase is Phase.RESTARTING:
        return _in_restart(apply, seen, now_usec)
    if apply.phase is Phase.PROBATION:
        return _on_probation(apply, now_usec)
    if apply.open:
        return _in_rollback(apply, seen, now_usec)
    return Step(Do.REST)


def _in_restart(apply: Apply, seen: Seen, now_usec: int) -> Step:
    if seen.in_use == apply.digest and seen.active == "active":
        return Step(Do.TRY, "mkctl runs with it")
    if not seen.job:
        return _attempt(seen, now_usec)
    waited_s = (now_usec - seen.job_usec) / 1e6
    if seen.job == "done" or seen.active == "active":
        if seen.in_use and seen.in_use != apply.digest:
            return Step(Do.REFUSE, f"mkctl started but uses another configuration: {seen.config_error or seen.in_use}")
        if waited_s < ANSWER_S:
            return Step(Do.LOOK, "mkctl does not answer on the bus yet", LOOK_AGAIN_S)
        return Step(Do.REFUSE, _with("mkctl started but does not answer on the bus", seen.details))
    if seen.job in ("failed", "timeout", "dependency"):
        return Step(Do.REFUSE, _with(f"mkctl did not start with it (job {seen.job})", seen.details))
    if (
        waited_s < SAFETY_S
    ):  # canceled or skipped: someone else stops or starts mkctl, which says nothing about the configuration
        return Step(
            Do.LOOK,
            f"someone else's job replaced the restart ({seen.job}); mkctl is {seen.active or 'unknown'}",
            LOOK_AGAIN_S,
        )
    return Step(Do.REFUSE, f"mkctl was stopped before it could try it (job {seen.job}, now {seen.active or 'unknown'})")


def _on_probation(apply: Apply, now_usec: int) -> Step:
    if apply.report is Report.CONFIRMED:
        return Step(Do.CONFIRM, "mkctl reached its server with it")
    if apply.report is Report.REFUSED:
        return Step(Do.REFUSE, f"mkctl refused it: {apply.reason or 'no reason given'}")
    left_s = SAFETY_S - (now_usec - apply.phase_usec) / 1e6
    if left_s > 0:
        return Step(Do.LOOK, "mkctl has it on probation", left_s)
    return Step(Do.REFUSE, f"mkctl gave no verdict within {SAFETY_S:.0f} s")


def _in_rollback(apply: Apply, seen: Seen, now_usec: int) -> Step:
    if seen.in_use == apply.previous and seen.active == "active" and not seen.config_error:
        return Step(Do.CLOSE)
    if seen.job:
        return Step(
            Do.CLOSE,
            "" if seen.job == "done" else _with(f"the restart with the previous one: job {seen.job}", seen.details),
        )
    if (
        seen.active == "inactive"
    ):  # Restart=always never leaves it so: someone stopped it, and starting it again is theirs too
        return Step(Do.CLOSE, "mkctl is stopped and was left so")
    if seen.blocked and (now_usec - apply.phase_usec) / 1e6 >= SAFETY_S:
        return Step(Do.CLOSE, f"mkctl could not be restarted with the previous one: {seen.blocked}")
    return _attempt(seen, now_usec)


def _attempt(seen: Seen, now_usec: int) -> Step:
    if seen.blocked and now_usec < seen.retry_usec:
        return Step(Do.LOOK, f"mkctl could not be restarted: {seen.blocked}", (seen.retry_usec - now_usec) / 1e6)
    return Step(Do.RESTART)


def _with(text: str, details: str) -> str:
    return f"{text}; {details}" if details else text


def begin_apply(
    config: dict[str, Json],
    digest: str,
    current: dict[str, Json],
    current_digest: str,
    last: Optional[Apply],
    now_usec: int,
    boot_id: str,
    spacing_s: int,
) -> Apply:
    """Return the apply of a newly accepted configuration; the spacing and the refused digests of the last one live
    on.
    """
    rolled_back = last is not None and last.phase is Phase.REFUSED
    return Apply(
        phase=Phase.STORED,
        digest=digest,
        previous=current_digest,
        config=config,
        previous_config=current,
        accepted_usec=now_usec,
        phase_usec=now_usec,
        boot_id=boot_id,
        spacing_s=max(spacing_s, last.spacing_s) if last and rolled_back else spacing_s,
        refused_digests=last.refused_digests if last else (),
    )


def enter(apply: Apply, step: Step, now_usec: int, spacing_s: int) -> Apply:
    """Return `apply` after the decision of `step` (BEGIN, TRY, CONFIRM, REFUSE or CLOSE); `spacing_s` is the
    site's least spacing.
    """
    if step.do is Do.BEGIN:
        return replace(apply, phase=Phase.RESTARTING, phase_usec=now_usec, verdict="mkctl is to be restarted with it")
    if step.do is Do.TRY:
        return replace(apply, phase=Phase.PROBATION, phase_usec=now_usec, verdict=step.why)
    if step.do is Do.CONFIRM:
        return replace(
            apply, phase=Phase.CONFIRMED, phase_usec=now_usec, verdict=step.why, spacing_s=spacing_s, refused_digests=()
        )
    if step.do is Do.REFUSE:
        kept = tuple(digest for digest in apply.refused_digests if digest != apply.digest)[-(MAX_REFUSED - 1) :]
        spacing = min(MAX_SPACING_S, max(spacing_s, apply.spacing_s) * 2)
        return replace(
            apply,
            phase=Phase.REFUSED,
            phase_usec=now_usec,
            verdict=step.why,
            spacing_s=spacing,
            refused_digests=(*kept, apply.digest),
        )
    return replace(apply, phase_usec=now_usec, verdict=_with(apply.verdict, step.why), rolled_back=True)


def spacing_left_s(last: Optional[Apply], now_usec: int) -> float:
    """Return the seconds until another push may be taken: from a confirmed one's acceptance, from a rolled back one's
    end.
    """
    if last is None:
        return 0.0
    since = last.phase_usec if last.phase is Phase.REFUSED else last.accepted_usec
    return max(0.0, last.spacing_s - (now_usec - since) / 1e6)


def parse_apply(stored: dict[str, Json], now_usec: int, boot_id: str) -> Apply:
    """Parse apply.json; raise BadInput naming the wrong key. One of another boot counts its times from now, since
    that clock began anew.
    """
    where = "apply.json"
    if get_int(stored, "version", where=where) != VERSION:
        raise BadInput(f"version {get_int(stored, 'version', where=where)} is not {VERSION}", where)
    same_boot = get_str(stored, "boot_id", where=where) == boot_id
    accepted = get_int(stored, "accepted_usec", where=where, low=0)
    entered = get_int(stored, "boottime_usec", where=where, low=0)
    return Apply(
        phase=_member(Phase, get_str(stored, "phase", where=where), f"{where}: phase"),
        digest=get_str(stored, "digest", where=where),
        previous=get_str(stored, "previous", where=where),
        config=get_object(stored, "config", where=where),
        previous_config=get_object(stored, "previous_config", where=where),
        accepted_usec=min(accepted, now_usec) if same_boot else now_usec,
        phase_usec=min(entered, now_usec) if same_boot else now_usec,
        boot_id=boot_id,
        spacing_s=get_int(stored, "spacing_s", where=where, low=0, high=MAX_SPACING_S),
        refused_digests=tuple(get_strings(stored, "refused_digests", where=where)),
        report=_member(Report, get_str(stored, "report", default="", where=where), f"{where}: report"),
        reason=get_str(stored, "reason", default="", where=where),
        verdict=get_str(stored, "verdict", default="", where=where),
        rolled_back=get_bool(stored, "rolled_back", default=False, where=where),
    )


_Member = TypeVar("_Member", bound=enum.Enum)


def _member(kind: type[_Member], text: str, where: str) -> _Member:
    try:
        return kind(text)
    except ValueError:
        raise BadInput(f"{text!r} is none of {', '.join(repr(each.value) for each in kind)}", where) from None


def build_apply(apply: Apply) -> dict[str, Json]:
    """Build the content of apply.json."""
    return {**describe_apply(apply), "config": apply.config, "previous_config": apply.previous_config}


def describe_apply(apply: Apply) -> dict[str, Json]:
    """Build what GET /config shows of an apply: apply.json without the two maps."""
    return {
        "version": VERSION,
        "digest": apply.digest,
        "previous": apply.previous,
        "phase": apply.phase.value,
        "verdict": apply.verdict,
        "report": apply.report.value,
        "reason": apply.reason,
        "rolled_back": apply.rolled_back,
        "boottime_usec": apply.phase_usec,
        "accepted_usec": apply.accepted_usec,
        "boot_id": apply.boot_id,
        "spacing_s": apply.spacing_s,
        "refused_digests": list(apply.refused_digests),
    }
