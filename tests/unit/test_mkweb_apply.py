"""The apply's state machine as a table: state and what was seen, to the next step."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mkcore.errors import BadInput
from mkweb.apply import (
    ANSWER_S,
    MAX_REFUSED,
    MAX_SPACING_S,
    SAFETY_S,
    Apply,
    Do,
    Phase,
    Report,
    Seen,
    Step,
    begin_apply,
    build_apply,
    describe_apply,
    enter,
    next_step,
    parse_apply,
    spacing_left_s,
)

SECOND = 1_000_000
T0 = 1000 * SECOND

APPLY = Apply(
    phase=Phase.STORED,
    digest="new",
    previous="old",
    config={"mk_checkin_interval": 30},
    previous_config={},
    accepted_usec=T0,
    phase_usec=T0,
    boot_id="boot",
    spacing_s=60,
)
RESTARTING = replace(APPLY, phase=Phase.RESTARTING)
PROBATION = replace(APPLY, phase=Phase.PROBATION)
REFUSED = replace(APPLY, phase=Phase.REFUSED, verdict="mkctl refused it")
RUNS_OLD = Seen(active="active", in_use="old")
RUNS_NEW = Seen(active="active", in_use="new")


def done(seconds_ago: float = 0.0, job: str = "done", **seen: str) -> Seen:
    return Seen(job=job, job_usec=int(T0 - seconds_ago * SECOND), **seen)


TABLE = [
    # phase, what was seen, the step, a word of its reason
    ("stored", APPLY, Seen(), Do.BEGIN, ""),
    ("restart: not asked yet", RESTARTING, RUNS_OLD, Do.RESTART, ""),
    ("restart: mkctl down", RESTARTING, Seen(active="failed"), Do.RESTART, ""),
    ("restart: nobody answers", RESTARTING, Seen(), Do.RESTART, ""),
    ("restart: already in use, mkctl restarted by itself", RESTARTING, RUNS_NEW, Do.TRY, "runs with it"),
    ("restart: in use but not ready", RESTARTING, Seen(active="activating", in_use="new"), Do.RESTART, ""),
    (
        "restart: not allowed, too early",
        RESTARTING,
        Seen(blocked="no", retry_usec=T0 + SECOND, active="active", in_use="old"),
        Do.LOOK,
        "no",
    ),
    (
        "restart: not allowed, again",
        RESTARTING,
        Seen(blocked="no", retry_usec=T0, active="active", in_use="old"),
        Do.RESTART,
        "",
    ),
    (
        "restart: not allowed, but in use",
        RESTARTING,
        replace(RUNS_NEW, blocked="no", retry_usec=T0 + SECOND),
        Do.TRY,
        "",
    ),
    (
        "restart: not allowed for hours",
        replace(RESTARTING, phase_usec=0),
        replace(RUNS_OLD, blocked="no", retry_usec=T0),
        Do.RESTART,
        "",
    ),
    ("done, in use", RESTARTING, done(active="active", in_use="new"), Do.TRY, ""),
    ("done, other in use", RESTARTING, done(active="active", in_use="old", config_error="line 3"), Do.REFUSE, "line 3"),
    (
        "done, other in use, no word",
        RESTARTING,
        done(active="active", in_use="old"),
        Do.REFUSE,
        "another configuration: old",
    ),
    ("done, silent", RESTARTING, done(active="active"), Do.LOOK, "does not answer"),
    ("done, silent too long", RESTARTING, done(ANSWER_S, active="active"), Do.REFUSE, "does not answer"),
    ("done, then died", RESTARTING, done(active="activating"), Do.LOOK, "does not answer"),
    ("done, then died for good", RESTARTING, done(ANSWER_S, active="failed", details="boom"), Do.REFUSE, "boom"),
    (
        "failed",
        RESTARTING,
        done(job="failed", active="activating", details="STATUS: x"),
        Do.REFUSE,
        "job failed); STATUS: x",
    ),
    ("failed, nobody answers", RESTARTING, done(job="failed"), Do.REFUSE, "job failed"),
    ("failed, yet up with it", RESTARTING, done(job="failed", active="active", in_use="new"), Do.TRY, ""),
    (
        "failed, yet up with the old one",
        RESTARTING,
        done(job="failed", active="active", in_use="old"),
        Do.REFUSE,
        "another",
    ),
    ("timeout", RESTARTING, done(job="timeout", active="activating"), Do.REFUSE, "job timeout"),
    ("dependency", RESTARTING, done(job="dependency", active="inactive"), Do.REFUSE, "job dependency"),
    ("canceled, other job under way", RESTARTING, done(job="canceled", active="deactivating"), Do.LOOK, "someone else"),
    ("canceled, stopped", RESTARTING, done(job="canceled", active="inactive"), Do.LOOK, "inactive"),
    (
        "canceled, stopped for good",
        RESTARTING,
        done(SAFETY_S, job="canceled", active="inactive"),
        Do.REFUSE,
        "stopped before",
    ),
    ("canceled, then up with it", RESTARTING, done(job="canceled", active="active", in_use="new"), Do.TRY, ""),
    (
        "skipped, up with the old one",
        RESTARTING,
        done(job="skipped", active="active", in_use="old"),
        Do.REFUSE,
        "another",
    ),
    ("skipped, not up", RESTARTING, done(job="skipped", active="inactive"), Do.LOOK, "skipped"),
    (
        "an early confirmation waits for verdict one",
        replace(RESTARTING, report=Report.CONFIRMED),
        RUNS_OLD,
        Do.RESTART,
        "",
    ),
    ("probation, no word", PROBATION, Seen(), Do.LOOK, "probation"),
    ("probation, confirmed", replace(PROBATION, report=Report.CONFIRMED), Seen(), Do.CONFIRM, ""),
    (
        "probation, refused",
        replace(PROBATION, report=Report.REFUSED, reason="3 checkins failed"),
        Seen(),
        Do.REFUSE,
        "3 checkins failed",
    ),
    (
        "probation, refused without a word",
        replace(PROBATION, report=Report.REFUSED),
        Seen(),
        Do.REFUSE,
        "no reason given",
    ),
    (
        "probation, silence",
        replace(PROBATION, phase_usec=int(T0 - SAFETY_S * SECOND)),
        Seen(),
        Do.REFUSE,
        "no verdict within 360 s",
    ),
    ("probation, late confirmation", replace(PROBATION, phase_usec=0, report=Report.CONFIRMED), Seen(), Do.CONFIRM, ""),
    ("rollback: new one still in use", REFUSED, RUNS_NEW, Do.RESTART, ""),
    ("rollback: never left the old one", REFUSED, RUNS_OLD, Do.CLOSE, ""),
    ("rollback: fell back by itself", REFUSED, replace(RUNS_OLD, config_error="broken"), Do.RESTART, ""),
    ("rollback: crashing", REFUSED, Seen(active="activating"), Do.RESTART, ""),
    ("rollback: stopped by someone", REFUSED, Seen(active="inactive"), Do.CLOSE, "left so"),
    (
        "rollback: not allowed, too early",
        REFUSED,
        replace(RUNS_NEW, blocked="no", retry_usec=T0 + SECOND),
        Do.LOOK,
        "no",
    ),
    ("rollback: not allowed, again", REFUSED, replace(RUNS_NEW, blocked="no", retry_usec=T0), Do.RESTART, ""),
    (
        "rollback: never allowed",
        replace(REFUSED, phase_usec=0),
        replace(RUNS_NEW, blocked="no", retry_usec=T0 * 2),
        Do.CLOSE,
        "no",
    ),
    ("rollback: done", REFUSED, done(active="active", in_use="old"), Do.CLOSE, ""),
    (
        "rollback: failed too",
        REFUSED,
        done(job="failed", active="activating", details="boom"),
        Do.CLOSE,
        "job failed; boom",
    ),
    ("rolled back", replace(REFUSED, rolled_back=True), Seen(), Do.REST, ""),
    ("confirmed", replace(APPLY, phase=Phase.CONFIRMED), RUNS_NEW, Do.REST, ""),
]


@pytest.mark.parametrize(("apply", "seen", "do", "why"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_next_step(apply: Apply, seen: Seen, do: Do, why: str) -> None:
    step = next_step(apply, seen, T0)
    assert step.do is do
    assert why in step.why
    assert (step.wait_s > 0) == (do is Do.LOOK)


def test_every_kind_of_step_is_in_the_table() -> None:
    assert {row[3] for row in TABLE} == set(Do)


def test_waits_end_at_their_deadlines() -> None:
    assert next_step(PROBATION, Seen(), T0 + 100 * SECOND).wait_s == SAFETY_S - 100
    blocked = Seen(blocked="no", retry_usec=T0 + 7 * SECOND, active="active", in_use="old")
    assert next_step(RESTARTING, blocked, T0).wait_s == 7


def test_open_until_confirmed_or_rolled_back() -> None:
    assert all(apply.open for apply in (APPLY, RESTARTING, PROBATION, REFUSED))
    assert not replace(REFUSED, rolled_back=True).open
    assert not replace(APPLY, phase=Phase.CONFIRMED).open


def walk(apply: Apply, *steps: Do, at: int = T0) -> Apply:
    for do in steps:
        apply = enter(apply, Step(do, "why"), at, 60)
    return apply


def test_spacing_doubles_with_each_rollback_up_to_an_hour_and_resets_at_a_confirmed_one() -> None:
    last = None
    seen = []
    for number in range(8):
        last = begin_apply({"mk_n": number}, f"d{number}", {}, "old", last, T0, "boot", 60)
        last = walk(last, Do.BEGIN, Do.TRY, Do.REFUSE, Do.CLOSE)
        seen.append(last.spacing_s)
    assert seen == [120, 240, 480, 960, 1920, MAX_SPACING_S, MAX_SPACING_S, MAX_SPACING_S]
    assert last is not None
    assert last.refused_digests == tuple(f"d{number}" for number in range(8))
    confirmed = walk(begin_apply({}, "good", {}, "old", last, T0, "boot", 60), Do.BEGIN, Do.TRY, Do.CONFIRM)
    assert (confirmed.spacing_s, confirmed.refused_digests) == (60, ())


def test_spacing_left() -> None:
    assert spacing_left_s(None, 0) == 0
    confirmed = walk(APPLY, Do.BEGIN, Do.TRY, Do.CONFIRM, at=T0 + 30 * SECOND)
    assert spacing_left_s(confirmed, T0 + 40 * SECOND) == 20
    assert spacing_left_s(confirmed, T0 + 61 * SECOND) == 0
    rolled_back = walk(APPLY, Do.BEGIN, Do.REFUSE, Do.CLOSE, at=T0 + 30 * SECOND)
    assert spacing_left_s(rolled_back, T0 + 30 * SECOND) == 120


def test_refused_digests_are_bounded_and_unique() -> None:
    apply = replace(APPLY, refused_digests=("new", *map(str, range(MAX_REFUSED))))
    refused = enter(apply, Step(Do.REFUSE, "x"), T0, 60).refused_digests
    assert len(refused) == MAX_REFUSED
    assert refused.count("new") == 1
    assert refused[-1] == "new"


def test_verdict_names_what_came_of_the_rollback() -> None:
    refused = enter(PROBATION, Step(Do.REFUSE, "mkctl refused it: no route"), T0, 60)
    closed = enter(refused, Step(Do.CLOSE, "the restart with the previous one: job failed"), T0, 60)
    assert closed.verdict == "mkctl refused it: no route; the restart with the previous one: job failed"
    assert closed.rolled_back


def test_the_file_holds_everything() -> None:
    for apply in (
        APPLY,
        walk(APPLY, Do.BEGIN, Do.TRY, Do.REFUSE, Do.CLOSE),
        replace(PROBATION, report=Report.REFUSED, reason="x"),
    ):
        stored = json.loads(json.dumps(build_apply(apply)))
        assert parse_apply(stored, T0 * 2, "boot") == apply
        shown = describe_apply(apply)
        assert {
            "version",
            "digest",
            "previous",
            "phase",
            "verdict",
            "boottime_usec",
            "boot_id",
            "spacing_s",
            "refused_digests",
        } <= set(shown)
        assert not {"config", "previous_config"} & set(shown)


def test_times_of_another_boot_count_from_now() -> None:
    stored = json.loads(json.dumps(build_apply(PROBATION)))
    parsed = parse_apply(stored, 5 * SECOND, "another boot")
    assert (parsed.accepted_usec, parsed.phase_usec, parsed.boot_id) == (5 * SECOND, 5 * SECOND, "another boot")
    assert parse_apply(stored, 5 * SECOND, "boot").phase_usec == 5 * SECOND  # never in the future


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("phase", "new", "apply.json: phase"),
        ("phase", 3, "apply.json.phase"),
        ("report", "maybe", "report"),
        ("version", 2, "version"),
        ("config", [], "apply.json.config"),
        ("spacing_s", -1, "spacing_s"),
        ("spacing_s", True, "spacing_s"),
        ("refused_digests", [1], "refused_digests"),
        ("digest", None, "digest"),
    ],
)
def test_a_broken_file_names_the_key(key: str, value: object, why: str) -> None:
    stored = json.loads(json.dumps(build_apply(APPLY)))
    stored[key] = value
    with pytest.raises(BadInput, match=why):
        parse_apply(stored, T0, "boot")
